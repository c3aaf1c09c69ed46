"""Letting an order go on although its payment is disputed: a person's decision, never the farm's."""

from farmd.domain.refusals import NotNow
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import fold_money


def release(tx: Tx, order_id: str) -> None:
    """What was held back may start. Again is no change. Raises `Missing`, and `NotNow` when nothing holds the order that a person
    could let go."""
    order = order_row(tx.connection, order_id)
    if order["released_at"] is None and order["hold"] not in ("dispute", "review"):
        raise NotNow("not_on_hold", f"order {order_id} is held by no dispute; there is nothing to release")
    fold_money(tx, order, released_at=order["released_at"] or tx.world.now(), hold=None)
    tx.wake("jobs")
