"""Who is told what: webhooks from their making to their end, signed for an independent verifier, the feed and the stream."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tests.daemon_process import Receiver, wait_for
from tests.peers.contract_farm import CUBE, CUSTOMER, refused, running_farm
from tests.plain_http import NO_TLS

pytestmark = pytest.mark.slow

SEED_EVENTS = {"order.created", "order.paid", "order.printing", "order.ready", "order.shipped", "order.cancelled"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    more = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'
    with running_farm(tmp_path_factory.mktemp("farm"), more=more, roles=("admin", "customer")) as running:
        running.ok("POST", "/api/skus", CUBE)
        yield running


@pytest.fixture
def receiver(farm):
    """An endpoint of n8n's; whatever was subscribed in the test is gone after it."""
    endpoint = Receiver()
    yield endpoint
    for hook in farm.ok("GET", "/api/webhooks")["data"]:
        farm.ok("DELETE", f"/api/webhooks/{hook['id']}")
    endpoint.close()


def subscribe(farm, receiver, *events):
    hook = farm.ok("POST", "/api/webhooks", {"url": receiver.url, "events": list(events)})
    receiver.secret = hook["secret"]
    return hook


def place_and_cancel(farm):
    order = farm.order(CUBE["id"], paid=True)
    farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "x"})
    return order


# --- webhooks ---


def test_an_orders_events_arrive_signed_once_and_in_order(farm, receiver):
    subscribe(farm, receiver, "order.created", "order.paid", "order.cancelled")
    order = place_and_cancel(farm)
    wait_for(lambda: len(receiver.types(order)) == 3, 20)
    assert receiver.types(order) == ["order.created", "order.paid", "order.cancelled"]
    assert receiver.refused == []
    for event in receiver.received:
        assert set(event) == {"type", "timestamp", "data"}
        assert {"sequence", "orderId", "order", "previousStatus"} <= set(event["data"])
        amounts = [event["data"]["order"][key] for key in ("subtotal", "shipping", "tax", "total")]
        assert all(type(amount) is int for amount in amounts), "minor units in events"
    assert [event["data"]["previousStatus"] for event in receiver.received][:2] == [None, "pending_payment"]
    sequences = [event["data"]["sequence"] for event in receiver.received]
    assert sequences == sorted(set(sequences))


def test_the_secret_is_shown_once_and_the_same_subscription_is_the_same(farm, receiver):
    body = {"url": receiver.url, "events": ["order.paid", "order.shipped"]}
    first = farm.ask("POST", "/api/webhooks", body)
    assert first.status_code == 201
    assert first.json()["secret"].startswith("whsec_")
    again = farm.ask("POST", "/api/webhooks", body)
    assert again.is_success
    assert again.json()["id"] == first.json()["id"]
    hook = f"/api/webhooks/{first.json()['id']}"
    for answer in (again, farm.ask("GET", "/api/webhooks"), farm.ask("GET", hook), farm.ask("PATCH", hook, {"active": True})):
        assert "whsec_" not in answer.text
    assert {"id", "url", "events", "active"} <= set(farm.ok("GET", hook))


def test_a_subscription_is_changed_paused_and_ended(farm, receiver):
    hook = f"/api/webhooks/{subscribe(farm, receiver, 'order.created')['id']}"
    assert farm.ok("PATCH", hook, {"events": ["order.cancelled"]})["events"] == ["order.cancelled"]
    order = place_and_cancel(farm)
    wait_for(lambda: receiver.types(order) == ["order.cancelled"], 20)
    assert farm.ok("PATCH", hook, {"active": False})["active"] is False
    silent = place_and_cancel(farm)
    assert farm.ok("PATCH", hook, {"active": True})["active"] is True
    loud = place_and_cancel(farm)
    wait_for(lambda: receiver.types(loud) == ["order.cancelled"], 20)
    assert receiver.types(silent) in ([], ["order.cancelled"])
    assert farm.ask("DELETE", hook).status_code == 204
    assert farm.ask("DELETE", hook).status_code in (204, 404)
    refused(farm.ask("GET", hook), 404)
    assert farm.ok("GET", "/api/webhooks")["data"] == []


