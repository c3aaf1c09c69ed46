"""Events: written in the transaction that made them true, with one delivery row for every webhook that listens.

What is not committed here did not happen; what is committed here will be told, at least once.
"""

from typing import Any

import orjson
from sqlalchemy import insert, select

from farmd.domain.events import matches
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import Row
from farmd.store.views import iso


def emit(
    tx: Tx, event: str, *, order_id: str | None = None, once: str | None = None, sequence: int | None = None, **data: Any
) -> None:
    """Append an event. `once` names a fact that may be told a single time; a second emit of it is an error of the caller and
    fails the transaction. `sequence` leaves out the numbers up to its own."""
    at = tx.world.now()
    body = ({"orderId": order_id} if order_id else {}) | data
    known = {"type": event, "order_id": order_id, "once": once, "data": body, "at": at}
    numbered = known if sequence is None else known | {"sequence": sequence}
    sequence = tx.connection.execute(insert(t.events).values(numbered).returning(t.events.c.sequence)).scalar_one()
    listeners = [row for row in _listeners(tx) if any(matches(pattern, event) for pattern in row["events"])]
    if listeners:
        text = render(event, sequence, iso(at), body)
        for row in listeners:
            queue_delivery(tx, row, event, text, message_id=message_id(sequence, row["id"]), sequence=sequence, order_id=order_id)
    tx.wake("events")


def _listeners(tx: Tx) -> list[Row]:
    return list(tx.connection.execute(select(t.webhooks).where(t.webhooks.c.active)).mappings())


def message_id(sequence: int, webhook_id: str) -> str:
    """The id a receiver may deduplicate by: the same for every try of this event at this webhook."""
    return f"msg_{sequence}_{webhook_id.removeprefix('wh-')}"


def render(event: str, sequence: int | None, timestamp: str | None, data: dict[str, Any]) -> str:
    """The body as it is signed: compact, and with integers only, so that every JSON library writes it back the same."""
    return orjson.dumps({"type": event, "timestamp": timestamp, "data": {"sequence": sequence} | data}).decode()


def queue_delivery(
    tx: Tx,
    webhook: Row,
    event: str,
    body: str,
    *,
    message_id: str,
    sequence: int | None = None,
    order_id: str | None = None,
) -> int:
    """Put one message on its way; returns the delivery's id."""
    now = tx.world.now()
    tx.wake("deliveries")
    return int(
        tx.connection.execute(
            insert(t.deliveries)
            .values(
                webhook_id=webhook["id"],
                message_id=message_id,
                sequence=sequence,
                type=event,
                order_id=order_id,
                body=body,
                state="PENDING",
                tries=0,
                next_at=now,
                created_at=now,
            )
            .returning(t.deliveries.c.id)
        ).scalar_one()
    )
