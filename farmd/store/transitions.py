"""The one writer of status. A move is one transaction: compare-and-set, history row, unit ledger, order refolded, events.

Nobody else assigns a state. Illegal moves raise `IllegalMove` and leave everything as it was.
"""

from typing import Any

from sqlalchemy import insert, select, update

from farmd.domain.events import ORDER_ATTENTION, ORDER_EVENTS
from farmd.domain.lifecycle import (
    FORWARD,
    AttemptSignal,
    AttemptState,
    IllegalMove,
    JobFact,
    JobSignal,
    JobState,
    OrderFacts,
    OrderStatus,
    move_attempt,
    move_job,
    order_status,
    path,
)
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.outbox import emit
from farmd.store.rows import Row, change, get
from farmd.store.views import order_views, units

_JOB_EVENTS = {
    JobState.QUEUED: "job.queued",
    JobState.PRINTING: "job.printing",
    JobState.POST_PROCESSING: "job.post_processing",
    JobState.READY: "job.ready",
    JobState.FAILED: "job.failed",
    JobState.CANCELLED: "job.cancelled",
}


def advance_job(tx: Tx, job: Row, signal: JobSignal, *, reason: str | None = None, **changes: Any) -> Row:
    """Move a job and everything that follows from it. Raises `IllegalMove`, `Conflict`."""
    before = JobState(job["state"])
    after = move_job(before, signal)
    if after is not JobState.FAILED:
        changes.setdefault("failure", None)
    changes.setdefault("waits_for", None)
    if job["waits_for"] is not None:
        clear_attention(tx, job["order_id"], job["waits_for"]["code"], jobId=job["id"])
    moved = change(tx, t.jobs, job, state=after.value, **changes)
    _remember(tx, "job", job["id"], job["id"], before.value, after.value, signal.value, reason)
    if after in _JOB_EVENTS:
        emit(
            tx,
            _JOB_EVENTS[after],
            order_id=job["order_id"],
            jobId=job["id"],
            state=after.value,
            units=units(moved),
            reason=reason,
        )
    refold(tx, get(tx.connection, t.orders, job["order_id"]))
    tx.wake("jobs")
    return moved


def advance_attempt(tx: Tx, attempt: Row, signal: AttemptSignal, *, reason: str | None = None, **changes: Any) -> Row:
    """Move an attempt row and its history alone; the ledger around it is `store.printing`'s. Raises `IllegalMove`, `Conflict`."""
    before = AttemptState(attempt["state"])
    after = move_attempt(before, signal)
    moved = change(tx, t.attempts, attempt, state=after.value, **({"reason": reason} if reason else {}), **changes)
    _remember(tx, "attempt", attempt["id"], attempt["job_id"], before.value, after.value, signal.value, reason)
    tx.wake("attempts")
    return moved


def _remember(tx: Tx, kind: str, entity: str, job_id: str, before: str, after: str, signal: str, reason: str | None) -> None:
    tx.connection.execute(
        insert(t.history).values(
            kind=kind,
            entity_id=entity,
            job_id=job_id,
            before=before,
            after=after,
            signal=signal,
            reason=reason,
            at=tx.world.now(),
        )
    )


def facts_of(tx: Tx, order: Row) -> OrderFacts:
    """What the order's status is made of, as the rows say now."""
    columns = (t.jobs.c.state, t.jobs.c.ordered, t.jobs.c.printed, t.jobs.c.good)
    rows = tx.connection.execute(select(*columns).where(t.jobs.c.order_id == order["id"]))
    status = OrderStatus(order["status"])
    return OrderFacts(
        paid=order["paid_at"] is not None,
        shipped=order["shipped_at"] is not None,
        cancelled=order["cancelled_at"] is not None,
        captured=order["captured"],
        refunded=order["refunded"],
        jobs=tuple(JobFact(JobState(state), ordered, printed, good) for state, ordered, printed, good in rows),
        high_water=status if status in FORWARD else _furthest_told(tx, order["id"]),
    )


