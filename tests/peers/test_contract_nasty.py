"""Nasty input at every endpoint there is: the answer is a refusal in words, soon, and the daemon goes on as if nothing had been.

The endpoints are read from /openapi.json, so that a new one is tried without being named here.
"""

import contextlib
import json
import socket
import time

import pytest

from tests.peers.contract_farm import CUBE, CUSTOMER, refused, running_farm

pytestmark = pytest.mark.slow

ENDLESS = "/api/events/stream"
PATIENCE = 5.0
RECIPES = {  # for each body: one that is right in shape, whose every field is then spoilt
    "/api/orders": {
        "customerId": CUSTOMER,
        "lineItems": [{"skuId": CUBE["id"], "quantity": 1, "options": {"infill": 20}}],
        "shippingAddress": {"name": "J", "line1": "1", "city": "P", "state": "OR", "zip": "9", "country": "US"},
        "notes": "n",
    },
    "/api/quotes": {"lineItems": [{"skuId": CUBE["id"], "quantity": 1, "options": {"infill": 20}}]},
    "/api/skus": CUBE
    | {
        "id": "x",
        "options": [{"key": "a", "label": "A", "type": "number", "min": 0, "max": 1, "default": 0, "priceModifier": 1}],
        "qualityTiers": {"draft": 0.8},
        "postProcess": ["sand"],
        "profile": "generic-0.4",
        "active": True,
    },
    "/api/skus/{sku_id}": {"name": "x", "unitPrice": 1, "material": "PLA", "color": "#000000", "active": True},
    "/api/orders/{order_id}/cancel": {"reason": "x"},
    "/api/orders/{order_id}/pay": {"reference": "x"},
    "/api/orders/{order_id}/ship": {"carrier": "UPS", "trackingNumber": "1"},
    "/api/orders/{order_id}/refunds": {"amount": 1, "lineItemId": "li", "quantity": 1, "reason": "x"},
    "/api/jobs/{job_id}/cancel": {"reason": "x"},
    "/api/jobs/{job_id}/post-process": {"step": "sand", "good": 1, "scrapped": 0},
    "/api/printers/{printer_id}": {"material": "PLA", "color": "#000000"},
    "/api/printers/{printer_id}/answer": {"choice": 1},
    "/api/attempts/{attempt_id}/resolve": {"outcome": "failed"},
    "/api/webhooks": {"url": "http://127.0.0.1:9/", "events": ["order.paid"], "description": "d", "headers": {"X-A": "b"}},
    "/api/webhooks/{webhook_id}": {
        "url": "http://127.0.0.1:9/", "events": ["*"], "active": True, "description": "d", "headers": {}, "rotateSecret": False,
    },
    "/api/webhooks/{webhook_id}/replay": {"after": 0},
}  # fmt: skip
WRONG = ["a\u0000\u202e", "x" * 100_000, -1, 1.5, 2**63, 10**400, True, None, [[]], {"a": {}}]
RAW = {
    "nothing": b"",
    "a word": b"nope",
    "cut short": b'{"a": ',
    "two documents": b"{}{}",
    "NaN": b'{"quantity": NaN}',
    "Infinity": b'{"quantity": -Infinity}',
    "nested lists": b"[" * 10_000 + b"]" * 10_000,
    "nested objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "bad UTF-8": b'{"reason": "\xff\xfe"}',
    "UTF-16": '{"reason": "x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"reason": "x"}',
    "lone surrogate": b'{"reason": "\\ud800"}',
    "null byte": b'{"reason": "a\\u0000b"}',
    "raw null byte": b'{"reason": "a\x00b"}',
    "long number": b'{"after": ' + b"9" * 100_000 + b"}",
    "long exponent": b'{"after": 1e999999999}',
    "a list": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "null": b"null",
    "many keys": b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}",
}
IDS = [
    "x" * 5000,
    "%00",
    "%0d%0aX-Evil:%201",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "%ff%fe",
    "%F0%9F%92%A9",
    "ord-1%27%20OR%201=1",
    "%25s%25n",
    "-1",
    "99999999999999999999999999",
    "null",
]
QUERIES = ["unknown=1", "limit=%00", "limit=1e9", "limit=99999999999999999999", "limit=-1", "page=99999999999999999999", "after=-1",
           "after=99999999999999999999", "cursor=%ff", "cursor=" + "A" * 5000, "status=%00", "state=" + "x" * 5000,
           "orderId=%ff", "customerId=%00", "limit=1&limit=2", "=", "&&&", "%"]  # fmt: skip


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with running_farm(tmp_path_factory.mktemp("farm"), more='[slicer]\ncommand = "/nowhere/prusa-slicer"\n') as running:
        running.ok("POST", "/api/skus", CUBE)
        yield running