def test_a_rotated_secret_signs_beside_the_old_one(farm, receiver):
    hook = subscribe(farm, receiver, "order.created")
    fresh = farm.ok("PATCH", f"/api/webhooks/{hook['id']}", {"rotateSecret": True})["secret"]
    assert fresh != hook["secret"]
    for secret in (hook["secret"], fresh):
        receiver.secret = secret
        order = farm.order(CUBE["id"])
        wait_for(lambda order=order: receiver.types(order), 20)
    assert receiver.refused == []


def test_a_test_message_arrives_and_its_delivery_is_told(farm, receiver):
    hook = f"/api/webhooks/{subscribe(farm, receiver, 'order.paid')['id']}"
    assert farm.ask("POST", f"{hook}/test", {}).is_success
    wait_for(lambda: receiver.received, 20)
    assert receiver.refused == []
    (delivery,) = wait_for(lambda: [d for d in farm.ok("GET", f"{hook}/deliveries")["data"] if d["state"] == "DELIVERED"], 10)
    assert delivery["status"] == 204
    assert receiver.ids == [delivery["messageId"]]


def test_a_replay_sends_the_past_again_under_its_own_ids(farm, receiver):
    hook = f"/api/webhooks/{subscribe(farm, receiver, 'order.created', 'order.cancelled')['id']}"
    order = place_and_cancel(farm)
    wait_for(lambda: len(receiver.types(order)) == 2, 20)
    first = receiver.received[0]["data"]["sequence"]
    ids = list(receiver.ids)
    receiver.ids.clear()
    receiver.received.clear()
    assert farm.ok("POST", f"{hook}/replay", {"after": first - 1})["queued"] == 2
    wait_for(lambda: len(receiver.received) == 2, 20)
    assert receiver.types(order) == ["order.created", "order.cancelled"]
    assert receiver.ids == ids
    for wrong in ({}, {"after": -1}, {"after": "1"}, {"after": None}, {"after": 1, "x": 2}):
        refused(farm.ask("POST", f"{hook}/replay", wrong), 422)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"events": []}, "/events"),
        ({"events": ["order.payed"]}, "/events/0"),
        ({"events": "order.paid"}, "/events"),
        ({"url": "ftp://127.0.0.1/"}, "/url"),
        ({"url": "not an address"}, "/url"),
        ({"url": "http://user:secret@127.0.0.1/"}, "/url"),
        ({"url": "http://10.0.0.1/"}, "/url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "/url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "/url"),
        ({"headers": {"Host": "evil"}}, "/headers/Host"),
        ({"headers": {"X-A": "b\r\nX-Evil: 1"}}, "/headers/X-A"),
    ],
)
def test_a_subscription_that_cannot_work_is_refused_at_its_field(farm, body, pointer):
    problem = refused(farm.ask("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/", "events": ["order.paid"]} | body), 422)
    assert problem["errors"][0]["pointer"] == pointer
    assert farm.ok("GET", "/api/webhooks")["data"] == []


def test_farmds_own_port_is_no_endpoint(farm):
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # noqa: S104 - a name for this host, nothing is bound
        url = f"http://{host}:{farm.daemon.port}/api/orders"
        refused(farm.ask("POST", "/api/webhooks", {"url": url, "events": ["order.paid"]}), 422)


def test_a_dead_endpoint_keeps_no_other_waiting(farm, receiver):
    farm.ok("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/dead", "events": ["*"]})
    subscribe(farm, receiver, "order.created")
    order = farm.order(CUBE["id"])
    wait_for(lambda: receiver.types(order), 10)
    dead = next(hook for hook in farm.ok("GET", "/api/webhooks")["data"] if hook["url"].endswith("/dead"))
    path = f"/api/webhooks/{dead['id']}/deliveries"
    failed = wait_for(lambda: [d for d in farm.ok("GET", path)["data"] if d["tries"] > 0], 10)
    assert failed[0]["state"] == "PENDING"
    assert failed[0]["detail"]
    assert failed[0]["nextAt"] > failed[0]["createdAt"]


