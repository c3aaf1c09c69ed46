"""Who may do what: every row of the API with every kind of key, then repeated requests, then what no path or method answers to."""

import json

import pytest

from tests.models import cube, stl
from tests.peers.contract_farm import CUBE, CUSTOMER, ROLES, refused, running_farm

pytestmark = pytest.mark.slow

ORDER = {"customerId": CUSTOMER, "lineItems": [{"skuId": CUBE["id"], "quantity": 1}]}
HOOK = {"url": "http://127.0.0.1:9/hook", "events": ["order.paid"]}
OWNER, STAFF, ADMIN = ROLES, ROLES[1:], ROLES[2:]

# (method, path, body, roles that may). The id in a path exists nowhere: whoever may gets 404, whoever may not 403.
ROWS = [
    ("POST", "/api/orders", ORDER, OWNER),
    ("GET", "/api/orders", None, OWNER),
    ("GET", "/api/orders/none", None, OWNER),
    ("POST", "/api/orders/none/cancel", {"reason": "x"}, OWNER),
    ("POST", "/api/orders/none/pay", {"reference": "x"}, STAFF),
    ("POST", "/api/orders/none/checkout", None, OWNER),
    ("POST", "/api/orders/none/ship", {"carrier": "UPS", "trackingNumber": "1Z"}, STAFF),
    ("POST", "/api/orders/none/refunds", {"reason": "x"}, STAFF),
    ("GET", "/api/orders/none/events", None, OWNER),
    ("GET", "/api/skus", None, OWNER),
    ("POST", "/api/skus", CUBE, ADMIN),
    ("GET", "/api/skus/none", None, OWNER),
    ("PATCH", "/api/skus/none", {"name": "x"}, ADMIN),
    ("PUT", "/api/skus/none/model", b"solid", ADMIN),
    ("GET", "/api/jobs", None, OWNER),
    ("GET", "/api/jobs/none", None, OWNER),
    ("GET", "/api/jobs/none/why", None, STAFF),
    ("POST", "/api/jobs/none/retry", {}, STAFF),
    ("POST", "/api/jobs/none/cancel", {}, STAFF),
    ("POST", "/api/jobs/none/post-process", {"step": "sand", "good": 1, "scrapped": 0}, STAFF),
    ("GET", "/api/printers", None, STAFF),
    ("GET", "/api/printers/none", None, STAFF),
    *(("POST", f"/api/printers/none/{act}", {}, STAFF) for act in ("clear-bed", "pause", "resume", "cancel", "enable", "disable")),
    ("PATCH", "/api/printers/none", {"material": "PETG"}, STAFF),
    ("POST", "/api/attempts/none/resolve", {"outcome": "failed"}, STAFF),
    ("GET", "/api/events", None, OWNER),
    ("POST", "/api/webhooks", HOOK, ADMIN),
    ("GET", "/api/webhooks", None, STAFF),
    ("GET", "/api/webhooks/none", None, STAFF),
    ("PATCH", "/api/webhooks/none", {"active": False}, ADMIN),
    ("DELETE", "/api/webhooks/none", None, ADMIN),
    ("POST", "/api/webhooks/none/test", {}, ADMIN),
    ("GET", "/api/webhooks/none/deliveries", None, STAFF),
    ("POST", "/api/webhooks/none/replay", {"after": 0}, ADMIN),
]
OPEN = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    more = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'
    with running_farm(tmp_path_factory.mktemp("farm"), printers=1, more=more, roles=ROLES) as running:
        running.ok("POST", "/api/skus", CUBE)
        yield running


def send(farm, method, path, body, role, **more):
    if isinstance(body, bytes):
        return farm.ask(method, path, None, role, content=body, **more)
    return farm.ask(method, path, body, role, **more)


