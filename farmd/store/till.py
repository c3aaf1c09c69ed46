"""Checkouts, requests to the payment provider and its messages, as rows: what is open, what is due, what was answered.

`payments` decides what any of it means; this module only writes it, in the caller's transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, select, union, update
from sqlalchemy.dialects import postgresql, sqlite

from farmd.domain.lifecycle import JOB_BEFORE_QUEUE, JobState
from farmd.domain.till import CheckoutState, RefundState, Want
from farmd.store import tables as t
from farmd.store.columns import UtcDateTime
from farmd.store.engine import Tx
from farmd.store.rows import Row, add, change, find, get

WAITING_FOR_MONEY = (CheckoutState.WANTED, CheckoutState.OPEN, CheckoutState.PROCESSING)
LONGEST_WAIT = 900.0
DOUBTED = "money-doubted"
"""The fact in `meta` when the rows about money were last found to be those of a backup."""
LOST_SINCE = "money-lost-since"
"""And that checkouts opened after this moment may be at the provider of which no row speaks; gone once they were looked for."""
TOPIC, INBOX = "till", "inbox"
"""Ring when there is something to ask the provider, and when it told something."""
_calls, _checkouts, _inbox = t.payment_calls.c, t.checkouts.c, t.inbox.c
_CHECKOUTS_OF = select(t.checkouts).where(_checkouts.order_id == bindparam("order")).order_by(_checkouts.number)
_WANTED_OF = (
    select(t.payment_calls).where(_calls.order_id == bindparam("order"), _calls.state == "WANTED").order_by(_calls.created_at)
)

_REFUSED = select(func.count()).where(_calls.purpose == bindparam("purpose"), _calls.state == "REFUSED")
_FREE_CALL = (_calls.state == "WANTED") & _calls.order_id.not_in(bindparam("busy", expanding=True))
_FREE_LOOK = _checkouts.order_id.not_in(bindparam("busy", expanding=True))
_NOW = bindparam("now", type_=UtcDateTime())
_DUE_CALLS = select(t.payment_calls).where(_FREE_CALL, _calls.next_at <= _NOW).order_by(_calls.next_at).limit(bindparam("limit"))
_DUE_LOOKS = (
    select(t.checkouts).where(_FREE_LOOK, _checkouts.look_at <= _NOW).order_by(_checkouts.look_at).limit(bindparam("limit"))
)
_NEXT_CALL, _NEXT_LOOK = select(func.min(_calls.next_at)).where(_FREE_CALL), select(func.min(_checkouts.look_at)).where(_FREE_LOOK)


# checkouts


def new_checkout(tx: Tx, order: Row, expires_at: datetime) -> Row:
    """A place to pay that is still to be opened."""
    number = select(func.coalesce(func.max(_checkouts.number), 0) + 1).where(_checkouts.order_id == order["id"])
    now = tx.world.now()
    return add(
        tx,
        t.checkouts,
        id=tx.world.new_id("co"),
        order_id=order["id"],
        number=number.scalar_subquery(),
        state=CheckoutState.WANTED.value,
        total=order["total"],
        currency=order["currency"],
        expires_at=expires_at,
        version=1,
        created_at=now,
        updated_at=now,
    )


def checkouts_of(connection: Connection, order_id: str) -> Sequence[Row]:
    """Every place where an order could or can be paid, oldest first."""
    return connection.execute(_CHECKOUTS_OF, {"order": order_id}).mappings().all()


def checkout_row(connection: Connection, checkout_id: str) -> Row:
    """One checkout. Raises `Missing`."""
    return get(connection, t.checkouts, checkout_id)


def change_checkout(tx: Tx, checkout: Row, **values: Any) -> Row:
    """Write what is new of a checkout, if anything is, and return it as it is then. Raises `Conflict`."""
    changes = {key: value for key, value in values.items() if checkout[key] != value}
    return change(tx, t.checkouts, checkout, **changes) if changes else checkout


def look_soon(tx: Tx, checkout_ids: Collection[str]) -> None:
    """Ask the provider about these checkouts at the next opportunity."""
    ids = list(checkout_ids)
    for first in range(0, len(ids), 500):
        some = update(t.checkouts).where(_checkouts.id.in_(ids[first : first + 500]))
        tx.connection.execute(some.values(look_at=tx.world.now(), version=_checkouts.version + 1))
    tx.wake(TOPIC)


def untouched(tx: Tx, checkout: Row) -> bool:
    """Whether nobody changed a checkout, or asked for another look at it, since it was read."""
    return bool(checkout_row(tx.connection, checkout["id"])["version"] == checkout["version"])


def plan_look(tx: Tx, checkout_id: str, again: datetime | None, failed: int = 0) -> None:
    """The next look is due at `again`; `failed` looks in a row were in vain."""
    mine = update(t.checkouts).where(_checkouts.id == checkout_id)
    tx.connection.execute(mine.values(look_at=again, looks_failed=failed))


def is_due(connection: Connection, order_id: str, now: datetime) -> bool:
    """Whether an order has a request or a look that is due and about to be made."""
    calls = select(_calls.id).where(_calls.order_id == order_id, _calls.state == "WANTED", _calls.next_at <= now)
    looks = select(_checkouts.id).where(_checkouts.order_id == order_id, _checkouts.look_at <= now)
    return connection.execute(calls).first() is not None or connection.execute(looks).first() is not None


def find_checkout(
    connection: Connection, *, session: str | None = None, intent: str | None = None, own: str | None = None
) -> Row | None:
    """The checkout behind any id that a message may name."""
    for column, value in ((_checkouts.session_id, session), (_checkouts.id, own), (_checkouts.intent_id, intent)):
        if value is not None:
            row = connection.execute(select(t.checkouts).where(column == value)).mappings().first()
            if row is not None:
                return row
    return None


def unpaid_since(connection: Connection, before: datetime, *, with_checkout: bool) -> Sequence[str]:
    """Orders placed before a moment that nobody paid and nobody can pay any more; of those that had a checkout, or of all."""
    waiting = select(_checkouts.order_id).where(_checkouts.state.in_([state.value for state in WAITING_FOR_MONEY]))
    unpaid = (t.orders.c.status == "pending_payment") & (t.orders.c.captured == 0) & (t.orders.c.created_at < before)
    query = select(t.orders.c.id).where(unpaid, t.orders.c.id.not_in(waiting)).order_by(t.orders.c.created_at)
    if with_checkout:
        query = query.where(t.orders.c.id.in_(select(_checkouts.order_id)))
    return connection.execute(query.limit(500)).scalars().all()


def can_be_paid(connection: Connection, order_id: str) -> bool:
    """Whether somebody may be paying an order at this moment."""
    return any(row["state"] in WAITING_FOR_MONEY for row in checkouts_of(connection, order_id))


def unfinished(connection: Connection) -> int:
    """How many orders have something under way at a provider."""
    open_ones = select(_checkouts.order_id).where(_checkouts.state.in_((*WAITING_FOR_MONEY, CheckoutState.AUTHORIZED)))
    asked = select(_calls.order_id).where(_calls.state == "WANTED")
    return int(connection.execute(select(func.count()).select_from(union(open_ones, asked).subquery())).scalar_one())


def waiting_for_capture(connection: Connection) -> Sequence[str]:
    """Orders whose money is promised and not collected."""
    return connection.execute(select(t.orders.c.id).where(t.orders.c.hold == "capture")).scalars().all()


def ready_for_capture(connection: Connection) -> Sequence[str]:
    """Those of them of which every job is sliced."""
    unsliced = select(t.jobs.c.order_id).where(t.jobs.c.state.in_((*JOB_BEFORE_QUEUE, JobState.FAILED)))
    query = select(t.orders.c.id).where(t.orders.c.hold == "capture", t.orders.c.id.not_in(unsliced))
    return connection.execute(query).scalars().all()


# requests


def add_call(
    tx: Tx, kind: Want, checkout: Row, body: Mapping[str, Any], refund_id: str | None = None, *, wait: float = 0.0
) -> Row | None:
    """Want something of the provider, in `wait` seconds, and later the more often the same was refused before. None, and nothing
    written, when it is wanted already."""
    purpose = f"{kind.value}:{refund_id or checkout['id']}"
    refusals = refused_before(tx.connection, purpose)
    wait = max(wait, min(2.0**refusals, LONGEST_WAIT)) if refusals else wait
    call_id, now = tx.world.new_id("call"), tx.world.now()
    values = {
        "id": call_id,
        "kind": kind.value,
        "purpose": purpose,
        "order_id": checkout["order_id"],
        "checkout_id": checkout["id"],
        "refund_id": refund_id,
        "body": dict(body),
        "state": "WANTED",
        "tries": 0,
        "next_at": now + timedelta(seconds=wait),
        "version": 1,
        "created_at": now,
    }
    new = _dialect(tx).insert(t.payment_calls).values(values).on_conflict_do_nothing().returning(t.payment_calls)
    call: Row | None = tx.connection.execute(new).mappings().first()
    if call is not None:
        tx.wake(TOPIC)
    return call


def _dialect(tx: Tx) -> Any:
    """Where `insert` knows what to do about a row that is there already."""
    return postgresql if tx.connection.dialect.name == "postgresql" else sqlite


def refused_before(connection: Connection, purpose: str) -> int:
    """How often the provider refused a request for this purpose."""
    return int(connection.execute(_REFUSED, {"purpose": purpose}).scalar_one())


def tries_of(connection: Connection, call: Row) -> int:
    """How often a wanted request was tried in vain, its refused predecessors counted."""
    return int(call["tries"]) + refused_before(connection, call["purpose"])


def last_error(connection: Connection, call: Row) -> str:
    """Why a request did not get through the last time."""
    mine = (_calls.purpose == call["purpose"]) & _calls.error.is_not(None)
    latest = select(_calls.error).where(mine).order_by(_calls.created_at.desc(), _calls.id.desc())
    return call["error"] or connection.execute(latest.limit(1)).scalar() or "no reason given"


def wanted_calls(connection: Connection, order_id: str) -> Sequence[Row]:
    """What is still to be asked for an order."""
    return connection.execute(_WANTED_OF, {"order": order_id}).mappings().all()


def call_row(connection: Connection, call_id: str) -> Row:
    """One request. Raises `Missing`."""
    return get(connection, t.payment_calls, call_id)


def call_with_checkout(connection: Connection, call_id: str) -> tuple[Row, Row]:
    """A request and the checkout it is about. Raises `Missing`."""
    call = call_row(connection, call_id)
    return call, checkout_row(connection, call["checkout_id"])


def call_leaves(tx: Tx, call: Row) -> Row:
    """Commit this before the request goes out: from here on it may have been done. Raises `Conflict` when it was dropped."""
    return change(tx, t.payment_calls, call, sent_at=call["sent_at"] or tx.world.now(), tries=call["tries"] + 1)


def call_waits(tx: Tx, call: Row, seconds: float, error: str) -> None:
    """Ask again later."""
    change(tx, t.payment_calls, call, next_at=tx.world.now() + timedelta(seconds=seconds), error=error)


def hurry(tx: Tx, checkout_id: str) -> None:
    """What kept requests about a checkout waiting is over."""
    waiting = (_calls.checkout_id == checkout_id) & (_calls.state == "WANTED")
    tx.connection.execute(update(t.payment_calls).where(waiting).values(next_at=tx.world.now()))
    tx.wake(TOPIC)


def close_call(tx: Tx, call: Row, state: str, error: str | None = None) -> None:
    """DONE, REFUSED, or DROPPED: not wanted any more, or not to be had at this time, which counts against nobody."""
    change(tx, t.payment_calls, call, state=state, error=error, done_at=tx.world.now())


def doubt_requests(tx: Tx, since: datetime) -> None:
    """The rows are those of an earlier moment: whatever was wanted then may have been done since, and its key may be forgotten, so
    that each is looked for before it is asked for; and every checkout that could have changed since is looked at."""
    now = tx.world.now()
    wanted = update(t.payment_calls).where(_calls.state == "WANTED")
    tx.connection.execute(wanted.values(tries=0, next_at=now, sent_at=func.coalesce(_calls.sent_at, since, type_=UtcDateTime())))
    live = (CheckoutState.OPEN, CheckoutState.PROCESSING, CheckoutState.AUTHORIZED, CheckoutState.PAID)
    told = select(_checkouts.id).where(_checkouts.state.in_([state.value for state in live]), _checkouts.session_id.is_not(None))
    look_soon(tx, tx.connection.execute(told).scalars().all())
    note(tx, DOUBTED, now.isoformat())
    note(tx, LOST_SINCE, since.isoformat())


def unlooked(connection: Connection, order_id: str) -> bool:
    """Whether a backup was restored and the provider has not been asked since how this order's money stands."""
    doubted = noted(connection, DOUBTED)
    if doubted is None:
        return False
    return connection.execute(_in_doubt(doubted).where(_checkouts.order_id == order_id)).first() is not None


