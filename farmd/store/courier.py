"""Deliveries as the courier sees them: what may go out now, and what came of it.

In order per webhook and order: a delivery whose order has an earlier one still pending at the same webhook is not offered. The
rows are the whole truth; a courier that starts anew goes on where the last one stopped.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, select, update

from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import Row, find

_d = t.deliveries.c


@dataclass(frozen=True, slots=True)
class Mail:
    """What one webhook's lane sees when it looks: the webhook if it is switched on, what is due, and when more becomes due."""

    webhook: Row | None
    due: tuple[Row, ...]
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of one try. `state` is DELIVERED, PENDING (again at `next_at`) or DEAD; `gone` switches the webhook off."""

    state: str
    tries: int
    next_at: datetime
    status: int | None
    detail: str | None
    took_ms: int
    gone: str | None = None


def with_mail(connection: Connection) -> list[str]:
    """The switched-on webhooks for which something is pending, due or not."""
    pending = exists().where(_d.webhook_id == t.webhooks.c.id, _d.state == "PENDING")
    return list(connection.execute(select(t.webhooks.c.id).where(t.webhooks.c.active, pending)).scalars())


def look(connection: Connection, webhook_id: str, now: datetime, room: int, under_way: frozenset[int]) -> Mail:
    """At most `room` deliveries that may go out now, none of those under way."""
    webhook = find(connection, t.webhooks, webhook_id)
    if webhook is None or not webhook["active"]:
        return Mail(None, (), None)
    earlier = t.deliveries.alias("earlier")
    blocked = exists().where(
        earlier.c.webhook_id == webhook_id,
        earlier.c.state == "PENDING",
        earlier.c.order_id == _d.order_id,
        earlier.c.sequence < _d.sequence,
    )
    heads = select(t.deliveries).where(_d.webhook_id == webhook_id, _d.state == "PENDING", _d.id.not_in(under_way), ~blocked)
    rows = connection.execute(heads.order_by(_d.next_at, _d.id).limit(room + 1)).mappings().all()
    due = [row for row in rows if row["next_at"] <= now]
    later = rows[len(due)]["next_at"] if len(due) < len(rows) else None
    return Mail(webhook, tuple(due[:room]), later)


def settle(tx: Tx, delivery: Row, settled: Settled) -> None:
    """Record a try. A delivery that was deleted meanwhile, or queued afresh by a replay, keeps what was decided: who asks for the
    past again shall have it, also when the first delivery was just arriving."""
    done = settled.state == "DELIVERED"
    same = (_d.id == delivery["id"], _d.state == "PENDING", _d.tries == delivery["tries"], _d.next_at == delivery["next_at"])
    statement = update(t.deliveries).where(*same)
    tx.connection.execute(
        statement.values(
            state=settled.state,
            tries=settled.tries,
            next_at=settled.next_at,
            status=settled.status,
            detail=settled.detail,
            took_ms=settled.took_ms,
            delivered_at=tx.world.now() if done else None,
        )
    )
    if settled.gone is not None:
        off = update(t.webhooks).where(t.webhooks.c.id == delivery["webhook_id"])
        tx.connection.execute(off.values(active=False, disabled_reason=settled.gone))
