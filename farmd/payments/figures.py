"""What an order's checkouts and refunds add up to: the columns of the order that are nothing but sums of other rows.

Derived anew every time, never counted up, so that a repeated or late message cannot count twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from farmd.domain.till import CheckoutFacts, CheckoutState, MoneyFacts, RefundFacts, RefundState, kept, payment_status, refund_stuck
from farmd.store.rows import Row

_PROMISED = (CheckoutState.PROCESSING, CheckoutState.AUTHORIZED)


def checkout_facts(row: Row, *, asked: bool = False) -> CheckoutFacts:
    """A checkout's row, reduced to what decisions need."""
    return CheckoutFacts(row["id"], CheckoutState(row["state"]), asked, row["captured"], row["charged_back"])


def refund_facts(row: Row) -> RefundFacts:
    """A refund's row, reduced to what decisions need."""
    known = row["provider_id"] is not None
    return RefundFacts(row["id"], row["checkout_id"], row["amount"], RefundState(row["state"]), known, row["cause"])


def mismatched(checkouts: Sequence[Row], refunds: Sequence[RefundFacts]) -> Row | None:
    """A checkout that holds, or will hold, money which nobody asked for in this amount or currency."""
    for row in checkouts:
        if not row["agrees"] and (row["state"] in _PROMISED or kept(checkout_facts(row), refunds) > 0):
            return row
    return None


def figures(order: Mapping[Any, Any], checkouts: Sequence[Row], refund_rows: Sequence[Row]) -> dict[str, Any]:
    """The money columns of an order as its rows say now."""
    mine = [row for row in checkouts if row["currency"] == order["currency"]]
    sums = {key: sum(row[key] for row in mine) for key in ("authorized", "captured", "charged_back")}
    refunds = [refund_facts(row) for row in refund_rows]
    returned = sum(refund.amount for refund in refunds if refund.state is RefundState.SUCCEEDED)
    left = sums["captured"] - sums["charged_back"] - returned
    facts = MoneyFacts(
        paid=any(row["state"] == CheckoutState.PAID for row in checkouts),
        processing=any(row["state"] == CheckoutState.PROCESSING for row in checkouts),
        agrees=mismatched(checkouts, refunds) is None,
        refunded=returned,
        owed=sum(refund.amount for refund in refunds if refund.state in (RefundState.PENDING, RefundState.OWED)),
        refund_failed=refund_stuck(left, refunds, cancelled=order["cancelled_at"] is not None),
        disputed=any(row["disputed"] for row in checkouts),
        **sums,
    )
    return sums | {
        "refunded": returned,
        "disputed": facts.disputed,
        "hold": _hold(order, facts),
        "payment_status": payment_status(facts).value,
        "checkout_url": _place_to_pay(order, checkouts),
    }


def _hold(order: Mapping[Any, Any], facts: MoneyFacts) -> str | None:
    """Why nothing more of an order may be started."""
    if order["released_at"] is None and (facts.disputed or facts.charged_back):
        return "dispute"
    if order["released_at"] is None and not facts.agrees:
        return "review"
    return "capture" if facts.authorized and not facts.captured and order["paid_by"] else None


def _place_to_pay(order: Mapping[Any, Any], checkouts: Sequence[Row]) -> str | None:
    if order["paid_at"] is not None or order["cancelled_at"] is not None:
        return None
    return next((row["url"] for row in reversed(checkouts) if row["state"] == CheckoutState.OPEN), None)
