"""Orders in pages. A page number reaches any place at once; a cursor walks on from the last order seen and neither repeats nor
skips one, however many arrive meanwhile.

Newest first. Ids are found through an index alone; whole rows are fetched for one page only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from farmd.domain.lifecycle import OrderStatus
from farmd.store import tables as t
from farmd.store.rows import Row, get
from farmd.store.views import iso, order_views

Place = tuple[datetime, str]
_o = t.orders.c


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders; an empty field means all."""

    statuses: tuple[OrderStatus, ...] = ()
    customer_id: str | None = None

    def clause(self) -> list[ColumnElement[bool]]:
        wanted: list[ColumnElement[bool]] = []
        if self.statuses:
            wanted.append(_o.status.in_([status.value for status in self.statuses]))
        if self.customer_id is not None:
            wanted.append(_o.customer_id == self.customer_id)
        return wanted


@dataclass(frozen=True, slots=True)
class Page:
    """Orders as `views.order_view` shows them, how many there are in all, and where the next page begins."""

    orders: list[dict[str, Any]]
    total: int
    following: Place | None


def order_row(connection: Connection, order_id: str) -> Row:
    """One order. Raises `Missing`."""
    return get(connection, t.orders, order_id)


def order_page(connection: Connection, only: Filter, *, limit: int, page: int = 1, after: Place | None = None) -> Page:
    """Page number `page`, or the orders that follow the place `after`."""
    wanted = only.clause()
    total = connection.execute(select(func.count()).select_from(t.orders).where(*wanted)).scalar_one()
    if after is not None:
        moment, order_id = after
        wanted.append(or_(_o.created_at < moment, and_(_o.created_at == moment, _o.id < order_id)))
    offset = 0 if after is not None else (page - 1) * limit
    places = _places(connection, wanted, total, offset, limit + 1) if after is None else _from(connection, wanted, limit + 1)
    here, more = places[:limit], len(places) > limit
    return Page(_views(connection, here), total, here[-1] if more else None)


def _from(connection: Connection, wanted: list[ColumnElement[bool]], count: int) -> list[Place]:
    newest_first = select(_o.created_at, _o.id).where(*wanted).order_by(_o.created_at.desc(), _o.id.desc()).limit(count)
    return [(moment, order_id) for moment, order_id in connection.execute(newest_first)]


def _places(connection: Connection, wanted: list[ColumnElement[bool]], total: int, offset: int, count: int) -> list[Place]:
    """The places at `offset`; one past the middle is reached from the far end."""
    count = min(count, total - offset)
    if count <= 0:
        return []
    from_end = total - offset - count
    chosen = select(_o.created_at, _o.id).where(*wanted)
    if offset <= from_end:
        chosen = chosen.order_by(_o.created_at.desc(), _o.id.desc()).offset(offset)
    else:
        chosen = chosen.order_by(_o.created_at, _o.id).offset(from_end)
    places = [(moment, order_id) for moment, order_id in connection.execute(chosen.limit(count))]
    return places if offset <= from_end else places[::-1]


def _views(connection: Connection, places: Sequence[Place]) -> list[dict[str, Any]]:
    ids = [order_id for _, order_id in places]
    rows = {row["id"]: row for row in connection.execute(select(t.orders).where(_o.id.in_(ids))).mappings()}
    return order_views(connection, [rows[order_id] for order_id in ids])


def timeline(connection: Connection, order_id: str, *, after: int, limit: int) -> list[dict[str, Any]]:
    """What happened to an order, oldest first, from the event after the sequence number `after`."""
    mine = (t.events.c.order_id == order_id) & (t.events.c.sequence > after)
    rows = connection.execute(select(t.events).where(mine).order_by(t.events.c.sequence).limit(limit)).mappings()
    return [{"type": row["type"], "timestamp": iso(row["at"]), "data": {"sequence": row["sequence"]} | row["data"]} for row in rows]
