"""What an order's checkouts and refunds add up to: the columns of the order that are nothing but sums of other rows.

Derived anew every time, never counted up, so that a repeated or late message cannot count twice.
"""

from collections.abc import Sequence
from typing import Any

from farmd.domain.till import CheckoutState, MoneyFacts, RefundState, payment_status
from farmd.store.engine import Tx
from farmd.store.refunds import refunds_by_age
from farmd.store.rows import Row


def figures(tx: Tx, order: Row, checkouts: Sequence[Row]) -> dict[str, Any]:
    """The money columns of an order as its rows say now."""
    mine = [row for row in checkouts if row["currency"] == order["currency"]]
    sums = {key: sum(row[key] for row in mine) for key in ("authorized", "captured", "charged_back")}
    refunds = refunds_by_age(tx.connection, order["id"])
    returned = sum(row["amount"] for row in refunds if row["state"] == RefundState.SUCCEEDED)
    facts = MoneyFacts(
        paid=any(row["state"] == CheckoutState.PAID for row in checkouts),
        processing=any(row["state"] == CheckoutState.PROCESSING for row in checkouts),
        agrees=all(row["agrees"] for row in checkouts),
        refunded=returned,
        owed=sum(row["amount"] for row in refunds if row["state"] in (RefundState.PENDING, RefundState.OWED)),
        refund_failed=_stuck(refunds, sums["captured"] - sums["charged_back"] - returned),
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


def _hold(order: Row, facts: MoneyFacts) -> str | None:
    """Why nothing more of an order may be started."""
    if (facts.disputed or facts.charged_back) and order["released_at"] is None:
        return "dispute"
    return "capture" if facts.authorized and not facts.captured else None


def _stuck(refunds: Sequence[Row], left: int) -> bool:
    """Whether the last word about the money of an order is a refund that failed."""
    last = refunds[-1] if refunds else None
    return last is not None and last["state"] == RefundState.FAILED and left > 0


def _place_to_pay(order: Row, checkouts: Sequence[Row]) -> str | None:
    if order["paid_at"] is not None or order["cancelled_at"] is not None:
        return None
    return next((row["url"] for row in reversed(checkouts) if row["state"] == CheckoutState.OPEN), None)
