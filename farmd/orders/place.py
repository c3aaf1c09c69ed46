"""Placing an order: priced, written and announced in one transaction. Nothing is made before it is paid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from farmd.config import Settings
from farmd.orders.quote import Line, quote
from farmd.store.engine import Tx
from farmd.store.sales import NewOrder, insert_order


@dataclass(frozen=True, slots=True)
class Basket:
    """What a customer wants and where it goes; an empty address means it is collected."""

    customer_id: str
    lines: Sequence[Line]
    address: Mapping[str, Any]
    notes: str | None


def place(tx: Tx, settings: Settings, basket: Basket) -> str:
    """Write the order and `order.created`; returns its id. Raises `Unacceptable`."""
    order = NewOrder(
        customer_id=basket.customer_id,
        currency=settings.currency,
        quote=quote(tx, settings, basket.lines, basket.address),
        address=basket.address,
        notes=basket.notes,
        due_at=tx.world.now() + timedelta(days=settings.lead_days),
    )
    return insert_order(tx, order)