@pytest.mark.parametrize(("method", "path", "body", "roles"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_a_row_answers_its_roles_and_refuses_the_others(farm, method, path, body, roles):
    refused(send(farm, method, path, body, None), 401, "unauthenticated")
    for role in ROLES:
        answer = send(farm, method, path, body, role)
        if role not in roles:
            refused(answer, 403, "forbidden")
        elif "none" not in path:
            assert answer.is_success or answer.status_code == 409, answer.text
        elif method == "DELETE":
            assert answer.status_code in (204, 404)
        else:
            refused(answer, 404, "not_found")


@pytest.mark.parametrize("path", OPEN)
def test_signs_of_life_and_pages_need_no_key(farm, path):
    answer = farm.ask("GET", path, role=None)
    assert answer.status_code == 200
    assert not any(key in answer.text for key in farm.keys.values())


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"X-API-Key": "fk_0123456789_" + "x" * 43},
        {"X-API-Key": "x" * 10_000},
        {"X-API-Key": "fk_\u00e9_x".encode("latin-1")},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Cookie": "key=x"},
    ],
)
def test_what_is_no_key_is_401(farm, headers):
    answer = farm.ask("GET", "/api/orders", role=None, headers=headers)
    refused(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_with_one_letter_changed_is_401(farm):
    key = farm.keys["admin"]
    other = key[:-1] + ("a" if key[-1] != "a" else "b")
    refused(farm.ask("GET", "/api/orders", role=None, headers={"X-API-Key": other}), 401)


def test_a_bearer_token_is_a_key(farm):
    headers = {"Authorization": f"Bearer {farm.keys['operator']}"}
    assert farm.ask("GET", "/api/printers", role=None, headers=headers).status_code == 200


# --- Idempotency-Key ---


def subject(farm, path):
    """The path with ids that exist, in a state that takes this POST."""
    if path.startswith("/api/orders/"):
        order = farm.ok("POST", "/api/orders", ORDER)["id"]
        if path.endswith("/refunds"):
            farm.ok("POST", f"/api/orders/{order}/pay", {})
        return path.replace("none", order)
    if path.startswith("/api/jobs/"):
        return path.replace("none", farm.job(farm.order(CUBE["id"], paid=True))["id"])
    if path.startswith("/api/printers/"):
        return path.replace("none", farm.ok("GET", "/api/printers")["data"][0]["id"])
    if path.startswith("/api/webhooks/"):
        return path.replace("none", farm.ok("POST", "/api/webhooks", HOOK)["id"])
    return path


POSTS = [(path, body) for method, path, body, _ in ROWS if method == "POST" and path not in ("/api/skus",)]
TAKEN = {"checkout", "ship", "retry", "post-process", "pause", "resume", "resolve"}  # refused by these subjects' state


@pytest.mark.parametrize(("path", "body"), POSTS, ids=[path for path, _ in POSTS])
def test_a_post_with_an_idempotency_key_is_done_once(farm, path, body):
    path = subject(farm, path)
    headers = {"Idempotency-Key": f"once-{path}"}
    first, second = (farm.ask("POST", path, body, headers=headers) for _ in range(2))
    assert second.status_code == first.status_code
    if not first.is_success:
        assert first.status_code in (404, 409)
        assert path.rpartition("/")[2] in TAKEN | {"cancel"}
        return
    assert second.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    other = {"reason": "something else"} if body is None else body | {"reason": "something else"}
    refused(farm.ask("POST", path, other, headers=headers), 422)


def test_a_repeated_order_is_placed_once(farm):
    headers = {"Idempotency-Key": "cart-1"}
    ids = {farm.ok("POST", "/api/orders", ORDER, headers=headers)["id"] for _ in range(3)}
    assert len(ids) == 1
    refused(farm.ask("POST", "/api/orders", ORDER | {"notes": "more"}, headers=headers), 422, "idempotency_key_reused")
    mine = farm.ok("POST", "/api/orders", ORDER, "customer", headers=headers)["id"]
    assert mine not in ids, "another key holder's Idempotency-Key is another request"


def test_a_refused_request_does_not_use_up_its_key(farm):
    headers = {"Idempotency-Key": "cart-2"}
    refused(farm.ask("POST", "/api/orders", ORDER | {"lineItems": []}, headers=headers), 422)
    assert farm.ask("POST", "/api/orders", ORDER, headers=headers).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_useless_idempotency_key_is_refused(farm, key):
    refused(farm.ask("POST", "/api/orders", ORDER, headers={"Idempotency-Key": key}), 422)


# --- no such path, no such method, wrong media type, too long ---


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/order", "/api/orders/", "/api/orders/x/y/z", "/nothing", "/api/../etc/passwd"]
)
def test_an_unknown_path_is_404(farm, path):
    refused(farm.ask("GET", path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("DELETE", "/api/orders", {"GET", "POST"}),
        ("PUT", "/api/orders", {"GET", "POST"}),
        ("POST", "/api/orders/x", {"GET"}),
        ("GET", "/api/orders/x/cancel", {"POST"}),
        ("DELETE", "/api/skus/x", {"GET", "PATCH"}),
        ("POST", "/healthz", {"GET"}),
        ("BREW", "/api/orders", {"GET", "POST"}),
    ],
)
def test_an_unknown_method_is_405_and_the_known_ones_are_told(farm, method, path, known):
    answer = farm.ask(method, path)
    refused(answer, 405, "method_not_allowed")
    assert known <= {word.strip() for word in answer.headers["allow"].split(",")}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/", "/metrics", "/openapi.json", "/docs", "/api/orders"])
