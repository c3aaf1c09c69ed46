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
from farmd.store.views import order_view, units

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
    refold(tx, job["order_id"])
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


def refold(tx: Tx, order_id: str) -> None:
    """Recompute the order's status from its facts; every status entered on the way becomes one event, in order."""
    order = get(tx.connection, t.orders, order_id)
    before = OrderStatus(order["status"])
    for status in path(before, order_status(facts_of(tx, order))):
        order = change(tx, t.orders, order, status=status.value)
        announce(tx, order_id, status, previous=before)
        before = status


def announce(tx: Tx, order_id: str, status: OrderStatus, previous: OrderStatus | None) -> None:
    """Tell that an order entered `status`; the unique `once` makes a second telling impossible."""
    event = ORDER_EVENTS[status]
    tx.wake("orders")
    if tx.connection.execute(select(t.events.c.sequence).where(t.events.c.once == f"{order_id}:{event}")).first() is not None:
        return  # entered again after the order had been taken back and was not after all
    view = order_view(tx.connection, order_id)
    emit(
        tx,
        event,
        order_id=order_id,
        once=f"{order_id}:{event}",
        order=view,
        previousStatus=previous.value if previous else None,
    )


def touch_order(tx: Tx, order: Row, **changes: Any) -> Row:
    """Record facts about an order (money, shipment, cancellation), then refold it. Never pass `status`."""
    if "status" in changes:
        raise IllegalMove(order["status"], "assigned by hand")
    change(tx, t.orders, order, **changes)
    refold(tx, order["id"])
    return get(tx.connection, t.orders, order["id"])


def raise_attention(tx: Tx, order_id: str, code: str, detail: str, **where: str) -> None:
    """Put a named reason on the order that a person must look at; the same reason at the same place is told once."""
    order = get(tx.connection, t.orders, order_id)
    entry = {"code": code, "detail": detail} | where
    kept = [old for old in order["attention"] if not _same(old, code, where)]
    if len(kept) != len(order["attention"]) and entry in order["attention"]:
        return
    change(tx, t.orders, order, attention=[*kept, entry])
    emit(tx, ORDER_ATTENTION, order_id=order_id, attention=entry)
    tx.wake("orders")


def clear_attention(tx: Tx, order_id: str, code: str | None = None, **where: str) -> None:
    """Take back what `raise_attention` put there: one code, or everything at a place."""
    order = get(tx.connection, t.orders, order_id)
    kept = [old for old in order["attention"] if not _same(old, code, where)]
    if len(kept) != len(order["attention"]):
        change(tx, t.orders, order, attention=kept)


def keep_attention(tx: Tx, order_id: str, code: str, detail: str | None) -> None:
    """Let this reason stand on the order as long as there is a `detail` to it."""
    if detail is not None:
        raise_attention(tx, order_id, code, detail)
    else:
        clear_attention(tx, order_id, code)


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
