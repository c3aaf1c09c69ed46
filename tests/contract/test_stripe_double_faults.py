"""The bad days that the double can have on order, seen through the real library: answers lost, refused and late, and webhooks that
come twice, in another order, late or never. Nobody waits by the clock here, but for what must come true."""

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from tests.doubles.stripe_caller import stripe_caller
from tests.doubles.stripe_double import StripeDouble, stripe_double
from tests.receiver import HANG, Message, Receiver, Reply
from tests.waiting import until, wait_until

DAY = 86400
ORDER = {
    "mode": "payment",
    "success_url": "https://shop.example/ok",
    "line_items": [{"price_data": {"currency": "usd", "unit_amount": 4926, "product_data": {"name": "cube"}}, "quantity": 1}],
}
PATH = "/v1/checkout/sessions"


@asynccontextmanager
async def opened(*, retries: int = 0, timeout: float = 5.0, **arguments: Any) -> AsyncIterator[tuple[StripeDouble, StripeClient]]:
    with stripe_double(**arguments) as double:
        async with stripe_caller(double.key, double.url, retries=retries, timeout=timeout) as client:
            yield double, client


def create(client: StripeClient, key: str = "co:1:1", **changes: Any) -> Awaitable[Any]:
    return client.v1.checkout.sessions.create_async(ORDER | changes, {"idempotency_key": key})


