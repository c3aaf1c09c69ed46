"""The first start of a store that came out of a backup: what it says of machines and money is the state of an earlier moment, and
is taken for a doubt before anything acts on it.

One transaction, before any supervisor, dispatcher or till runs. It settles nothing itself: the machines' histories, the payment
provider and people do. Why each step is there: docs/adr/0009-a-restored-farm-asks-before-it-acts.md.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from sqlalchemy import Connection, delete, select, update

from farmd.domain.lifecycle import ATTEMPT_BEFORE_START, ATTEMPT_LIVE, AttemptState
from farmd.store import feed, printing, till
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.outbox import emit
from farmd.store.rows import Row, add, find
from farmd.store.snapshot import RESTORED
from farmd.store.transitions import raise_attention
from farmd.store.views import iso

LEAP, LEAP_EACH_SECOND = 1_000_000, 100
"""Sequence numbers that are left out: so many, and so many more for every second since the backup. The farm that was lost cannot
have used them all; a thousand printers make a few events a second."""


@dataclass(frozen=True, slots=True)
class Restored:
    """When the backup was made, and when it was put back."""

    made_at: datetime
    restored_at: datetime


def pending(connection: Connection) -> Restored | None:
    """The mark that `restore` left, as long as nobody has drawn the consequences."""
    fact = find(connection, t.meta, RESTORED)
    if fact is None:
        return None
    told = orjson.loads(fact["value"])
    return Restored(datetime.fromisoformat(told["madeAt"]), datetime.fromisoformat(told["restoredAt"]))


def distrust(tx: Tx) -> Restored | None:
    """Draw the consequences once; None when the store was not restored since."""
    mark = pending(tx.connection)
    if mark is None:
        return None
    lost_time = max(tx.world.now() - mark.made_at, timedelta(0))
    leap = LEAP + LEAP_EACH_SECOND * int(lost_time.total_seconds())
    told = {"madeAt": iso(mark.made_at), "restoredAt": iso(mark.restored_at)}
    emit(tx, "farm.restored", sequence=feed.head(tx.connection) + leap, **told)
    _doubt_machines(tx, f"restored from the backup of {mark.made_at:%Y-%m-%d %H:%M} UTC, and nobody knows what was printed since")
    till.doubt_requests(tx, mark.made_at)
    tx.connection.execute(delete(t.meta).where(t.meta.c.key == RESTORED))
    return mark


def _doubt_machines(tx: Tx, words: str) -> None:
    for attempt in tx.connection.execute(select(t.attempts).where(t.attempts.c.state.in_(ATTEMPT_LIVE))).mappings().all():
        _doubt_attempt(tx, attempt, words)
    for printer in tx.connection.execute(select(t.printers)).mappings().all():
        printing.set_bed(tx, printer["id"], printing.Bed.UNKNOWN, words)
        if not printing.unseen(tx.connection, printer["id"]):
            add(tx, t.meta, key=f"{printing.UNSEEN}{printer['id']}", value=words)


def _doubt_attempt(tx: Tx, attempt: Row, words: str) -> None:
    """What had not been started then may have been since. What was on a machine is looked for there as after any absence; only an
    answer to what the machine asked then may meet another question by now."""
    if AttemptState(attempt["state"]) in ATTEMPT_BEFORE_START:
        printing.lost(tx, attempt, words)
    elif attempt["answer"] is not None or attempt["wish"]:
        tx.connection.execute(update(t.attempts).where(t.attempts.c.id == attempt["id"]).values(answer=None, wish=""))


# money of orders that are gone


def lost_since(connection: Connection) -> datetime | None:
    """From when on there may be checkouts at the provider that no row speaks of; None when all of them were looked for."""
    noted = till.noted(connection, till.LOST_SINCE)
    return datetime.fromisoformat(noted) if noted else None


def looked_for_strangers(tx: Tx) -> None:
    """Every checkout of the lost time was looked for."""
    tx.connection.execute(delete(t.meta).where(t.meta.c.key == till.LOST_SINCE))


def payment_unknown(tx: Tx, session_id: str, order_id: str | None, amount: int, currency: str) -> bool:
    """Tell, once, that a checkout was paid which no row speaks of; False when that was told before."""
    once = f"payment-unknown:{session_id}"
    if tx.connection.execute(select(t.events.c.sequence).where(t.events.c.once == once)).first() is not None:
        return False
    emit(tx, "farm.payment_unknown", order_id=order_id, once=once, sessionId=session_id, amount=amount, currency=currency)
    if order_id is not None and find(tx.connection, t.orders, order_id) is not None:
        detail = (
            f"checkout {session_id} of this order was opened and paid after the backup that was restored; nothing here counts it. "
            "Look at it at Stripe and give it back there, or cancel this order and place it again as paid"
        )
        raise_attention(tx, order_id, "payment_unknown", detail)
    return True