def _furthest_told(tx: Tx, order_id: str) -> OrderStatus:
    """How far an order had come before it was taken back; a refund that fails days later lets it go on from there."""
    once = select(t.events.c.once).where(t.events.c.order_id == order_id, t.events.c.once.is_not(None))
    told = set(tx.connection.execute(once).scalars())
    entered = [status for status in FORWARD if f"{order_id}:{ORDER_EVENTS[status]}" in told]
    return entered[-1] if entered else OrderStatus.PENDING_PAYMENT


def refold(tx: Tx, order: Row) -> Row:
    """Recompute the order's status from its facts, and return it as it is then; every status entered on the way becomes one event,
    in order. Raises `Conflict` when `order` is not how the row stands."""
    before = OrderStatus(order["status"])
    for status in path(before, order_status(facts_of(tx, order))):
        order = change(tx, t.orders, order, status=status.value)
        announce(tx, order, previous=before)
        before = status
    return order


def announce(tx: Tx, order: Row, previous: OrderStatus | None) -> None:
    """Tell that an order entered its status; the unique `once` makes a second telling impossible."""
    event = ORDER_EVENTS[OrderStatus(order["status"])]
    once = f"{order['id']}:{event}"
    tx.wake("orders")
    if previous is not None and _is_told(tx, once):
        return  # entered again after the order had been taken back and was not after all
    (view,) = order_views(tx.connection, [order])
    emit(tx, event, order_id=order["id"], once=once, order=view, previousStatus=previous.value if previous else None)


def _is_told(tx: Tx, once: str) -> bool:
    return tx.connection.execute(select(t.events.c.sequence).where(t.events.c.once == once)).first() is not None


def touch_order(tx: Tx, order: Row, **changes: Any) -> Row:
    """Record facts about an order (money, shipment, cancellation), then refold it. Never pass `status`."""
    if "status" in changes:
        raise IllegalMove(order["status"], "assigned by hand")
    return refold(tx, change(tx, t.orders, order, **changes))


def raise_attention(tx: Tx, order_id: str, code: str, detail: str, **where: str) -> None:
    """Put a named reason on the order that a person must look at; the same reason at the same place is told once."""
    _raise(tx, get(tx.connection, t.orders, order_id), {"code": code, "detail": detail} | where, where)


def clear_attention(tx: Tx, order_id: str, code: str | None = None, **where: str) -> None:
    """Take back what `raise_attention` put there: one code, or everything at a place."""
    _clear(tx, get(tx.connection, t.orders, order_id), code, where)


def keep_attention(tx: Tx, order: Row, code: str, detail: str | None) -> Row:
    """Let this reason stand on the order as long as there is a `detail` to it; returns the order as it is then. Raises `Conflict`
    when `order` is not how the row stands."""
    return _clear(tx, order, code, {}) if detail is None else _raise(tx, order, {"code": code, "detail": detail}, {})


def _raise(tx: Tx, order: Row, entry: dict[str, str], where: dict[str, str]) -> Row:
    kept = [old for old in order["attention"] if not _same(old, entry["code"], where)]
    if len(kept) != len(order["attention"]) and entry in order["attention"]:
        return order
    order = change(tx, t.orders, order, attention=[*kept, entry])
    emit(tx, ORDER_ATTENTION, order_id=order["id"], attention=entry)
    tx.wake("orders")
    return order


def _clear(tx: Tx, order: Row, code: str | None, where: dict[str, str]) -> Row:
    kept = [old for old in order["attention"] if not _same(old, code, where)]
    return order if len(kept) == len(order["attention"]) else change(tx, t.orders, order, attention=kept)


def _same(entry: dict[str, Any], code: str | None, where: dict[str, str]) -> bool:
    return (code is None or entry["code"] == code) and all(entry.get(key) == value for key, value in where.items())


def hold_job(tx: Tx, job: Row, code: str, detail: str) -> None:
    """Note what a job waits for (a model, a slicer, a printer); not a status, and gone with the job's next move."""
    waits = {"code": code, "detail": detail}
    if job["waits_for"] != waits:
        if job["waits_for"] is not None:
            clear_attention(tx, job["order_id"], job["waits_for"]["code"], jobId=job["id"])
        tx.connection.execute(update(t.jobs).where(t.jobs.c.id == job["id"]).values(waits_for=waits))
        raise_attention(tx, job["order_id"], code, detail, jobId=job["id"])