@pytest.fixture(scope="module")
def endpoints(farm):
    """(method, path template) of everything."""
    paths = farm.ask("GET", "/openapi.json").json()["paths"]
    return [(verb.upper(), path) for path, verbs in paths.items() for verb in verbs if path != ENDLESS]


@pytest.fixture(autouse=True)
def alive(farm):
    """Whatever was sent: the daemon neither died nor logged a failure of its own."""
    yield
    assert farm.ask("GET", "/healthz").status_code == 200
    failures = [line for line in farm.daemon.log.read_text().splitlines() if "api.failed" in line]
    assert all("LocalProtocolError" in line for line in failures), "only the HTTP server's own words after a broken chunk"


def filled(template, value="x"):
    """The path with its parameters replaced."""
    return "/".join(value if part.startswith("{") else part for part in template.split("/"))


def ask(farm, method, path, **more):
    """One request, which must be answered soon and not with a 5xx."""
    began = time.monotonic()
    answer = farm.ask(method, path, **more)
    assert time.monotonic() - began < PATIENCE, f"{method} {path}"
    assert answer.status_code < 500, f"{method} {path[:200]} {str(more)[:200]}: {answer.text[:500]}"
    if answer.status_code >= 400 and method != "HEAD" and answer.content:
        assert answer.headers["content-type"] in ("application/problem+json", "text/html; charset=utf-8"), answer.text[:200]
    return answer


def spoilt(value, wrong):
    """Every copy of a JSON value with one of its parts replaced."""
    yield wrong
    if isinstance(value, dict):
        for key in value:
            for other in spoilt(value[key], wrong):
                yield value | {key: other}
        yield value | {"unknown": wrong}
    if isinstance(value, list):
        for position, item in enumerate(value):
            for other in spoilt(item, wrong):
                yield [*value[:position], other, *value[position + 1 :]]


def test_every_body_of_the_api_has_a_recipe_here(endpoints, farm):
    paths = farm.ask("GET", "/openapi.json").json()["paths"]
    with_body = {path for path, verbs in paths.items() for each in verbs.values() if "requestBody" in each}
    assert {path for path in with_body if not path.endswith("/model")} <= set(RECIPES)


@pytest.mark.parametrize("path", RECIPES)
def test_no_field_takes_the_daemon_down(farm, endpoints, path):
    methods = [method for method, template in endpoints if template == path and method in ("POST", "PATCH")]
    assert methods
    for wrong in WRONG:
        for body in spoilt(RECIPES[path], wrong):
            text = json.dumps(body)
            for method in methods:
                answer = ask(farm, method, filled(path), content=text, headers={"Content-Type": "application/json"})
                if answer.status_code == 422:
                    refused(answer, 422)


@pytest.mark.parametrize("name", RAW)
def test_no_bytes_take_the_daemon_down(farm, endpoints, name):
    for method, path in endpoints:
        if method in ("POST", "PATCH", "PUT", "DELETE"):
            ask(farm, method, filled(path), content=RAW[name], headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "name", ["a word", "cut short", "two documents", "NaN", "Infinity", "bad UTF-8", "UTF-16", "lone surrogate"]
)
def test_what_is_not_json_is_400(farm, name):
    answer = farm.ask("POST", "/api/orders", content=RAW[name], headers={"Content-Type": "application/json"})
    refused(answer, 400, "malformed_json")


def test_the_answer_does_not_repeat_what_was_sent(farm):
    answer = farm.ask("POST", "/api/orders", {"customerId": {"password": "hunter2-hunter2"}, "lineItems": "hunter2-hunter2"})
    refused(answer, 422)
    assert "hunter2" not in answer.text


