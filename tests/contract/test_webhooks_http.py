"""Webhooks as a user has them: over HTTP to farmd, and from farmd over real sockets to a receiver."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from farmd.events.addresses import Policy
from farmd.events.webhooks import Courier
from farmd.world import SystemWorld
from tests.farm import Farm, open_farm
from tests.receiver import Receiver, Reply
from tests.waiting import until

URL = "http://127.0.0.1:5678/webhook/farm"
BODY = {"url": URL, "events": ["order.paid"]}


@asynccontextmanager
async def shop(tmp_path: Path, **settings: Any) -> AsyncIterator[Farm]:
    """A farm on the real clock, with its courier at work."""
    async with open_farm(tmp_path, world=SystemWorld(), **settings) as farm:
        policy = Policy.of(farm.rooms.settings)
        courier = asyncio.create_task(Courier(farm.store, farm.world, policy, schedule=(0.0, 0.05, 0.05)).run())
        try:
            yield farm
        finally:
            courier.cancel()
            with suppress(asyncio.CancelledError):
                await courier


def run(tmp_path: Path, test: Any, **settings: Any) -> None:
    async def scenario() -> None:
        async with shop(tmp_path, **settings) as farm:
            await asyncio.wait_for(test(farm), 30)

    asyncio.run(scenario())


async def subscribe(farm: Farm, url: str, *events: str, **more: Any) -> dict[str, Any]:
    answer = await farm.admin.post("/api/webhooks", json={"url": url, "events": list(events or ["*"])} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def states(farm: Farm, webhook: dict[str, Any]) -> list[str]:
    answer = await farm.operator.get(f"/api/webhooks/{webhook['id']}/deliveries?limit=100")
    return [row["state"] for row in answer.json()["data"]]


async def until_states(farm: Farm, webhook: dict[str, Any], *wanted: str) -> None:
    async with asyncio.timeout(10):
        while await states(farm, webhook) != list(wanted):  # noqa: ASYNC110 - asks farmd over HTTP
            await asyncio.sleep(0.02)


def test_the_events_of_an_order_arrive_once_in_order_and_signed(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with Receiver() as receiver:
            webhook = await subscribe(farm, receiver.url, "order.created", "order.paid", "order.cancelled")
            await farm.add_sku()
            order = await farm.place_paid()
            await farm.operator.post(f"/api/orders/{order['id']}/cancel", json={"reason": "changed my mind"})
            await until(lambda: len(receiver.taken) == 3)
            assert [message.type for message in receiver.taken] == ["order.created", "order.paid", "order.cancelled"]
            for message in receiver.taken:
                message.verify(webhook["secret"])
            paid = receiver.taken[1].event["data"]
            assert (paid["orderId"], paid["previousStatus"]) == (order["id"], "pending_payment")
            assert (paid["order"]["status"], paid["order"]["total"]) == ("paid", 4926)
            await until_states(farm, webhook, *["DELIVERED"] * 3)
            row = (await farm.operator.get(f"/api/webhooks/{webhook['id']}/deliveries?limit=1")).json()
            assert set(row["data"][0]) >= {"id", "messageId", "type", "state", "tries", "status", "tookMs", "deliveredAt"}
            following = await farm.operator.get(f"/api/webhooks/{webhook['id']}/deliveries?limit=5&cursor={row['nextCursor']}")
            assert [each["type"] for each in following.json()["data"]] == ["order.paid", "order.created"]
            assert following.json()["nextCursor"] is None

    run(tmp_path, test)


def test_the_secret_is_shown_once_and_the_same_subscription_is_the_same_webhook(tmp_path: Path):
    async def test(farm: Farm) -> None:
        made = await farm.admin.post("/api/webhooks", json=BODY | {"events": ["order.paid", "order.ready"]})
        assert made.status_code == 201
        webhook = made.json()
        assert webhook["secret"].startswith("whsec_")
        again = await farm.admin.post("/api/webhooks", json=BODY | {"events": ["order.ready", "order.paid", "order.paid"]})
        assert (again.status_code, again.json()["id"]) == (200, webhook["id"])
        shown = await farm.operator.get(f"/api/webhooks/{webhook['id']}")
        listed = await farm.operator.get("/api/webhooks")
        assert shown.json() == listed.json()["data"][0] == again.json()
        for answer in (again, shown, listed):
            assert "secret" not in answer.text
        other = await farm.admin.post("/api/webhooks", json=BODY | {"events": ["order.paid"]})
        assert other.status_code == 201
        assert other.json()["id"] != webhook["id"]

    run(tmp_path, test)


def test_an_idempotency_key_answers_the_same_even_with_the_secret(tmp_path: Path):
    async def test(farm: Farm) -> None:
        first, second = [await farm.admin.post("/api/webhooks", json=BODY, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
        assert first.status_code == second.status_code == 201
        assert first.content == second.content
        assert second.headers["Idempotent-Replayed"] == "true"

    run(tmp_path, test)


def test_operators_read_admins_change_customers_neither(tmp_path: Path):
    async def test(farm: Farm) -> None:
        webhook = await subscribe(farm, URL)
        path = f"/api/webhooks/{webhook['id']}"
        for client, reads in ((farm.operator, 200), (farm.customer, 403)):
            for read in ("/api/webhooks", path, f"{path}/deliveries"):
                assert (await client.get(read)).status_code == reads
            assert (await client.post("/api/webhooks", json=BODY)).status_code == 403
            assert (await client.patch(path, json={"active": False})).status_code == 403
            assert (await client.delete(path)).status_code == 403
            assert (await client.post(f"{path}/test")).status_code == 403
            assert (await client.post(f"{path}/replay", json={"after": 0})).status_code == 403
            assert (await client.post(f"{path}/deliveries/1/retry")).status_code == 403

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": URL}, "/events"),
        ({"events": ["*"]}, "/url"),
        (BODY | {"events": []}, "/events"),
        (BODY | {"events": "order.paid"}, "/events"),
        (BODY | {"events": ["order.paid", 7]}, "/events/1"),
        (BODY | {"url": "http://169.254.169.254/latest/meta-data/"}, "/url"),
        (BODY | {"url": "http://10.0.0.8/hook"}, "/url"),
        (BODY | {"url": "http://127.0.0.1:8787/api/orders"}, "/url"),
        (BODY | {"url": "http://localhost:8787/api/orders"}, "/url"),
        (BODY | {"url": "not a url"}, "/url"),
        (BODY | {"url": 5}, "/url"),
        (BODY | {"headers": {"Host": "evil"}}, "/headers/Host"),
        (BODY | {"headers": {"content-length": "5"}}, "/headers/content-length"),
        (BODY | {"headers": {"Webhook-Id": "x"}}, "/headers/Webhook-Id"),
        (BODY | {"headers": {"X-A": "b\r\nHost: evil"}}, "/headers/X-A"),
        (BODY | {"headers": {"X-A": ""}}, "/headers/X-A"),
        (BODY | {"headers": {"X A": "b"}}, "/headers/X A"),
        (BODY | {"headers": {"X/~A": "b"}}, "/headers/X~1~0A"),
        (BODY | {"headers": {"X-A": "b", "x-a": "c"}}, "/headers/x-a"),
        (BODY | {"headers": {"X-A": 5}}, "/headers/X-A"),
        (BODY | {"headers": {f"X-{number}": "b" for number in range(21)}}, "/headers"),
        (BODY | {"description": "x" * 501}, "/description"),
        (BODY | {"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_bad_subscriptions_name_the_field_and_change_nothing(tmp_path: Path, body: dict[str, Any], pointer: str):
    async def test(farm: Farm) -> None:
        answer = await farm.admin.post("/api/webhooks", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]
        assert (await farm.admin.get("/api/webhooks")).json() == {"data": []}

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [
        ("order.payed", "order.paid"),
        ("Order.Ready", "order.ready"),
        ("order.post-processing", "order.post_processing"),
        ("orders.*", "order.*"),
        ("order:shipped", "order.shipped"),
        ("xyzzy", "printer.*"),
    ],
)
def test_an_unknown_event_is_answered_with_the_nearest_known_one(tmp_path: Path, wrong: str, nearest: str):
    async def test(farm: Farm) -> None:
        answer = await farm.admin.post("/api/webhooks", json=BODY | {"events": ["order.paid", wrong]})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/events/1"
        assert nearest in error["detail"]

    run(tmp_path, test)


def test_a_test_message_arrives_and_its_delivery_says_so(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with Receiver() as receiver:
            webhook = await subscribe(farm, receiver.url, "order.paid", headers={"X-Farm": "north"})
            answer = await farm.admin.post(f"/api/webhooks/{webhook['id']}/test")
            assert (answer.status_code, answer.json()["state"]) == (202, "PENDING")
            await until_states(farm, webhook, "DELIVERED")
            (message,) = receiver.taken
            assert message.verify(webhook["secret"])["type"] == "farmd.test"
            assert (message.id, message.headers["x-farm"]) == (answer.json()["messageId"], "north")

    run(tmp_path, test)


def test_changing_a_webhook(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with Receiver() as old, Receiver() as new:
            webhook = await subscribe(farm, old.url, "order.*", headers={"X-Key": "hush", "X-Old": "1"}, description="n8n")
            path = f"/api/webhooks/{webhook['id']}"
            assert (await farm.operator.get(path)).json()["headers"] == {"X-Key": "***", "X-Old": "***"}
            change = {"url": new.url, "events": ["printer.*"], "headers": {"X-Key": "***", "X-New": "2"}, "description": None}
            changed = await farm.admin.patch(path, json=change)
            assert changed.status_code == 200, changed.text
            assert (changed.json()["url"], changed.json()["events"]) == (new.url, ["printer.*"])
            assert changed.json()["description"] is None
            assert "secret" not in changed.json()
            rotated = (await farm.admin.patch(path, json={"rotateSecret": True})).json()
            assert rotated["secret"] != webhook["secret"]
            await farm.admin.post(f"{path}/test")
            await until(lambda: new.taken)
            for secret in (rotated["secret"], webhook["secret"]):
                new.taken[0].verify(secret)
            assert (new.taken[0].headers["x-key"], new.taken[0].headers["x-new"]) == ("hush", "2")
            assert "x-old" not in new.taken[0].headers
            assert not old.messages

    run(tmp_path, test)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "http://192.168.0.1/"}, "/url"),
        ({"url": None}, "/url"),
        ({"events": ["order.payed"]}, "/events/0"),
        ({"active": "no"}, "/active"),
        ({"headers": {"X-Unknown": "***"}}, "/headers/X-Unknown"),
        ({"id": "wh-1"}, "/id"),
    ],
)
def test_a_bad_change_changes_nothing(tmp_path: Path, change: dict[str, Any], pointer: str):
    async def test(farm: Farm) -> None:
        webhook = await subscribe(farm, URL)
        path = f"/api/webhooks/{webhook['id']}"
        before = (await farm.admin.get(path)).json()
        answer = await farm.admin.patch(path, json=change | {"description": "changed"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer
        assert (await farm.admin.get(path)).json() == before

    run(tmp_path, test)


def test_switched_off_nothing_is_sent_and_subscribing_again_switches_it_on(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with Receiver(lambda _message: Reply(410)) as receiver:
            webhook = await subscribe(farm, receiver.url)
            path = f"/api/webhooks/{webhook['id']}"
            await farm.admin.post(f"{path}/test")
            await until_states(farm, webhook, "DEAD")
            shown = (await farm.operator.get(path)).json()
            assert not shown["active"]
            assert "410" in shown["disabledReason"]
            refused = await farm.admin.post(f"{path}/test")
            assert (refused.status_code, refused.json()["code"]) == (409, "webhook_off")
            await farm.add_sku()
            await farm.place()
            receiver.plan = lambda _message: Reply()
            again = await farm.admin.post("/api/webhooks", json={"url": receiver.url, "events": ["*"]})
            assert (again.status_code, again.json()["active"], again.json()["disabledReason"]) == (200, True, None)
            replayed = await farm.admin.post(f"{path}/replay", json={"after": 0})
            assert (replayed.status_code, replayed.json()) == (202, {"queued": 1, "nextAfter": None})
            await until(lambda: receiver.taken)
            assert receiver.taken[0].type == "order.created"

    run(tmp_path, test)


def test_a_dead_letter_is_sent_again_on_request(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with Receiver(lambda _message: Reply(500, body=b"no space left")) as receiver:
            webhook = await subscribe(farm, receiver.url)
            path = f"/api/webhooks/{webhook['id']}"
            await farm.admin.post(f"{path}/test")
            await until_states(farm, webhook, "DEAD")
            (dead,) = (await farm.operator.get(f"{path}/deliveries?state=DEAD")).json()["data"]
            assert (dead["tries"], dead["status"], dead["detail"]) == (3, 500, "no space left")
            receiver.plan = lambda _message: Reply()
            answer = await farm.admin.post(f"{path}/deliveries/{dead['id']}/retry")
            assert (answer.status_code, answer.json()["state"], answer.json()["tries"]) == (202, "PENDING", 0)
            await until_states(farm, webhook, "DELIVERED")
            assert {message.id for message in receiver.messages} == {dead["messageId"]}
            assert (await farm.admin.post(f"{path}/deliveries/999/retry")).status_code == 404

    run(tmp_path, test)


def test_deleting_is_final_and_may_be_repeated(tmp_path: Path):
    async def test(farm: Farm) -> None:
        webhook = await subscribe(farm, URL)
        path = f"/api/webhooks/{webhook['id']}"
        await farm.admin.post(f"{path}/test")
        for _ in range(2):
            answer = await farm.admin.delete(path)
            assert (answer.status_code, answer.content) == (204, b"")
        for method, where, body in (
            ("GET", path, None),
            ("PATCH", path, {"active": True}),
            ("GET", f"{path}/deliveries", None),
            ("POST", f"{path}/test", None),
            ("POST", f"{path}/replay", {"after": 0}),
            ("POST", f"{path}/deliveries/1/retry", None),
        ):
            assert (await farm.admin.request(method, where, json=body)).status_code == 404, (method, where)

    run(tmp_path, test)


@pytest.mark.parametrize("body", [{}, {"after": -1}, {"after": "0"}, {"after": 2**63}, {"after": 0, "until": 5}, []])
def test_a_replay_says_from_where(tmp_path: Path, body: Any):
    async def test(farm: Farm) -> None:
        webhook = await subscribe(farm, URL)
        assert (await farm.admin.post(f"/api/webhooks/{webhook['id']}/replay", json=body)).status_code == 422

    run(tmp_path, test)


def test_private_receivers_need_the_owners_word(tmp_path: Path):
    async def test(farm: Farm) -> None:
        assert (await farm.admin.post("/api/webhooks", json=BODY | {"url": "http://192.168.1.20:5678/x"})).status_code == 201
        assert (await farm.admin.post("/api/webhooks", json=BODY | {"url": "http://192.168.2.20:5678/x"})).status_code == 422

    run(tmp_path, test, webhook_allow=("192.168.1.0/24",))