def all_looked(connection: Connection) -> bool:
    """Whether a backup was restored and the provider has been asked since about every order that could have changed."""
    doubted = noted(connection, DOUBTED)
    return doubted is not None and connection.execute(_in_doubt(doubted).limit(1)).first() is None


def _in_doubt(doubted: str) -> Select[Any]:
    """Checkouts that were not looked at since, or in vain."""
    then = datetime.fromisoformat(doubted)
    waits = _checkouts.look_at.is_not(None) & ((_checkouts.look_at <= then) | (_checkouts.looks_failed > 0))
    return select(_checkouts.id).where(waits)


def end_doubt(tx: Tx) -> None:
    """From here on a look that fails is one of every day."""
    tx.connection.execute(delete(t.meta).where(t.meta.c.key == DOUBTED))


def due(connection: Connection, now: datetime, busy: Collection[str], limit: int) -> dict[str, tuple[list[Row], list[Row]]]:
    """What is due by order: requests and checkouts to look at. Orders in `busy` are left out."""
    found: dict[str, tuple[list[Row], list[Row]]] = {}
    for place, query in enumerate((_DUE_CALLS, _DUE_LOOKS)):
        for row in connection.execute(query, {"now": now, "busy": list(busy), "limit": limit}).mappings():
            found.setdefault(row["order_id"], ([], []))[place].append(row)
    return found


