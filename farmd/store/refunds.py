"""Refund rows: what is owed, what was given back, and for how many units of which line."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from farmd.domain.till import RefundState
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import Row, change, get

_BY_AGE = select(t.refunds).where(t.refunds.c.order_id == bindparam("order")).order_by(t.refunds.c.created_at, t.refunds.c.id)


def refund_row(connection: Connection, refund_id: str) -> Row:
    """One refund. Raises `Missing`."""
    return get(connection, t.refunds, refund_id)


def refunds_by_age(connection: Connection, order_id: str) -> Sequence[Row]:
    """Every refund of an order, oldest first."""
    return connection.execute(_BY_AGE, {"order": order_id}).mappings().all()


def owed(connection: Connection, order_id: str) -> Row | None:
    """The refund that a person is still to hand over."""
    mine = (t.refunds.c.order_id == order_id) & (t.refunds.c.state == RefundState.OWED)
    return connection.execute(select(t.refunds).where(mine)).mappings().first()


def under_way(connection: Connection, order_id: str) -> int:
    """Minor units that are on their way back and have not arrived."""
    pending = (t.refunds.c.order_id == order_id) & (t.refunds.c.state == RefundState.PENDING)
    return int(connection.execute(select(func.coalesce(func.sum(t.refunds.c.amount), 0)).where(pending)).scalar_one())


def units_refunded(connection: Connection, line_item_id: str) -> int:
    """How many units of a line were refunded as units."""
    kept = (t.refunds.c.line_item_id == line_item_id) & (t.refunds.c.state != "FAILED")
    return int(connection.execute(select(func.coalesce(func.sum(t.refunds.c.quantity), 0)).where(kept)).scalar_one())


def lines_of(connection: Connection, order_id: str) -> Sequence[Row]:
    """The lines of an order in the order they were written."""
    mine = select(t.line_items).where(t.line_items.c.order_id == order_id).order_by(t.line_items.c.position)
    return connection.execute(mine).mappings().all()


def lower(tx: Tx, refund: Row, amount: int) -> None:
    """Less is owed now: a part of it was given back."""
    change(tx, t.refunds, refund, amount=amount)


def move_refund(tx: Tx, refund: Row, state: RefundState, **known: Any) -> Row:
    """What became of a refund, and what else is known of it."""
    settled = {"settled_at": tx.world.now()} if state in (RefundState.SUCCEEDED, RefundState.FAILED) else {"settled_at": None}
    return change(tx, t.refunds, refund, state=state.value, **settled, **known)