def test_a_refused_delivery_is_tried_again_under_the_same_id(farm):
    """The first answer is a 500, the next a 204."""
    seen = []

    class Moody(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["webhook-id"])
            self.send_response(500 if len(seen) == 1 else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hook = farm.ok("POST", "/api/webhooks", {"url": f"http://127.0.0.1:{server.server_port}/", "events": ["order.created"]})
        farm.order(CUBE["id"])
        wait_for(lambda: len(seen) == 2, 60)
        farm.ok("DELETE", f"/api/webhooks/{hook['id']}")
        server.shutdown()
        thread.join()
    assert seen[0] == seen[1]


# --- the feed ---


def test_the_feed_is_read_to_its_end_page_by_page(farm):
    orders = {farm.order(CUBE["id"]) for _ in range(4)}
    sequences, told, after = [], set(), 0
    while True:
        page = farm.ok("GET", f"/api/events?after={after}&limit=3")
        if not page["data"]:
            break
        assert len(page["data"]) <= 3
        for event in page["data"]:
            assert set(event) == {"type", "timestamp", "data"}
            sequences.append(event["data"]["sequence"])
            told.add(event["data"].get("orderId"))
        after = sequences[-1]
    assert sequences == sorted(set(sequences))
    assert orders <= told


def test_each_word_is_told_once_per_order(farm):
    order = place_and_cancel(farm)
    farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "again"})
    types = [e["type"] for e in farm.ok("GET", f"/api/orders/{order}/events")["data"] if e["type"] in SEED_EVENTS]
    assert types == ["order.created", "order.paid", "order.cancelled"]


# --- the stream ---


def listen(farm, count, query="", role="admin", act=lambda: None, **headers):
    """The first `count` events of the stream; `act` is done once it is open."""
    events, event = [], {}
    key = {"X-API-Key": farm.keys[role]}
    with (
        httpx.Client(base_url=farm.daemon.url, timeout=20, trust_env=False, verify=NO_TLS) as client,
        client.stream("GET", f"/api/events/stream{query}", headers=key | headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        act()
        for line in answer.iter_lines():
            name, _, value = line.partition(":")
            if name:
                event[name] = value.strip()
            elif "data" in event:
                events.append(event)
                event = {}
            if len(events) == count:
                break
    return events


def test_the_stream_begins_now_and_ids_are_sequences(farm):
    farm.order(CUBE["id"])
    placed = []
    (event,) = listen(farm, 1, act=lambda: placed.append(farm.order(CUBE["id"])))
    body = json.loads(event["data"])
    assert event["event"] == body["type"] == "order.created"
    assert body["data"]["orderId"] == placed[0]
    assert event["id"] == str(body["data"]["sequence"])


def test_last_event_id_goes_on_where_it_ended_and_wins(farm):
    for _ in range(3):
        farm.order(CUBE["id"])
    every = [event["data"]["sequence"] for event in farm.ok("GET", "/api/events?limit=1000")["data"]]
    resumed = listen(farm, 2, query="?after=0", **{"Last-Event-ID": str(every[-3])})
    assert [int(event["id"]) for event in resumed] == every[-2:]
    assert [int(event["id"]) for event in listen(farm, 2, query="?after=0")] == every[:2]


def test_a_customers_stream_holds_its_own_events_only(farm):
    def two_orders():
        farm.order(CUBE["id"], customer="somebody-else")
        farm.order(CUBE["id"])

    (event,) = listen(farm, 1, role="customer", act=two_orders)
    assert json.loads(event["data"])["data"]["order"]["customerId"] == CUSTOMER


def test_twenty_streams_hear_the_same(farm):
    heard, ready = [], threading.Barrier(21)
    threads = [threading.Thread(target=lambda: heard.append(listen(farm, 2, act=ready.wait))) for _ in range(20)]
    for thread in threads:
        thread.start()
    ready.wait(20)
    place_and_cancel(farm)
    for thread in threads:
        thread.join(20)
    assert len(heard) == 20
    assert all([event["id"] for event in one] == [event["id"] for event in heard[0]] for one in heard)


# --- kept connections ---


def test_a_kept_connection_is_answered_at_once(farm):
    """Small answers in two writes meet the client's delayed acknowledgement: 40 ms each, unless the socket was told otherwise."""
    took = []
    for _ in range(40):
        began = time.monotonic()
        farm.ask("GET", "/healthz")
        took.append(time.monotonic() - began)
    assert sorted(took)[20] < 0.03