def test_head_is_get_without_the_body(farm, path):
    answer = farm.ask("HEAD", path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert answer.headers["content-type"] == farm.ask("GET", path).headers["content-type"]


@pytest.mark.parametrize(
    "media", ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_anything_but_json_is_415(farm, media):
    answer = farm.ask("POST", "/api/orders", content=json.dumps(ORDER), headers={"Content-Type": media})
    refused(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "APPLICATION/JSON", None])
def test_json_by_any_spelling_is_taken(farm, media):
    headers = {} if media is None else {"Content-Type": media}
    assert farm.ask("POST", "/api/orders", content=json.dumps(ORDER), headers=headers).status_code == 201


def test_a_body_over_a_megabyte_is_413(farm):
    body = json.dumps(ORDER | {"notes": "x" * 1_000_001})
    refused(farm.ask("POST", "/api/orders", content=body, headers={"Content-Type": "application/json"}), 413, "body_too_large")
    chunks = (b"x" * 100_000 for _ in range(20))
    answer = farm.ask("POST", "/api/orders", content=chunks, headers={"Content-Type": "application/json"})
    refused(answer, 413, "body_too_large")


# --- models ---


def test_a_model_is_taken_by_its_bytes_whatever_it_is_called(farm):
    farm.ok("POST", "/api/skus", CUBE | {"id": "modelled"})
    for headers in ({}, {"Content-Type": "text/html"}, {"Content-Type": "model/stl"}):
        answer = farm.ask("PUT", "/api/skus/modelled/model", content=stl(cube(10)), headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"]["triangles"] == 12


@pytest.mark.parametrize("body", [b"", b"solid", b"\x00" * 84, b"PK\x03\x04junk", b"<html>", stl(cube(10))[:-7], stl(cube(5000))])
def test_what_is_no_printable_model_is_422_with_its_defects(farm, body):
    farm.ask("POST", "/api/skus", CUBE | {"id": "unmodelled"})
    problem = refused(farm.ask("PUT", "/api/skus/unmodelled/model", content=body), 422)
    assert problem["errors"]
    assert farm.ok("GET", "/api/skus/unmodelled")["model"] is None


# --- what is told about the API ---


def test_the_openapi_document_has_every_row(farm):
    document = farm.ask("GET", "/openapi.json", role=None).json()
    assert document["openapi"].startswith("3.")
    told = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    shapes = {(verb, "/".join("*" if part.startswith("{") else part for part in path.split("/"))) for verb, path in told}
    promised = {(method, path.replace("/none", "/*")) for method, path, _, _ in ROWS}
    assert promised | {("GET", "/api/events/stream"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics")} <= shapes


def test_the_pages_are_html_and_load_nothing_from_elsewhere(farm):
    for path in ("/", "/docs"):
        answer = farm.ask("GET", path, role=None)
        assert answer.headers["content-type"].startswith("text/html")
        assert "//cdn" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_metrics_are_prometheus_text(farm):
    answer = farm.ask("GET", "/metrics", role=None)
    assert answer.headers["content-type"].startswith("text/plain")
    names = {line.split(" ")[2] for line in answer.text.splitlines() if line.startswith("# TYPE ")}
    assert {"farmd_orders", "farmd_jobs", "farmd_printers"} <= names
    assert CUSTOMER not in answer.text
