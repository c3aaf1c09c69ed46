"""What Stripe's API does, told twice: by the double on 127.0.0.1 and, where STRIPE_TEST_KEY is set, by Stripe's own test mode. The
very same stories hold on both; what only the double can do is told in the files beside this one."""

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe
from stripe import StripeClient

from tests.doubles.stripe_caller import stripe_caller
from tests.doubles.stripe_double import StripeDouble, stripe_double

Story = Callable[[StripeClient], Awaitable[None]]
CARD = {"currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
NO_REDIRECTS = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}


@dataclass
class Account:
    key: str
    double: StripeDouble | None = None

    def tell(self, story: Story, key: str | None = None) -> None:
        async def main() -> None:
            async with stripe_caller(key or self.key, self.double and self.double.url) as client:
                await story(client)

        asyncio.run(main())


@pytest.fixture(params=["double", pytest.param("live", marks=pytest.mark.stripe_live)])
def account(request: pytest.FixtureRequest) -> Iterator[Account]:
    if request.param == "live":
        if not (key := os.environ.get("STRIPE_TEST_KEY")):
            pytest.skip("STRIPE_TEST_KEY is not set: nobody may call Stripe's test mode")
        yield Account(key)
        return
    with stripe_double() as double:
        yield Account(double.key, double)


def line(amount: Any = 1250, quantity: int = 3, currency: str = "usd", **product: Any) -> dict[str, Any]:
    data = {"currency": currency, "unit_amount": amount, "product_data": {"name": "20 mm cube"} | product}
    return {"price_data": data, "quantity": quantity}


def order(**changes: Any) -> dict[str, Any]:
    """The example order of the house, 49.26."""
    rate = {"display_name": "Post", "type": "fixed_amount", "fixed_amount": {"amount": 800, "currency": "usd"}}
    known = {
        "mode": "payment",
        "line_items": [line(), line(376, 1, name="Tax")],
        "shipping_options": [{"shipping_rate_data": rate}],
        "client_reference_id": "order-000001",
        "metadata": {"order_id": "order-000001"},
        "success_url": "https://shop.example/ok?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/back",
        "customer_email": "jane@shop.example",
    }
    return known | changes


async def refused(call: Awaitable[Any], kind: type[stripe.StripeError] = stripe.InvalidRequestError) -> Any:
    with pytest.raises(kind) as caught:
        await call
    return caught.value


