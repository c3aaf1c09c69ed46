"""The feed as it is read: events in the order they were committed, each already in the words a webhook would carry.

Reading never changes anything; events are written by `outbox.emit` alone.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from farmd.store import tables as t
from farmd.store.outbox import render
from farmd.store.views import iso


@dataclass(frozen=True, slots=True)
class Told:
    """One event of the feed. `body` is the JSON text, the same that webhooks sign."""

    sequence: int
    type: str
    order_id: str | None
    customer_id: str | None
    body: str


def events_after(connection: Connection, after: int, limit: int, customer_id: str | None = None) -> list[Told]:
    """At most `limit` events with a higher sequence, oldest first; with a customer, only those of its own orders."""
    statement = (
        select(t.events, t.orders.c.customer_id)
        .outerjoin(t.orders, t.orders.c.id == t.events.c.order_id)
        .where(t.events.c.sequence > after)
        .order_by(t.events.c.sequence)
        .limit(limit)
    )
    if customer_id is not None:
        statement = statement.where(t.orders.c.customer_id == customer_id)
    return [
        Told(
            sequence=row["sequence"],
            type=row["type"],
            order_id=row["order_id"],
            customer_id=row["customer_id"],
            body=render(row["type"], row["sequence"], iso(row["at"]), row["data"]),
        )
        for row in connection.execute(statement).mappings()
    ]


def head(connection: Connection) -> int:
    """The highest sequence told so far; 0 before the first event."""
    return int(connection.execute(select(func.coalesce(func.max(t.events.c.sequence), 0))).scalar_one())
