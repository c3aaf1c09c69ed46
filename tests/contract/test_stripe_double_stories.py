"""What only the double lets a test see: the buyer at the page, the bank's second thoughts and the passing of days. Each story ends
in sums that must agree: what was taken, what went back, and what the events said."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.doubles.stripe_caller import stripe_caller
from tests.doubles.stripe_double import StripeDouble, stripe_double
from tests.doubles.stripe_errors import Refused
from tests.doubles.stripe_objects import shaped

DAY = 86400
LINE = {"price_data": {"currency": "usd", "unit_amount": 4926, "product_data": {"name": "20 mm cube"}}, "quantity": 1}


@pytest.fixture
def double() -> Any:
    with stripe_double() as double:
        yield double


def ask(double: StripeDouble, what: str, *arguments: Any) -> Any:
    """One call of the real library, as `checkout.sessions.create`."""

    async def call() -> Any:
        async with stripe_caller(double.key, double.url) as client:
            service: Any = client.v1
            *path, name = what.split(".")
            for step in path:
                service = getattr(service, step)
            return await getattr(service, f"{name}_async")(*arguments)

    return asyncio.run(call())


def session(double: StripeDouble, amount: int = 4926, **changes: Any) -> str:
    price = LINE["price_data"] | {"unit_amount": amount}
    known = {"mode": "payment", "success_url": "https://shop.example/ok", "line_items": [LINE | {"price_data": price}]}
    return ask(double, "checkout.sessions.create", known | changes).id


def held(double: StripeDouble) -> tuple[str, str]:
    number = session(double, payment_intent_data={"capture_method": "manual", "metadata": {"order_id": "order-000001"}})
    return number, double.pay(number)["payment_intent"]


def paid(double: StripeDouble) -> str:
    return double.pay(session(double))["payment_intent"]


def told(double: StripeDouble) -> list[str]:
    """The types of all events, oldest first."""
    return [each.type for each in reversed(ask(double, "events.list", {"limit": 100}).data)]


def test_the_buyer_pays_by_card(double: StripeDouble) -> None:
    number = session(double)
    double.pay(number)
    found = ask(double, "checkout.sessions.retrieve", number, {"expand": ["payment_intent.latest_charge"]})
    assert (found.status, found.payment_status, found.payment_intent.status) == ("complete", "paid", "succeeded")
    assert found.payment_intent.latest_charge.amount_captured == 4926
    assert told(double) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]
    assert double.captured(found.payment_intent.id) == 4926
    with pytest.raises(Refused, match="no longer available"):
        double.pay(number)


def test_the_buyer_pays_and_the_shop_ends_the_session_at_once(double: StripeDouble) -> None:
    """Whoever comes first wins; never both."""
    for number in [session(double) for _ in range(8)]:
        with ThreadPoolExecutor(2) as pool:
            tries = [pool.submit(double.pay, number), pool.submit(double.expire, number)]
        assert sorted(each.exception() is None for each in tries) == [False, True]
        assert (double.sessions[number]["status"] == "complete") == (tries[0].exception() is None)


def test_another_amount_than_asked(double: StripeDouble) -> None:
    number = session(double)
    double.pay(number, amount=100, currency="eur")
    found = ask(double, "checkout.sessions.retrieve", number, {"expand": ["payment_intent"]})
    assert (found.amount_total, found.payment_intent.amount_received, found.payment_intent.currency) == (100, 100, "eur")


def test_an_order_that_costs_nothing(double: StripeDouble) -> None:
    number = session(double, amount=0)
    double.pay(number)
    found = ask(double, "checkout.sessions.retrieve", number)
    assert (found.status, found.payment_status, found.payment_intent) == ("complete", "no_payment_required", None)


def test_money_is_held_until_somebody_captures_it(double: StripeDouble) -> None:
    number, pi = held(double)
    assert double.sessions[number]["payment_status"] == "unpaid"
    assert told(double)[-2:] == ["payment_intent.amount_capturable_updated", "checkout.session.completed"]
    assert (double.intents[pi]["metadata"], double.captured(pi)) == ({"order_id": "order-000001"}, 0)
    double.dashboard_capture(pi, 4000)
    assert (double.captured(pi), double.refunded(pi)) == (4000, 0)
    assert told(double)[-2:] == ["charge.captured", "payment_intent.succeeded"]
    charge = ask(double, "refunds.create", {"payment_intent": pi, "amount": 1000, "expand": ["charge"]}).charge
    assert (charge.amount_captured, charge.amount_refunded, double.refunded(pi)) == (4000, 1926, 1000), (
        "what was let go counts there"
    )
    double.forward(8 * DAY)
    assert double.intents[pi]["status"] == "succeeded", "what was captured does not lapse"


def test_an_authorisation_lapses_after_seven_days(double: StripeDouble) -> None:
    _, pi = held(double)
    double.forward(7 * DAY - 60)
    assert double.intents[pi]["status"] == "requires_capture"
    double.forward(60)
    found = ask(double, "payment_intents.retrieve", pi)
    assert (found.status, found.cancellation_reason) == ("canceled", "automatic")
    assert told(double)[-2:] == ["charge.expired", "payment_intent.canceled"]
    _, other = held(double)
    double.lapse(other)
    assert double.intents[other]["status"] == "canceled"


@pytest.mark.parametrize("ok", [True, False])
def test_a_bank_debit_takes_days(double: StripeDouble, ok: bool) -> None:
    number = session(double)
    pi = double.pay_async(number)["payment_intent"]
    found = ask(double, "checkout.sessions.retrieve", number)
    assert (found.status, found.payment_status, double.intents[pi]["status"]) == ("complete", "unpaid", "processing")
    with pytest.raises(stripe.InvalidRequestError):
        ask(double, "refunds.create", {"payment_intent": pi})
    double.forward(4 * DAY)
    double.settle_async(number, ok=ok)
    assert double.sessions[number]["payment_status"] == ("paid" if ok else "unpaid")
    assert told(double)[-1] == f"checkout.session.async_payment_{'succeeded' if ok else 'failed'}"
    assert double.captured(pi) == (4926 if ok else 0)


def test_a_declined_card_leaves_the_session_open(double: StripeDouble) -> None:
    number = session(double)
    pi = double.decline(number)["payment_intent"]
    assert (double.sessions[number]["status"], double.intents[pi]["status"]) == ("open", "requires_payment_method")
    assert told(double)[-1] == "payment_intent.payment_failed"
    with pytest.raises(stripe.InvalidRequestError, match="expire the Checkout Session"):
        ask(double, "payment_intents.cancel", pi)
    assert double.pay(number)["payment_intent"] == pi, "the second attempt is the same payment intent"
    assert double.captured(pi) == 4926


def test_a_session_ends_by_itself(double: StripeDouble) -> None:
    number, other = session(double), session(double)
    pi = double.decline(other)["payment_intent"]
    ends = double.sessions[number]["expires_at"]
    double.forward(2 * DAY)
    listed = ask(double, "checkout.sessions.list", {"status": "expired"})
    assert {each.id for each in listed.data} == {number, other}
    event = next(each for each in double.events.values() if each["type"] == "checkout.session.expired")
    assert event["created"] == ends, "at its own moment, not when somebody looked"
    assert double.intents[pi]["status"] == "canceled"
    with pytest.raises(Refused):
        double.pay(number)


def test_a_refund_waits_and_fails(double: StripeDouble) -> None:
    pi = paid(double)
    double.refunds_start_as("pending")
    refund = ask(double, "refunds.create", {"payment_intent": pi, "amount": 1000})
    assert (refund.status, refund.pending_reason, double.refunded(pi)) == ("pending", "processing", 1000)
    double.settle_refund(refund.id, "succeeded")
    double.settle_refund(refund.id, "failed")
    found = ask(double, "refunds.retrieve", refund.id)
    assert (found.status, found.failure_reason) == ("failed", "lost_or_stolen_card")
    assert (double.refunded(pi), double.charges[found.charge]["amount_refunded"]) == (0, 0), "the money is ours again"
    assert told(double)[-3:] == ["refund.updated", "charge.refund.updated", "refund.failed"]
    assert ask(double, "refunds.create", {"payment_intent": pi}).amount == 4926


def test_somebody_refunds_at_the_dashboard(double: StripeDouble) -> None:
    pi = paid(double)
    double.dashboard_refund(pi, 926)
    with pytest.raises(stripe.InvalidRequestError, match=r"\$49.26.*\$40.00"):
        ask(double, "refunds.create", {"payment_intent": pi, "amount": 4926})
    double.dashboard_refund(pi)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        ask(double, "refunds.create", {"payment_intent": pi})
    assert caught.value.code == "charge_already_refunded"
    assert (double.captured(pi), double.refunded(pi)) == (4926, 4926)


@pytest.mark.parametrize("won", [True, False])
def test_a_buyer_goes_to_the_bank(double: StripeDouble, won: bool) -> None:
    pi = paid(double)
    double.dispute(pi)
    listed = ask(double, "disputes.list", {"payment_intent": pi})
    assert [(each.status, each.amount) for each in listed.data] == [("needs_response", 4926)]
    assert ask(double, "charges.retrieve", listed.data[0].charge).disputed
    with pytest.raises(stripe.InvalidRequestError) as caught:
        ask(double, "refunds.create", {"payment_intent": pi})
    assert caught.value.code == "charge_disputed"
    double.close_dispute(pi, won)
    assert told(double)[-1] == ("charge.dispute.funds_reinstated" if won else "charge.dispute.closed")
    assert ask(double, "disputes.retrieve", listed.data[0].id).status == ("won" if won else "lost")
    if won:
        assert ask(double, "refunds.create", {"payment_intent": pi}).amount == 4926


def test_an_event_keeps_what_was_and_lives_thirty_days(double: StripeDouble) -> None:
    pi = paid(double)
    double.dashboard_refund(pi)
    event = next(each for each in ask(double, "events.list", {"type": "charge.*"}).data if each.type == "charge.succeeded")
    assert event.data.object.amount_refunded == 0
    assert event.api_version == stripe.api_version
    double.forward(30 * DAY - 60)
    assert ask(double, "events.retrieve", event.id).id == event.id
    double.forward(120)
    with pytest.raises(stripe.InvalidRequestError):
        ask(double, "events.retrieve", event.id)
    with pytest.raises(stripe.InvalidRequestError):
        ask(double, "events.list", {"ending_before": event.id})


def test_every_event_is_one_the_library_knows(double: StripeDouble) -> None:
    for tell in (
        test_a_refund_waits_and_fails,
        test_a_declined_card_leaves_the_session_open,
        test_an_authorisation_lapses_after_seven_days,
    ):
        tell(double)
        double.refunds_start_as("succeeded")
    double.settle_async(double.pay_async(session(double))["id"], ok=False)
    double.close_dispute(double.dispute(paid(double))["payment_intent"], won=True)
    known = set(stripe.Event.__annotations__["type"].__args__)
    kinds = {each["type"] for each in double.events.values()}
    assert len(kinds) > 15
    assert kinds <= known


def test_an_error_of_the_double_itself_is_told_when_it_stops() -> None:
    with pytest.raises(RuntimeError, match="the double itself broke"), stripe_double() as double:  # noqa: PT012 - it is told on leaving
        double.refunds_start_as("lost")
        pi = paid(double)
        with pytest.raises(stripe.APIConnectionError):
            ask(double, "refunds.create", {"payment_intent": pi})


def test_a_field_the_library_does_not_have_breaks_the_double() -> None:
    with pytest.raises(TypeError, match="invented"):
        shaped("refund", id="re_1", invented=1)


@pytest.mark.parametrize(
    ("currency", "amount", "good"),
    [("jpy", 50, True), ("jpy", 49, False), ("kwd", 1000, True), ("kwd", 1005, False), ("isk", 20000, True), ("isk", 20050, False)],
)
def test_currencies_without_cents_and_with_mills(double: StripeDouble, currency: str, amount: int, good: bool) -> None:
    price = LINE["price_data"] | {"currency": currency.upper(), "unit_amount": amount}
    params = {"mode": "payment", "success_url": "https://shop.example/ok", "line_items": [LINE | {"price_data": price}]}
    if good:
        assert ask(double, "checkout.sessions.create", params).currency == currency
        return
    with pytest.raises(stripe.InvalidRequestError) as caught:
        ask(double, "checkout.sessions.create", params)
    assert caught.value.http_status == 400


def test_a_clock_of_the_tests_own() -> None:
    moment = 1_705_312_800.0
    with stripe_double(clock=lambda: moment) as double:
        made = ask(double, "checkout.sessions.retrieve", session(double, expires_at=int(moment) + 3600))
        assert made.created == int(moment)
        assert made.last_response.headers["Date"] == "Mon, 15 Jan 2024 10:00:00 GMT"
        double.skew(-90)
        assert ask(double, "balance.retrieve").last_response.headers["Date"] == "Mon, 15 Jan 2024 09:58:30 GMT"
        moment += 3600
        assert ask(double, "checkout.sessions.retrieve", made.id).status == "expired"


def test_money_that_came_in_and_went_out_is_the_balance(double: StripeDouble) -> None:
    double.dashboard_refund(paid(double), 926)
    balance = ask(double, "balance.retrieve")
    assert [(each.currency, each.amount) for each in balance.available] == [("usd", 4000)]