def test_a_session_carries_the_order_and_its_sums(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions = client.v1.checkout.sessions
        made = await sessions.create_async(order())
        assert (made.amount_subtotal, made.amount_total, made.currency) == (4126, 4926, "usd")
        assert (made.total_details.amount_shipping, made.total_details.amount_tax, made.shipping_cost.amount_total) == (800, 0, 800)
        assert (made.status, made.payment_status, made.payment_intent, made.livemode) == ("open", "unpaid", None, False)
        assert made.id.startswith("cs_test_")
        assert made.url.startswith("https://checkout.stripe.com/c/pay/cs_test_")
        assert made.expires_at - made.created == 24 * 3600
        assert abs(made.created - time.time()) < 300
        again = await sessions.retrieve_async(made.id, {"expand": ["line_items"]})
        assert (again.metadata["order_id"], again.client_reference_id) == ("order-000001", "order-000001")
        assert {(each.description, each.quantity, each.amount_total) for each in again.line_items.data} == {
            ("20 mm cube", 3, 3750),
            ("Tax", 1, 376),
        }
        assert "line_items" not in await sessions.retrieve_async(made.id)

    account.tell(story)


def test_a_session_is_ended_once(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions = client.v1.checkout.sessions
        made = await sessions.create_async(order())
        ended = await sessions.expire_async(made.id)
        assert (ended.status, ended.payment_status, ended.url) == ("expired", "unpaid", None)
        error = await refused(sessions.expire_async(made.id))
        assert error.http_status == 400
        assert "Only Checkout Sessions with a status in" in str(error)

    account.tell(story)


def test_sessions_are_listed_newest_first_in_pages(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions = client.v1.checkout.sessions
        made = [(await sessions.create_async(order())).id for _ in range(3)]
        first = await sessions.list_async({"limit": 2, "created": {"gte": int(time.time()) - 600}})
        assert (len(first.data), first.has_more) == (2, True)
        older = await sessions.list_async({"limit": 1, "starting_after": made[1]})
        assert [each.id for each in older.data] == [made[0]]
        newer = await sessions.list_async({"limit": 1, "ending_before": made[0]})
        assert [each.id for each in newer.data] == [made[1]], "the neighbour, not the newest"
        assert newer.has_more
        await sessions.expire_async(made[0])
        ended = await sessions.list_async({"limit": 1, "status": "expired"})
        assert [each.id for each in ended.data] == [made[0]]
        await refused(sessions.list_async({"limit": 101}))

    account.tell(story)


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"order_number": "1"}, "parameter_unknown", "order_number"),
        ({"line_items": [line(12.5)]}, "parameter_invalid_integer", "line_items[0][price_data][unit_amount]"),
        ({"line_items": [line(nme="x")]}, "parameter_unknown", "line_items[0][price_data][product_data][nme]"),
        ({"line_items": [line(40, 1)], "shipping_options": []}, "amount_too_small", None),
        ({"line_items": [line(-1)]}, "parameter_invalid_integer", "line_items[0][price_data][unit_amount]"),
        ({"success_url": "shop.example"}, "url_invalid", "success_url"),
        ({"customer_email": "jane"}, "email_invalid", "customer_email"),
        ({"metadata": {"note": "x" * 501}}, None, "metadata[note]"),
        ({"client_reference_id": "x" * 201}, None, "client_reference_id"),
        ({"line_items": [line(1)] * 101}, None, "line_items"),
        ({"line_items": [line(), line(currency="eur")], "shipping_options": []}, None, None),
        ({"line_items": []}, None, None),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_session_stripe_would_not_make(account: Account, changes: dict[str, Any], code: str | None, param: str | None) -> None:
    async def story(client: StripeClient) -> None:
        error = await refused(client.v1.checkout.sessions.create_async(order(**changes)))
        assert error.http_status == 400
        if code:
            assert error.code == code
        if param:
            assert error.param == param

    account.tell(story)


@pytest.mark.parametrize(("ahead", "words"), [(29 * 60, "at least 30 minutes"), (25 * 3600, "less than 24 hours")])
def test_a_session_ends_within_a_day(account: Account, ahead: int, words: str) -> None:
    async def story(client: StripeClient) -> None:
        error = await refused(client.v1.checkout.sessions.create_async(order(expires_at=int(time.time()) + ahead)))
        assert words in str(error)
        assert error.param == "expires_at"

    account.tell(story)


def test_a_key_gives_the_same_answer_and_no_other(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions, key = client.v1.checkout.sessions, {"idempotency_key": str(uuid.uuid4())}
        made = await sessions.create_async(order(), key)
        again = await sessions.create_async(order(), key)
        assert again.id == made.id
        assert again.last_response.headers["Idempotent-Replayed"] == "true"
        await sessions.expire_async(made.id)
        assert (await sessions.create_async(order(), key)).status == "open", "the answer of then, not the state of now"
        error = await refused(sessions.create_async(order(client_reference_id="other"), key), stripe.IdempotencyError)
        assert error.http_status == 400
        await refused(client.v1.refunds.create_async({"payment_intent": "pi_none"}, key), stripe.IdempotencyError)

    account.tell(story)


def test_a_call_that_never_began_leaves_its_key_unused(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions, key = client.v1.checkout.sessions, {"idempotency_key": str(uuid.uuid4())}
        await refused(sessions.create_async(order(line_items=[line(nme="x")]), key))
        assert (await sessions.create_async(order(), key)).status == "open"

    account.tell(story)


def test_a_card_is_charged_and_given_back(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        intents, refunds = client.v1.payment_intents, client.v1.refunds
        paid = await intents.create_async({**CARD, **NO_REDIRECTS, "amount": 4926, "metadata": {"order_id": "order-000001"}})
        assert (paid.status, paid.amount_received, paid.amount_capturable) == ("succeeded", 4926, 0)
        charge = await client.v1.charges.retrieve_async(paid.latest_charge)
        assert (charge.paid, charge.captured, charge.amount_captured, charge.disputed) == (True, True, 4926, False)
        assert (charge.metadata["order_id"], charge.payment_intent) == ("order-000001", paid.id)
        part = await refunds.create_async(
            {"payment_intent": paid.id, "amount": 1354, "reason": "requested_by_customer", "metadata": {"refund_id": "rf-1"}}
        )
        assert (part.status, part.amount, part.charge) == ("succeeded", 1354, charge.id)
        error = await refused(refunds.create_async({"payment_intent": paid.id, "amount": 3573}))
        assert "greater than unrefunded amount on charge" in str(error)
        rest = await refunds.create_async({"charge": charge.id})
        assert rest.amount == 3572
        assert (await refused(refunds.create_async({"payment_intent": paid.id}))).code == "charge_already_refunded"
        listed = await refunds.list_async({"payment_intent": paid.id})
        assert [each.id for each in listed.data] == [rest.id, part.id]
        assert listed.data[1].metadata["refund_id"] == "rf-1"
        charge = await client.v1.charges.retrieve_async(charge.id)
        assert (charge.refunded, charge.amount_refunded) == (True, 4926)
        assert (await intents.retrieve_async(paid.id)).status == "succeeded", "a refund does not change the payment intent"

    account.tell(story)


@pytest.mark.parametrize("amount", [0, -5])
def test_nothing_is_no_refund(account: Account, amount: int) -> None:
    async def story(client: StripeClient) -> None:
        paid = await client.v1.payment_intents.create_async({**CARD, **NO_REDIRECTS, "amount": 100})
        error = await refused(client.v1.refunds.create_async({"payment_intent": paid.id, "amount": amount}))
        assert error.param == "amount"

    account.tell(story)


def test_money_held_is_captured_in_part_and_the_rest_let_go(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        intents = client.v1.payment_intents
        held = await intents.create_async(
            {**CARD, **NO_REDIRECTS, "amount": 4926, "capture_method": "manual", "expand": ["latest_charge"]}
        )
        assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 4926, 0)
        assert not held.latest_charge.captured
        lapses = held.latest_charge.payment_method_details.card.capture_before
        assert 6 * 86400 < lapses - time.time() <= 7 * 86400
        assert (await refused(intents.capture_async(held.id, {"amount_to_capture": 4927}))).code == "amount_too_large"
        taken = await intents.capture_async(held.id, {"amount_to_capture": 3000})
        assert (taken.status, taken.amount_received, taken.amount_capturable, taken.amount) == ("succeeded", 3000, 0, 4926)
        charge = await client.v1.charges.retrieve_async(taken.latest_charge)
        assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (3000, 1926, False)
        await refused(client.v1.refunds.create_async({"payment_intent": held.id, "amount": 3001}))
        assert (await client.v1.refunds.create_async({"payment_intent": held.id})).amount == 3000
        assert (await refused(intents.capture_async(held.id))).code == "payment_intent_unexpected_state"

    account.tell(story)


def test_money_held_is_let_go(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        intents = client.v1.payment_intents
        held = await intents.create_async({**CARD, **NO_REDIRECTS, "amount": 4926, "capture_method": "manual"})
        gone = await intents.cancel_async(held.id, {"cancellation_reason": "requested_by_customer"})
        assert (gone.status, gone.cancellation_reason, gone.amount_capturable) == ("canceled", "requested_by_customer", 0)
        charge = await client.v1.charges.retrieve_async(held.latest_charge)
        assert (charge.captured, charge.refunded) == (False, True)
        for late in (intents.capture_async(held.id), intents.cancel_async(held.id)):
            assert (await refused(late)).code == "payment_intent_unexpected_state"
        await refused(client.v1.refunds.create_async({"payment_intent": held.id}))

    account.tell(story)


def test_a_card_says_no(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        params = {**CARD, **NO_REDIRECTS, "amount": 4926, "payment_method": "pm_card_chargeDeclined"}
        error = await refused(client.v1.payment_intents.create_async(params), stripe.CardError)
        assert (error.http_status, error.code) == (402, "card_declined")
        intent = await client.v1.payment_intents.retrieve_async(error.error.payment_intent.id)
        assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", "card_declined")
        params = {"payment_method": "pm_card_visa"}
        assert (await client.v1.payment_intents.confirm_async(intent.id, params)).status == "succeeded"

    account.tell(story)


def test_what_does_not_exist_and_who_may_not_ask(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        for call in (
            client.v1.payment_intents.retrieve_async("pi_none"),
            client.v1.checkout.sessions.retrieve_async("cs_test_none"),
        ):
            error = await refused(call)
            assert (error.http_status, error.code) == (404, "resource_missing")
        assert (await refused(client.v1.refunds.create_async({"charge": "ch_none"}))).code == "resource_missing"
        await refused(client.v1.refunds.create_async({}))
        made = await client.v1.checkout.sessions.create_async(order())
        error = await refused(client.v1.checkout.sessions.retrieve_async(made.id, {"expand": ["nothing"]}))
        assert "cannot be expanded" in str(error)

    async def stranger(client: StripeClient) -> None:
        error = await refused(client.v1.balance.retrieve_async(), stripe.AuthenticationError)
        assert error.http_status == 401
        assert "Invalid API Key provided: sk_test_" in str(error)
        assert "wrongwrong" not in str(error)

    account.tell(story)
    account.tell(stranger, key="sk_test_51wrongwrongwrongwrongwrong")


def test_the_account_itself(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        balance = await client.v1.balance.retrieve_async()
        assert not balance.livemode
        assert all(isinstance(each.amount, int) and len(each.currency) == 3 for each in balance.available)
        assert balance.last_response.headers["Request-Id"].startswith("req_")
        mine = await client.v1.accounts.retrieve_current_async()
        assert mine.id.startswith("acct_")
        assert (len(mine.default_currency), len(mine.country)) == (3, 2)
        assert (await client.v1.webhook_endpoints.list_async({"limit": 5})).object == "list"

    account.tell(story)


def test_events_tell_what_was_and_are_read_onwards_from_a_cursor(account: Account) -> None:
    async def story(client: StripeClient) -> None:
        sessions, events = client.v1.checkout.sessions, client.v1.events
        made = [(await sessions.create_async(order())).id for _ in range(3)]
        for number in made:
            await sessions.expire_async(number)
        found = await _until_listed(client, "checkout.session.expired", set(made))
        oldest = next(each for each in found if each.data.object.id == made[0])
        assert (oldest.type, oldest.data.object.status, oldest.livemode) == ("checkout.session.expired", "expired", False)
        assert oldest.request.id.startswith("req_")
        onwards = await events.list_async({"types": ["checkout.session.expired"], "ending_before": oldest.id, "limit": 1})
        neighbour = next(each for each in found if each.data.object.id == made[1])
        assert [each.id for each in onwards.data] == [neighbour.id]
        assert (await events.retrieve_async(oldest.id)).data.object.id == made[0]

    account.tell(story)


async def _until_listed(client: StripeClient, kind: str, numbers: set[str], seconds: float = 30) -> list[Any]:
    deadline = time.monotonic() + seconds
    while True:
        listed = (await client.v1.events.list_async({"type": kind, "limit": 100})).data
        if numbers <= {each.data.object.id for each in listed}:
            return listed
        assert time.monotonic() < deadline, "the events did not come"
        await asyncio.sleep(0.2)


@pytest.mark.stripe_live
def test_the_double_invents_no_field_that_stripe_does_not_send() -> None:
    if not (key := os.environ.get("STRIPE_TEST_KEY")):
        pytest.skip("STRIPE_TEST_KEY is not set: nobody may call Stripe's test mode")
    seen: list[dict[str, set[str]]] = []

    async def story(client: StripeClient) -> None:
        session = await client.v1.checkout.sessions.create_async(order())
        params = {**CARD, **NO_REDIRECTS, "amount": 500, "expand": ["latest_charge"]}
        intent = await client.v1.payment_intents.create_async(params)
        refund = await client.v1.refunds.create_async({"payment_intent": intent.id})
        named = {"session": session, "intent": intent, "charge": intent.latest_charge, "refund": refund}
        seen.append({name: set(each.to_dict()) for name, each in named.items()})

    Account(key).tell(story)
    with stripe_double() as double:
        Account(double.key, double).tell(story)
    stripes, doubles = seen
    assert {name: doubles[name] - stripes[name] for name in stripes} == {name: set() for name in stripes}
