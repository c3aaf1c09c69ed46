"""Shipping an order: a carrier took it, and here is the number to follow it by."""

from farmd.domain.lifecycle import OrderStatus
from farmd.domain.refusals import NotNow
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import record_shipment


def ship(tx: Tx, order_id: str, carrier: str | None, tracking_number: str) -> None:
    """Record the shipment. Raises `Missing`, and `NotNow` unless every part of the order is ready."""
    order = order_row(tx.connection, order_id)
    if order["shipped_at"] is not None:
        raise NotNow("already_shipped", f"order {order_id} was shipped already with {order['tracking_number']}")
    if OrderStatus(order["status"]) is not OrderStatus.READY:
        raise NotNow("not_ready", f"order {order_id} is {order['status']}; only a ready order can be shipped")
    if order["hold"]:
        cure = f"wait for the outcome, or POST /api/orders/{order_id}/release"
        raise NotNow("on_hold", f"order {order_id} is on hold ({order['hold']}): {cure}")
    record_shipment(tx, order, carrier, tracking_number)
