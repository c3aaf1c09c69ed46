"""What must be true of orders, rows and Stripe's own books, at any moment and in the end. Reads both sides, changes neither."""

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Table, select

from farmd.domain.lifecycle import order_status
from farmd.payments.figures import figures
from farmd.store import tables as t
from farmd.store.refunds import refunds_by_age
from farmd.store.transitions import facts_of
from tests.doubles.stripe_double import StripeDouble

ONCE = ("order.created", "order.paid", "order.cancelled", "order.refunded")
GIVEN = ("pending", "succeeded", "requires_action")
NAMED = {"refund_failed", "payment_disputed", "payment_mismatch", "checkout_failed", "charged_back", "payment_stuck"}
"""The reasons that leave money or an order to a person."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Books:
    """Everything farmd has written, at one moment."""

    orders: list[Row]
    lines: list[Row]
    jobs: list[Row]
    checkouts: list[Row]
    refunds: list[Row]
    calls: list[Row]
    inbox: list[Row]
    events: list[Row]
    status: dict[str, str]  # of each order, folded anew
    money: dict[str, dict[str, Any]]  # of each order, added up anew

    def of(self, rows: list[Row], order: Row) -> list[Row]:
        return [row for row in rows if row["order_id"] == order["id"]]


def read_books(connection: Connection) -> Books:
    def rows(table: Table) -> list[Row]:
        return [dict(row) for row in connection.execute(select(table)).mappings()]

    tx: Any = SimpleNamespace(connection=connection)
    orders, checkouts = rows(t.orders), rows(t.checkouts)
    status = {order["id"]: order_status(facts_of(tx, order)).value for order in orders}
    mine = {
        order["id"]: sorted((c for c in checkouts if c["order_id"] == order["id"]), key=lambda c: c["number"]) for order in orders
    }
    money = {order["id"]: figures(order, mine[order["id"]], refunds_by_age(connection, order["id"])) for order in orders}
    tables = (t.line_items, t.jobs, t.checkouts, t.refunds, t.payment_calls, t.inbox, t.events)
    return Books(orders, *map(rows, tables), status, money)


# at any moment


def only_what_is_paid_is_made(books: Books, honest: set[str]) -> None:
    """`honest`: the orders of which Stripe once really held what was asked for."""
    for order in books.orders:
        jobs, lines = books.of(books.jobs, order), books.of(books.lines, order)
        if order["paid_at"] is None:
            assert not jobs, f"{order['id']} is not paid and made"
        else:
            assert order["id"] in honest, f"{order['id']} was never paid"
            made = sorted((job["line_item_id"], job["ordered"]) for job in jobs)
            assert made == sorted((line["id"], line["quantity"]) for line in lines)
        if order["cancelled_at"] is not None:
            assert all(job["state"] == "CANCELLED" for job in jobs), f"{order['id']} is cancelled and made"


def each_fact_is_told_once_and_in_order(books: Books) -> None:
    numbers = [event["sequence"] for event in books.events]
    assert numbers == list(range(1, len(numbers) + 1))
    for order in books.orders:
        told = [event["type"] for event in books.events if event["order_id"] == order["id"]]
        counted = Counter(told)
        assert all(counted[word] <= 1 for word in ONCE), counted
        assert counted["order.created"] == 1
        assert counted["order.paid"] == (order["paid_at"] is not None)
        assert counted["order.cancelled"] == (order["cancelled_at"] is not None)
        assert counted["order.refunded"] >= (order["status"] == "refunded")
        first_job = next((place for place, word in enumerate(told) if word.startswith("job.")), None)
        assert first_job is None or "order.paid" in told[:first_job]


def an_order_is_what_its_rows_come_to(books: Books) -> None:
    for order in books.orders:
        assert order["status"] == books.status[order["id"]]
        fresh = books.money[order["id"]]
        assert {key: order[key] for key in fresh} == fresh


def nothing_goes_back_twice(books: Books, stripe: StripeDouble) -> None:
    asked = Counter(each["metadata"]["refund_id"] for each in stripe.refunds.values() if each["metadata"].get("refund_id"))
    assert asked.keys() <= {row["id"] for row in books.refunds}, "a refund at Stripe of which no row tells"
    assert all(count == 1 for count in asked.values()), asked
    for row in books.refunds:
        if row["provider_id"]:
            seen = stripe.refunds[row["provider_id"]]
            assert seen["amount"] == row["amount"]
            assert seen["metadata"].get("refund_id") in (None, row["id"])
    for intent in stripe.intents:
        assert stripe.refunded(intent) + _lost(stripe, intent) <= stripe.captured(intent)


def one_place_to_pay_at_a_time(books: Books, stripe: StripeDouble) -> None:
    open_now = Counter(each["client_reference_id"] for each in stripe.sessions.values() if each["status"] == "open")
    assert all(count == 1 for count in open_now.values()), open_now
    paid = Counter(each["client_reference_id"] for each in stripe.sessions.values() if _captured(stripe, each))
    for order in books.orders:
        assert paid[order["id"]] <= len(books.of(books.checkouts, order))


def what_is_known_is_acted_on(books: Books, stripe: StripeDouble) -> None:
    """Of a cancelled order, and of a payment nobody needs, everything that was seen is given back, or a request for it stands.
    Whatever place to pay Stripe may have opened is closed before anybody forgets that it was asked for."""
    wanted = {call["order_id"] for call in books.calls if call["state"] == "WANTED"}
    for order in books.orders:
        if order["id"] in wanted:
            continue
        for row in books.of(books.checkouts, order):
            if order["cancelled_at"] is None and order["paid_by"] in (None, row["id"]):
                continue
            assert row["authorized"] == 0, f"{order['id']} knows of a promise, does not need it and does not give it back"
            mine = [each for each in books.of(books.refunds, order) if each["checkout_id"] == row["id"]]
            going = sum(each["amount"] for each in mine if each["state"] != "FAILED")
            failed = any(each["state"] == "FAILED" for each in mine)
            assert failed or row["captured"] - row["charged_back"] <= going, (
                f"{order['id']} knows of money and does not give it back"
            )
        if order["cancelled_at"] is not None:
            payable = [each["id"] for each in _sessions(stripe, order) if each["status"] == "open"]
            assert not payable, f"{order['id']} is cancelled and can be paid"


def only_what_can_go_back_is_asked_back(stripe: StripeDouble) -> None:
    """Stripe refuses a refund only where a bank, a dispute or the dashboard came first."""
    for request in stripe.requests:
        if (request.method, request.path, request.status) == ("POST", "/v1/refunds", 400):
            intent = request.params["payment_intent"]
            assert _disputes(stripe, intent) or _elsewhere(stripe, intent), request.params


def what_failed_failed_at_stripe(books: Books, stripe: StripeDouble) -> None:
    """No refund was asked for that could not be: only a bank lets one fail."""
    intents = {row["id"]: row["intent_id"] for row in books.checkouts}
    for row in books.refunds:
        if row["state"] == "FAILED" and not _disputes(stripe, intents[row["checkout_id"]]):
            assert row["provider_id"], row
            assert stripe.refunds[row["provider_id"]]["status"] in ("failed", "canceled"), row


# in the end


def each_wish_is_one_refund(books: Books, stripe: StripeDouble, wished: dict[str, int]) -> None:
    """What a person asked to be given back was given back once and whole, unless somebody else took a part of it first."""
    intents = {row["id"]: row["intent_id"] for row in books.checkouts}
    for row in books.refunds:
        if (amount := wished.get(row["id"])) is None:
            continue
        intent = intents[row["checkout_id"]]
        if _elsewhere(stripe, intent) or _disputes(stripe, intent):
            continue
        mine = [each for each in stripe.refunds.values() if each["metadata"].get("refund_id") == row["id"]]
        assert [each["amount"] for each in mine] == [amount], (row, mine)


def both_books_agree(books: Books, stripe: StripeDouble) -> None:
    for order in books.orders:
        known = {row["session_id"] for row in books.of(books.checkouts, order)}
        assert {each["id"] for each in _sessions(stripe, order) if each["status"] != "expired"} <= known
        refunds = books.of(books.refunds, order)
        for row in books.of(books.checkouts, order):
            intent = row["intent_id"]
            assert row["captured"] == (stripe.captured(intent) if intent else 0)
            assert row["authorized"] == (stripe.intents[intent]["amount_capturable"] if intent else 0)
            mine = [each for each in refunds if each["checkout_id"] == row["id"]]
            back = sum(each["amount"] for each in mine if each["state"] == "SUCCEEDED")
            assert back == _back(stripe, intent, "succeeded")
            assert row["disputed"] == _disputed_now(stripe, intent)
            assert row["charged_back"] == _lost(stripe, intent)
        for row in refunds:
            asked = [each for each in stripe.refunds.values() if row["id"] == each["metadata"].get("refund_id")]
            if row["cause"] != "provider" and row["amount"] and row["state"] != "FAILED" and not _waits(books, row):
                assert len(asked) == 1, row
            assert len(asked) <= 1


def what_is_not_wanted_is_given_back(books: Books, stripe: StripeDouble) -> None:
    """All of a cancelled order's money, and all of a second payment."""
    for order in books.orders:
        for row in books.of(books.checkouts, order):
            if row["id"] == order["paid_by"] and order["cancelled_at"] is None:
                continue
            if row["captured"] and (order["cancelled_at"] is not None or order["paid_by"] is not None):
                intent = row["intent_id"]
                kept = stripe.captured(intent) - _back(stripe, intent, *GIVEN) - _lost(stripe, intent)
                excused = _disputed_now(stripe, intent) or _back(stripe, intent, "failed", "canceled") >= kept
                assert kept == 0 or (excused and codes(order) & NAMED), f"{order['id']} keeps {kept} that are not its own"
            assert row["authorized"] == 0 or order["paid_by"] is None, f"{order['id']} holds what it does not want"


