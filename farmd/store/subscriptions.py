"""Webhooks as rows: who wants to be told what, where, and under which secret.

Nothing here resolves a name or opens a connection; addresses are checked before a URL gets this far. A secret leaves this
module only as a return value of the call that made it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Update, delete, func, select, update

from farmd.domain.events import matches
from farmd.domain.refusals import NotNow
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.outbox import message_id, queue_delivery, render
from farmd.store.rows import Missing, Row, add, change, get
from farmd.store.views import iso

MOST_WEBHOOKS = 100
"""Every event writes one delivery per listener in its own transaction; this bounds what an event can cost."""
REPLAY_PAGE = 2000
"""Events looked at by one replay: the writer must never be held for long."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A subscription as asked for; the URL and the headers have passed their checks."""

    url: str
    events: Sequence[str]
    description: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def webhook(connection: Connection, webhook_id: str) -> Row:
    """One subscription. Raises `Missing`."""
    return get(connection, t.webhooks, webhook_id)


def webhooks(connection: Connection) -> list[Row]:
    """Every subscription, oldest first."""
    return list(connection.execute(select(t.webhooks).order_by(t.webhooks.c.created_at, t.webhooks.c.id)).mappings())


def subscribe(tx: Tx, new: NewWebhook, secret: str) -> tuple[Row, bool]:
    """The webhook and whether it is new. The same URL with the same events is the same webhook: subscribing again switches it on
    and keeps its secret. Raises `NotNow` when there are too many."""
    for row in webhooks(tx.connection):
        if row["url"] == new.url and set(row["events"]) == set(new.events):
            return _again(tx, row, new), False
    if tx.connection.execute(select(func.count()).select_from(t.webhooks)).scalar_one() >= MOST_WEBHOOKS:
        raise NotNow("too_many_webhooks", f"there are {MOST_WEBHOOKS} webhooks already; delete one that is no longer used")
    webhook_id = tx.world.new_id("wh")
    add(
        tx,
        t.webhooks,
        id=webhook_id,
        url=new.url,
        events=list(new.events),
        secret=secret,
        description=new.description,
        headers=dict(new.headers),
        active=True,
        disabled_reason=None,
        created_at=tx.world.now(),
    )
    return webhook(tx.connection, webhook_id), True


def _again(tx: Tx, row: Row, new: NewWebhook) -> Row:
    changes: dict[str, Any] = {}
    if new.description is not None:
        changes["description"] = new.description
    if new.headers:
        changes["headers"] = dict(new.headers)
    if not row["active"]:
        changes["active"] = True
    return alter(tx, row, changes) if changes else row


def alter(tx: Tx, row: Row, changes: Mapping[str, Any]) -> Row:
    """Change a webhook. Switched on again, or given another URL, it goes on at once with what waits for it."""
    values = dict(changes)
    if values.get("active"):
        values["disabled_reason"] = None
    altered = change(tx, t.webhooks, row, **values)
    if values.get("active") or "url" in values:
        tx.connection.execute(
            update(t.deliveries)
            .where(t.deliveries.c.webhook_id == row["id"], t.deliveries.c.state == "PENDING")
            .values(next_at=tx.world.now(), tries=0)
        )
    tx.wake("deliveries")
    return altered


def unsubscribe(tx: Tx, webhook_id: str) -> None:
    """Forget a webhook and its deliveries; a webhook that is not there is forgotten already."""
    tx.connection.execute(delete(t.deliveries).where(t.deliveries.c.webhook_id == webhook_id))
    tx.connection.execute(delete(t.webhooks).where(t.webhooks.c.id == webhook_id))


def replay(tx: Tx, row: Row, after: int, page: int = REPLAY_PAGE) -> tuple[int, int | None]:
    """Queue again every event after sequence `after` that this webhook listens to, under the message ids it had. Returns how many,
    and the sequence to go on after when there were more events than one transaction may take."""
    listed = select(t.events.c.sequence, t.events.c.type).where(t.events.c.sequence > after)
    seen = tx.connection.execute(listed.order_by(t.events.c.sequence).limit(page + 1)).all()
    more = len(seen) > page
    wanted = [sequence for sequence, event in seen[:page] if any(matches(pattern, event) for pattern in row["events"])]
    for start in range(0, len(wanted), _CHUNK):
        _queue_again(tx, row, wanted[start : start + _CHUNK])
    tx.wake("deliveries")
    return len(wanted), seen[page - 1].sequence if more else None


def _queue_again(tx: Tx, row: Row, wanted: Sequence[int]) -> None:
    again = _due_now(t.deliveries.c.webhook_id == row["id"], t.deliveries.c.sequence.in_(wanted), now=tx.world.now())
    queued = set(tx.connection.execute(again.returning(t.deliveries.c.sequence)).scalars())
    never = select(t.events).where(t.events.c.sequence.in_([sequence for sequence in wanted if sequence not in queued]))
    for event in tx.connection.execute(never.order_by(t.events.c.sequence)).mappings().all():
        queue_delivery(
            tx,
            row,
            event["type"],
            render(event["type"], event["sequence"], iso(event["at"]), event["data"]),
            message_id=message_id(event["sequence"], row["id"]),
            sequence=event["sequence"],
            order_id=event["order_id"],
        )


def retry(tx: Tx, webhook_id: str, number: int) -> Row:
    """Send one delivery again, from the first try. Raises `Missing`."""
    row = delivery(tx.connection, webhook_id, number)
    tx.connection.execute(_due_now(t.deliveries.c.id == row["id"], now=tx.world.now()))
    tx.wake("deliveries")
    return delivery(tx.connection, webhook_id, number)


def _due_now(*where: ColumnElement[bool], now: datetime) -> Update:
    fresh = {"state": "PENDING", "tries": 0, "next_at": now, "delivered_at": None}
    return update(t.deliveries).where(*where).values(**fresh)


def test_message(tx: Tx, row: Row) -> Row:
    """Queue a `farmd.test` message to this webhook alone. Raises `NotNow` when it is switched off."""
    if not row["active"]:
        raise NotNow("webhook_off", "this webhook is switched off; switch it on first: PATCH it with active = true")
    text = render("farmd.test", None, iso(tx.world.now()), {"webhookId": row["id"]})
    number = queue_delivery(tx, row, "farmd.test", text, message_id=tx.world.new_id("msg"))
    return delivery(tx.connection, row["id"], number)


def delivery(connection: Connection, webhook_id: str, number: int) -> Row:
    """One delivery of this webhook. Raises `Missing`."""
    mine = select(t.deliveries).where(t.deliveries.c.id == number, t.deliveries.c.webhook_id == webhook_id)
    row = connection.execute(mine).mappings().first()
    if row is None:
        raise Missing("delivery", str(number))
    return row


def deliveries(connection: Connection, webhook_id: str, *, before: int | None, state: str | None, limit: int) -> list[Row]:
    """A page of a webhook's deliveries, newest first, with numbers below `before`."""
    statement = select(t.deliveries).where(t.deliveries.c.webhook_id == webhook_id)
    if before is not None:
        statement = statement.where(t.deliveries.c.id < before)
    if state is not None:
        statement = statement.where(t.deliveries.c.state == state)
    return list(connection.execute(statement.order_by(t.deliveries.c.id.desc()).limit(limit)).mappings())