def work_for(
    connection: Connection, now: datetime, busy: Collection[str], hands: int
) -> tuple[dict[str, tuple[list[Row], list[Row]]], datetime | None]:
    """What is due (see `due`) of as many orders as there are hands, and when anything else is if a hand is left."""
    found = dict(list(due(connection, now, busy, 2 * hands).items())[:hands])
    return found, None if len(found) == hands else next_due(connection, (*busy, *found))


def next_due(connection: Connection, busy: Collection[str]) -> datetime | None:
    """When the next request or look of any order that is not in `busy` is due."""
    moments = [connection.execute(query, {"busy": list(busy)}).scalar_one() for query in (_NEXT_CALL, _NEXT_LOOK)]
    return min((moment for moment in moments if moment is not None), default=None)


def open_sessions(connection: Connection) -> dict[str, Row]:
    """The checkouts somebody may be paying at now, by session."""
    query = select(t.checkouts).where(_checkouts.state == CheckoutState.OPEN)
    return {row["session_id"]: row for row in connection.execute(query).mappings()}


def unsettled(connection: Connection) -> Sequence[str]:
    """Orders of which something is wanted that no request stands for; only a hand in the store or an old backup leaves any."""
    wanted = select(_calls.order_id).where(_calls.state == "WANTED")
    unopened = select(_checkouts.order_id).where(_checkouts.state == CheckoutState.WANTED)
    unsent = select(t.refunds.c.order_id).where(
        t.refunds.c.state == RefundState.PENDING, t.refunds.c.provider_id.is_(None), t.refunds.c.checkout_id.is_not(None)
    )
    undone = (
        select(_checkouts.order_id)
        .join(t.orders, t.orders.c.id == _checkouts.order_id)
        .where(t.orders.c.cancelled_at.is_not(None), _checkouts.state.in_((CheckoutState.OPEN, CheckoutState.AUTHORIZED)))
    )
    query = union(unopened, unsent, undone).subquery()
    return connection.execute(select(query.c.order_id).where(query.c.order_id.not_in(wanted))).scalars().all()