def test_of_two_equal_keys_none_slips_past_the_check(farm):
    head = f'{{"customerId": "{CUSTOMER}", "lineItems": [{{"skuId": "{CUBE["id"]}", '
    for pair in ('"quantity": 1, "quantity": 0', '"quantity": 1, "quantity": -5'):
        answer = farm.ask("POST", "/api/orders", content=head + pair + "}]}", headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)


@pytest.mark.parametrize("value", IDS)
def test_no_id_takes_the_daemon_down(farm, endpoints, value):
    for method, template in endpoints:
        if "{" in template:
            body = {"content": b"x"} if template.endswith("/model") else {"body": RECIPES.get(template, {})}
            answer = ask(farm, method, filled(template, value), **({} if method == "GET" else body))
            assert answer.status_code in (204, 404, 405, 409, 422), f"{method} {template} {value}: {answer.status_code}"
            assert "x-evil" not in answer.headers
            assert "root:" not in answer.text


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_takes_the_daemon_down(farm, endpoints, query):
    for method, template in endpoints:
        if method == "GET":
            ask(farm, method, f"{filled(template)}?{query}")


def test_a_stream_refuses_a_senseless_place_to_begin(farm):
    for value in ("x", "-1", "1e3", "9" * 30, "", "\u00b2".encode("latin-1")):
        refused(farm.ask("GET", ENDLESS, headers={"Last-Event-ID": value}), 422)
    for query in ("after=-1", "after=x", "after=99999999999999999999"):
        refused(farm.ask("GET", f"{ENDLESS}?{query}"), 422)
    refused(farm.ask("GET", ENDLESS, role=None), 401)


def test_any_method_is_answered(farm, endpoints):
    for path in {filled(template) for _, template in endpoints} | {"/", "/docs", ENDLESS, "/nothing", "/dashboard/login"}:
        for method in ("HEAD", "OPTIONS", "X" * 100):
            if (method, path) != ("HEAD", ENDLESS):
                ask(farm, method, path)


def test_a_body_in_chunks_is_a_body(farm):
    text = json.dumps(RECIPES["/api/quotes"]).encode()
    pieces = (text[start : start + 3] for start in range(0, len(text), 3))
    assert farm.ask("POST", "/api/quotes", content=pieces, headers={"Content-Type": "application/json"}).status_code == 200


def test_a_body_where_none_belongs_is_harmless(farm, endpoints):
    for method, template in endpoints:
        if method in ("GET", "DELETE"):
            ask(farm, method, filled(template), content=b'{"a": 1}', headers={"Content-Type": "application/json"})


# --- below HTTP ---


def raw(farm, data, *, end=False):
    """Send bytes on a socket of our own; the first bytes of the answer, or nothing when the daemon hung up."""
    with socket.create_connection(("127.0.0.1", farm.daemon.port), timeout=PATIENCE) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        if end:
            with contextlib.suppress(OSError):  # the daemon hung up before we had said everything
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            return connection.recv(65536)
        return b""


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"\x00" * 1000 + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /api/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_hardly_http_never_gets_through(farm, data):
    answer = raw(farm, data, end=True)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 505")), answer[:200]


def test_a_client_that_leaves_in_the_middle_of_its_body_places_nothing(farm):
    before = farm.ok("GET", "/api/orders?limit=1")["total"]
    head = f"POST /api/orders HTTP/1.1\r\nHost: x\r\nX-API-Key: {farm.keys['admin']}\r\nContent-Type: application/json\r\n"
    raw(farm, f"{head}Content-Length: 5000\r\n\r\n".encode() + b'{"customerId": "', end=True)
    assert farm.ok("GET", "/api/orders?limit=1")["total"] == before


def test_a_hundred_clients_that_say_nothing_keep_nobody_out(farm):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", farm.daemon.port), timeout=PATIENCE))
            silent.sendall(b"POST /api/orders HTTP/1.1\r\nHost: x\r\nContent-Len")
        began = time.monotonic()
        assert farm.ask("GET", "/api/orders").status_code == 200
        assert time.monotonic() - began < PATIENCE