def nothing_is_left_undone(books: Books) -> None:
    assert not [message for message in books.inbox if message["state"] == "NEW"]
    disputed = {row["id"] for row in books.checkouts if row["disputed"]}
    left = [call for call in books.calls if call["state"] == "WANTED" and call["checkout_id"] not in disputed]
    assert not left, left
    for order in books.orders:
        stuck = any(call["state"] == "WANTED" for call in books.of(books.calls, order))
        assert stuck or "payment_stuck" not in codes(order), f"nothing of {order['id']} is stuck any more"
        if order["status"] == "pending_payment":
            assert codes(order) & NAMED, f"nobody pays {order['id']}, and nobody is told"
        if order["hold"] is not None:
            assert codes(order) & NAMED, f"{order['id']} is held, and nobody is told"


def codes(order: Row) -> set[str]:
    return {entry["code"] for entry in order["attention"]}


def _captured(stripe: StripeDouble, session: Row) -> bool:
    return bool(session["payment_intent"]) and stripe.captured(session["payment_intent"]) > 0


def _sessions(stripe: StripeDouble, order: Row) -> list[Row]:
    return [each for each in stripe.sessions.values() if each["client_reference_id"] == order["id"]]


def _elsewhere(stripe: StripeDouble, intent: str | None) -> bool:
    """Whether money of this payment was given back by somebody else than farmd."""
    return any(each["payment_intent"] == intent and "refund_id" not in each["metadata"] for each in stripe.refunds.values())


def _disputed_now(stripe: StripeDouble, intent: str | None) -> bool:
    return any(each["status"] not in ("won", "lost") for each in _disputes(stripe, intent))


def _disputes(stripe: StripeDouble, intent: str | None) -> list[Row]:
    return [each for each in stripe.disputes.values() if intent and each["payment_intent"] == intent]


def _lost(stripe: StripeDouble, intent: str | None) -> int:
    return sum(each["amount"] for each in _disputes(stripe, intent) if each["status"] == "lost")


def _back(stripe: StripeDouble, intent: str | None, *states: str) -> int:
    return sum(each["amount"] for each in stripe.refunds.values() if each["payment_intent"] == intent and each["status"] in states)


def _waits(books: Books, refund: Row) -> bool:
    return any(call["refund_id"] == refund["id"] and call["state"] == "WANTED" for call in books.calls)