def paid_without_jobs(connection: Connection) -> Sequence[str]:
    """Orders that are paid and of which nothing is made; there should be none."""
    have = select(t.jobs.c.order_id)
    query = select(t.orders.c.id).where(t.orders.c.status == "paid", t.orders.c.id.not_in(have))
    return connection.execute(query).scalars().all()


# messages


def keep_message(tx: Tx, event_id: str, kind: str, hint: Mapping[str, Any], told_at: datetime) -> bool:
    """Put a message into the inbox; False when it is there already."""
    values = {"id": event_id, "type": kind, "state": "NEW", "hint": dict(hint), "told_at": told_at, "received_at": tx.world.now()}
    fresh = tx.connection.execute(_dialect(tx).insert(t.inbox).values(values).on_conflict_do_nothing()).rowcount == 1
    if fresh:
        tx.wake(INBOX)
    return fresh


def new_messages(connection: Connection, limit: int = 500) -> Sequence[Row]:
    """Messages nobody has dealt with, oldest first."""
    query = select(t.inbox).where(_inbox.state == "NEW").order_by(_inbox.received_at, _inbox.id).limit(limit)
    return connection.execute(query).mappings().all()


def settle_messages(tx: Tx, ids: Collection[str], state: str, why: str | None = None) -> None:
    """DONE, or IGNORED with the reason."""
    tx.connection.execute(update(t.inbox).where(_inbox.id.in_(ids)).values(state=state, why=why))


# what the sweep remembers


def noted(connection: Connection, key: str) -> str | None:
    """A fact about this store."""
    row = find(connection, t.meta, key)
    return row["value"] if row else None


def note(tx: Tx, key: str, value: str) -> None:
    """Remember a fact about this store."""
    row = find(tx.connection, t.meta, key)
    if row is None:
        add(tx, t.meta, key=key, value=value)
    elif row["value"] != value:
        change(tx, t.meta, row, value=value)
