"""The door: keys, roles, bodies that are too long, not JSON or of another kind, and paths that are not there."""

import asyncio

import httpx
import pytest

from tests.farm import Farm, client, order_body, serve, with_farm
from tests.plain_http import NO_TLS

JSON = {"Content-Type": "application/json"}


def problem_of(answer: httpx.Response, status: int, code: str) -> dict:
    """The problem document, checked to be one."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "errors"}
    assert (problem["status"], problem["code"], problem["instance"]) == (status, code, answer.request.url.path)
    return problem


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "fk_unknown_secret"},
        {"X-API-Key": "nonsense"},
        {"X-API-Key": "fk_"},
        {"Authorization": "Basic Zm9vOmJhcg=="},
        {"Authorization": "Bearer "},
    ],
)
@with_farm()
async def test_without_a_valid_key_nothing_answers(farm: Farm, headers: dict[str, str]) -> None:
    async with client(farm.app, **headers) as nobody:
        for method, path in (("GET", "/api/orders"), ("POST", "/api/orders"), ("GET", "/api/nowhere"), ("PATCH", "/api/skus/x")):
            answer = await nobody.request(method, path)
            problem_of(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@with_farm()
async def test_a_wrong_secret_is_no_key(farm: Farm) -> None:
    key = farm.keys["admin"]
    async with client(farm.app, key[:-1] + ("x" if key[-1] != "x" else "y")) as nobody:
        problem_of(await nobody.get("/api/orders"), 401, "unauthenticated")


@with_farm()
async def test_the_key_is_asked_for_before_the_body_is_read(farm: Farm) -> None:
    async with client(farm.app) as nobody:
        problem_of(await nobody.post("/api/orders", content=b"{", headers=JSON), 401, "unauthenticated")


@with_farm()
async def test_a_bearer_token_is_a_key_too(farm: Farm) -> None:
    async with client(farm.app, Authorization=f"Bearer {farm.keys['operator']}") as caller:
        assert (await caller.get("/api/orders")).status_code == 200


@with_farm()
async def test_who_is_not_under_api_needs_no_key(farm: Farm) -> None:
    async with client(farm.app) as nobody:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert (await nobody.get(path)).status_code == 200, path


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"",
        b'{"a": NaN}',
        b'{"a": 1,}',
        b"\xff\xfe",
        b'{"notes": "\\ud800"}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"customerId": "a"} trailing',
    ],
)
@with_farm()
async def test_malformed_json_is_named_so(farm: Farm, body: bytes) -> None:
    answer = await farm.operator.post("/api/orders", content=body, headers=JSON)
    if body:
        problem_of(answer, 400, "malformed_json")
    else:
        problem_of(answer, 422, "invalid")


@with_farm()
async def test_a_number_too_large_to_write_down_harms_nobody(farm: Farm) -> None:
    await farm.add_sku()
    cases = {"1e999999999": (400, "malformed_json"), "1e300": (422, "invalid"), "1e-300": (422, "invalid")}
    for number, expected in (cases | {"0." + "1" * 3000: (422, "invalid")}).items():
        body = (
            f'{{"customerId":"c","lineItems":[{{"skuId":"sku-pla-black-20mm-cube","quantity":1,"options":{{"infill":{number}}}}}]}}'
        )
        answer = await farm.operator.post("/api/orders", content=body, headers=JSON)
        problem_of(answer, *expected)


@with_farm()
async def test_json_under_another_name_is_refused_with_the_cure(farm: Farm) -> None:
    for media_type in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer = await farm.operator.post("/api/orders", content=b"{}", headers={"Content-Type": media_type})
        assert "application/json" in problem_of(answer, 415, "unsupported_media_type")["detail"]


@with_farm()
async def test_a_body_that_does_not_say_what_it_is_is_json(farm: Farm) -> None:
    for path in ("/api/orders", "/api/quotes", "/api/skus", "/api/webhooks"):
        answer = await farm.admin.post(path, content=b'{"unheard": 1}')
        pointers = {error["pointer"] for error in problem_of(answer, 422, "invalid")["errors"]}
        assert "/unheard" in pointers, (path, pointers)


@with_farm()
async def test_unknown_paths_and_methods_are_problems_too(farm: Farm) -> None:
    problem_of(await farm.admin.get("/api/nowhere"), 404, "not_found")
    problem_of(await farm.admin.get("/nowhere"), 404, "not_found")
    answer = await farm.admin.delete("/api/orders")
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.slow
@with_farm()
async def test_a_body_of_200_mb_is_refused_over_a_real_socket(farm: Farm) -> None:
    async def flood():
        for _ in range(200):
            yield b"x" * 1_000_000

    async with (
        serve(farm.app) as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": farm.keys["admin"]}, verify=NO_TLS) as admin,
    ):
        declared = await admin.post("/api/orders", content=flood(), headers=JSON | {"Content-Length": "200000000"})
        problem_of(declared, 413, "body_too_large")
        chunked = await admin.post("/api/orders", content=flood(), headers=JSON)
        problem_of(chunked, 413, "body_too_large")
        assert (await admin.get("/api/orders")).json()["total"] == 0


@with_farm()
async def test_a_lying_content_length_does_not_hold_the_farm(farm: Farm) -> None:
    async with serve(farm.app) as url:
        port = httpx.URL(url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /api/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {farm.keys['admin']}\r\nContent-Length: 500\r\n\r\n{{"
        writer.write(head.encode())
        writer.close()
        await writer.wait_closed()
        assert await reader.read() == b""
        async with httpx.AsyncClient(base_url=url, verify=NO_TLS) as caller:
            assert (await caller.get("/healthz")).json() == {"status": "ok"}


@with_farm()
async def test_a_disk_that_is_full_is_said_so_and_mended_by_itself(farm: Farm) -> None:
    await farm.add_sku()
    await farm.place()
    pages = await farm.store.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    await farm.store.write(lambda tx: tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())
    answers = [await farm.operator.post("/api/orders", json=order_body(notes="x" * 4000)) for _ in range(30)]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert refused, "the database was never full"
    problem = problem_of(refused[-1], 503, "store_failed")
    assert "disk is full" in problem["detail"]
    assert refused[-1].headers["retry-after"]
    assert (await farm.operator.get("/metrics")).text.count("farmd_store_commit_failures_total 0.0") == 0
    kept = (await farm.operator.get("/api/orders?limit=1")).json()["total"]
    assert kept == 1 + len(answers) - len(refused)
    await farm.store.write(lambda tx: tx.connection.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
    assert (await farm.operator.post("/api/orders", json=order_body())).status_code == 201


@with_farm()
async def test_the_description_knows_every_refusal_and_no_network(farm: Farm) -> None:
    schema = (await farm.admin.get("/openapi.json")).json()
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            refusals = {status: told for status, told in operation["responses"].items() if status[0] in "45"}
            assert all(list(told["content"]) == ["application/problem+json"] for told in refusals.values()), (verb, path)
            if path.startswith("/api/"):
                assert {"401", "413", "415", "503"} <= set(refusals), (verb, path)
                assert ("404" in refusals) >= ("{" in path), (verb, path)
    assert schema["paths"]["/api/skus/{sku_id}/model"]["put"]["requestBody"]["content"] == {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    page = (await farm.admin.get("/docs")).text
    assert "/api/orders/{order_id}/cancel" in page
    assert "http://" not in page
    assert "https://" not in page


@with_farm()
async def test_readiness_follows_the_supervisors(farm: Farm) -> None:
    farm.rooms.ready = lambda: False
    assert problem_of(await farm.admin.get("/readyz"), 503, "not_ready")["errors"][0]["pointer"] == "printers"
    farm.rooms.ready = lambda: True
    assert (await farm.admin.get("/readyz")).json() == {"status": "ready"}


@with_farm()
async def test_metrics_count_every_status(farm: Farm) -> None:
    await farm.add_sku()
    await farm.place_paid()
    text = (await farm.admin.get("/metrics")).text
    assert 'farmd_orders{status="paid"} 1.0' in text
    assert 'farmd_orders{status="shipped"} 0.0' in text
    assert 'farmd_jobs{state="CREATED"} 1.0' in text
