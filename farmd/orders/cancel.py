"""Cancelling an order: from this commit on nothing more of it is made, and what was captured is owed back.

Only wishes are written here. The printers stop and the money returns in their own time, each without waiting for the other.
"""

from collections.abc import Callable

from farmd.domain.refusals import NotNow
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import record_cancellation

DEFAULT_REASON = "cancelled without a reason"


def cancel(tx: Tx, order_id: str, reason: str | None, give_back: Callable[[Tx, str], None]) -> None:
    """Take an order back; a second time changes nothing. `give_back(tx, order_id)` writes down what becomes of the money. Raises
    `Missing`, and `NotNow` when the order has left the house."""
    order = order_row(tx.connection, order_id)
    if order["cancelled_at"] is not None:
        return
    if order["shipped_at"] is not None:
        raise NotNow("already_shipped", f"order {order_id} was shipped already; refund it instead when it comes back")
    record_cancellation(tx, order, reason or DEFAULT_REASON, give_back)