def story(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A pytest test of an async function."""

    def run() -> None:
        asyncio.run(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def verified(message: Message, secret: str) -> bool:
    """By the library that farmd verifies with."""
    try:
        return bool(stripe.WebhookSignature.verify_header(message.body, message.headers["stripe-signature"], secret, 300))
    except stripe.SignatureVerificationError:
        return False


def types(receiver: Receiver) -> list[str]:
    return [each.event["type"] for each in receiver.messages]


# requests


@pytest.mark.parametrize(
    ("kind", "error", "made"),
    [
        ("500", stripe.APIError, 0),
        ("500_after", stripe.APIError, 1),
        ("409", stripe.APIError, 0),
        ("429", stripe.RateLimitError, 0),
        ("drop_before", stripe.APIConnectionError, 0),
        ("drop_after", stripe.APIConnectionError, 1),
    ],
)
def test_a_call_fails_on_either_side_of_its_effect(kind: str, error: type[stripe.StripeError], made: int) -> None:
    async def main() -> None:
        async with opened() as (double, client):
            double.fail_next("POST", PATH, kind=kind)
            with pytest.raises(error) as caught:
                await create(client)
            assert len(double.sessions) == made
            if kind == "429":
                assert caught.value.headers["Retry-After"] == "1"
            if kind == "500_after":
                with pytest.raises(stripe.APIError):
                    await create(client)
                assert double.requests[-1].replayed, "Stripe keeps a 500 under the key"
                return
            again = await create(client)
            assert list(double.sessions) == [again.id], "the same key: one session, whatever became of the answer"
            assert double.requests[-1].replayed == bool(made)

    asyncio.run(main())


@story
async def test_the_library_itself_calls_again_with_the_same_key() -> None:
    async with opened(retries=2) as (double, client):
        double.fail_next("POST", PATH, kind="drop_after")
        double.fail_next("POST", PATH, kind="409")
        made = await create(client)
        assert list(double.sessions) == [made.id]
        assert [each.idempotency_key for each in double.calls("POST", PATH)] == ["co:1:1"] * 3
        assert [each.status for each in double.requests] == [None, 409, 200]
        assert {each.version for each in double.requests} == {stripe.api_version}


@story
async def test_a_fault_meets_only_the_call_it_is_meant_for() -> None:
    async with opened() as (double, client):
        double.fail_next("POST", r"/v1/payment_intents/[^/]+/capture", kind="500", times=2)
        made = await create(client, payment_intent_data={"capture_method": "manual"})
        pi = double.pay(made.id)["payment_intent"]
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                await client.v1.payment_intents.capture_async(pi)
        assert (await client.v1.payment_intents.capture_async(pi)).status == "succeeded"
        with pytest.raises(ValueError, match="none of"):
            double.fail_next("POST", PATH, kind="503")


@story
async def test_one_call_hangs_and_its_twin_is_told_to_wait() -> None:
    async with opened() as (double, client):
        double.fail_next("POST", PATH, kind="hang_before")
        first = asyncio.ensure_future(create(client))
        await until(lambda: len(double.requests) == 1 and double.server.keys.kept)
        with pytest.raises(stripe.APIError) as caught:
            await create(client)
        assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
        assert not double.sessions
        await asyncio.to_thread(double.release_hung)
        assert (await first).id in double.sessions


@story
async def test_an_answer_that_never_comes_after_the_work_was_done() -> None:
    async with opened(timeout=0.3) as (double, client):
        double.fail_next("POST", PATH, kind="hang")
        with pytest.raises(stripe.APIConnectionError):
            await create(client)
        assert len(double.sessions) == 1
        assert (await create(client)).id in double.sessions
        await asyncio.to_thread(double.release_hung)
        assert len(double.sessions) == 1


@story
async def test_slow_answers_and_latency() -> None:
    async with opened() as (double, client):
        double.fail_next("GET", "/v1/balance", kind="slow", seconds=0.2)
        before = time.monotonic()
        await client.v1.balance.retrieve_async()
        slow = time.monotonic() - before
        double.faults.latency = 0.15
        await client.v1.balance.retrieve_async()
        assert (slow >= 0.2, time.monotonic() - before - slow >= 0.15) == (True, True)


@story
async def test_stripe_is_away_and_comes_back() -> None:
    async with opened() as (double, client):
        made = await create(client)
        for how in ("refuses", "closes"):
            await asyncio.to_thread(double.down, how)
            with pytest.raises(stripe.APIConnectionError):
                await client.v1.balance.retrieve_async()
            await asyncio.to_thread(double.up)
            assert (await client.v1.checkout.sessions.retrieve_async(made.id)).id == made.id


@story
async def test_a_restricted_key() -> None:
    async with opened() as (double, client):
        double.restrict("/v1/refunds")
        with pytest.raises(stripe.PermissionError):
            await client.v1.refunds.list_async()
        await client.v1.balance.retrieve_async()


@story
async def test_a_key_is_forgotten_after_a_day() -> None:
    async with opened() as (double, client):
        first = await create(client)
        double.forward(DAY - 60)
        assert (await create(client)).id == first.id
        double.forward(120)
        second = await create(client)
        assert second.id != first.id, "after a day a key protects nothing"


@story
async def test_a_refusal_of_the_endpoint_itself_is_kept_under_its_key() -> None:
    async with opened() as (double, client):
        pi = double.pay((await create(client)).id)["payment_intent"]
        double.dashboard_refund(pi)
        for replayed in (False, True):
            with pytest.raises(stripe.InvalidRequestError) as caught:
                await client.v1.refunds.create_async({"payment_intent": pi}, {"idempotency_key": "rf:1"})
            assert (caught.value.code, double.requests[-1].replayed) == ("charge_already_refunded", replayed)


CHILD = """
import asyncio, sys
from tests.doubles.stripe_caller import stripe_caller
async def main():
    async with stripe_caller(sys.argv[1], sys.argv[2]) as client:
        await client.v1.checkout.sessions.create_async({order!r}, {{"idempotency_key": "co:1:1"}})
asyncio.run(main())
"""


@pytest.mark.parametrize("side", ["before", "after"])
def test_whoever_calls_is_killed_on_either_side_of_the_effect(side: str) -> None:
    with stripe_double() as double:
        seen: list[tuple[str, str]] = []

        def kill(method: str, path: str, _body: str) -> None:
            seen.append((method, path))
            child.kill()
            child.wait()

        double.hooks(**{side: kill})
        with subprocess.Popen(
            [sys.executable, "-c", CHILD.format(order=ORDER), double.key, double.url], stderr=subprocess.DEVNULL
        ) as child:
            assert child.wait(30) == -9
        assert seen == [("POST", PATH)]

        async def again() -> None:
            double.hooks()
            async with stripe_caller(double.key, double.url) as client:
                await until(lambda: double.sessions)
                assert (await create(client)).id in double.sessions
            assert len(double.sessions) == 1

        asyncio.run(again())


# webhooks


@story
async def test_every_event_is_sent_signed_and_known_as_taken() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url)
        double.pay((await create(client)).id)
        await until(lambda: len(receiver.taken) == 4 and double.webhooks.idle)
        assert types(receiver) == [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.succeeded",
            "checkout.session.completed",
        ]
        assert all(verified(each, double.secret) for each in receiver.messages)
        event = client.construct_event(receiver.messages[-1].body, receiver.messages[-1].headers["stripe-signature"], double.secret)
        assert event.data.object.payment_status == "paid"
        assert not (await client.v1.events.list_async({"delivery_success": False})).data
        endpoint = (await client.v1.webhook_endpoints.list_async()).data[0]
        assert (endpoint.url, endpoint.status, list(endpoint.enabled_events)) == (receiver.url, "enabled", ["*"])
        assert "secret" not in endpoint
        double.deliver_to(receiver.url, status="disabled")
        double.expire((await create(client, "co:2:1")).id)
        assert double.webhooks.waiting == []


@story
async def test_an_endpoint_that_wants_only_some_events() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url, enabled_events=("checkout.session.completed",), api_version="2024-06-20")
        double.pay((await create(client)).id)
        await until(lambda: receiver.taken and double.webhooks.idle)
        assert [(each.event["type"], each.event["api_version"]) for each in receiver.messages] == [
            ("checkout.session.completed", "2024-06-20")
        ]


@story
async def test_dropped_webhooks_are_found_by_asking() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url)
        double.webhooks.drop()
        double.pay((await create(client)).id)
        double.forward(4 * DAY)
        missed = await client.v1.events.list_async({"delivery_success": False, "types": ["checkout.session.*"]})
        assert [(each.type, each.pending_webhooks) for each in missed.data] == [("checkout.session.completed", 1)]
        double.webhooks.deliver()
        double.expire((await create(client, "co:2:1")).id)
        await until(lambda: receiver.taken)
        assert types(receiver) == ["checkout.session.expired"], "what was dropped does not come later"


@story
async def test_webhooks_come_twice_in_another_order_and_late() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url)
        double.webhooks.hold()
        double.webhooks.duplicate(2)
        double.pay((await create(client)).id)
        held = double.webhooks.waiting
        assert (len(held), receiver.messages) == (8, [])
        double.webhooks.release("reverse")
        await until(lambda: len(receiver.taken) == 8)
        assert types(receiver) == held[::-1]
        double.webhooks.deliver()
        double.webhooks.hold()
        double.expire((await create(client, "co:2:1")).id)
        double.webhooks.release(random.Random(1))
        await until(lambda: len(receiver.taken) == 9)
        double.webhooks.delay(3 * DAY)
        double.pay((await create(client, "co:3:1")).id)
        assert double.webhooks.idle
        double.forward(3 * DAY)
        await until(lambda: "checkout.session.completed" in types(receiver)[9:])


@story
async def test_a_webhook_is_sent_again_until_it_is_taken() -> None:
    answers = iter([Reply(503), HANG, Reply(200)])
    async with opened() as (double, client), Receiver(lambda _message: next(answers)) as receiver:
        double.deliver_to(receiver.url, enabled_events=("checkout.session.completed",))
        double.webhooks.timeout = 0.2
        double.pay((await create(client)).id)
        await until(lambda: len(double.webhooks.sent) == 1)
        assert double.webhooks.waiting == ["checkout.session.completed"]
        double.forward(5)
        await until(lambda: len(double.webhooks.sent) == 2)
        double.forward(300)
        await until(lambda: len(double.webhooks.sent) == 3)
        assert [each.status for each in double.webhooks.sent] == [503, None, 200]
        assert len({each.event["id"] for each in receiver.messages}) == 1
        assert not double.webhooks.waiting


@story
async def test_secrets_are_rolled() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url, enabled_events=("checkout.session.expired",))
        old = double.secret
        for number, both in enumerate((True, False)):
            new = double.rotate_secret(both=both)
            double.expire((await create(client, f"co:{number}")).id)
            await until(lambda count=number + 1: len(receiver.taken) == count)
            assert verified(receiver.messages[-1], new)
            assert verified(receiver.messages[-1], old) == both
            old = new


@story
async def test_events_by_hand_old_forged_and_again() -> None:
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url)
        made = await create(client)
        double.expire(made.id)
        await until(lambda: len(receiver.taken) == 1)
        number = receiver.messages[0].event["id"]
        assert await asyncio.wrap_future(double.send_event(number)) == 200
        again = receiver.messages[1]
        assert again.event | {"pending_webhooks": 1} == receiver.messages[0].event
        assert verified(again, double.secret)
        await asyncio.wrap_future(double.send_event(number, timestamp=int(time.time()) - 301))
        assert not verified(receiver.messages[2], double.secret), "too old"
        await asyncio.wrap_future(double.forge("checkout.session.completed", made.to_dict() | {"payment_status": "paid"}))
        forged = receiver.messages[3]
        assert (verified(forged, double.secret), forged.event["id"] in double.events) == (False, False)
        with pytest.raises(stripe.InvalidRequestError):
            await client.v1.events.retrieve_async(forged.event["id"])


@story
async def test_a_webhook_that_comes_before_the_answer() -> None:
    """The buyer is quicker than the answer to the call that made the session."""
    async with opened() as (double, client), Receiver() as receiver:
        double.deliver_to(receiver.url)

        def pay(_method: str, _path: str, _body: str) -> None:
            double.hooks()
            double.pay(next(iter(double.sessions)))
            wait_until(lambda: len(receiver.taken) == 4)

        double.hooks(after=pay)
        made = await create(client)
        assert (made.status, types(receiver)[-1]) == ("open", "checkout.session.completed")
        assert receiver.messages[-1].event["data"]["object"]["id"] == made.id
