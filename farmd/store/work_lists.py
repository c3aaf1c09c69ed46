"""Reading jobs, plates, attempts and printers: pages for people, waiting plates for dispatch.

A fixed number of queries whatever the farm's size; nothing here changes a row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection as Connection  # what readers above the store are handed
from sqlalchemy import Select, func, select

from farmd.domain.lifecycle import ATTEMPT_LIVE, FORWARD, AttemptState, JobState, OrderStatus
from farmd.store import tables as t
from farmd.store.printing import PRINTABLE
from farmd.store.rows import Row

IN_WORK = FORWARD[FORWARD.index(OrderStatus.PAID) : FORWARD.index(OrderStatus.SHIPPED)]


def job_page(
    connection: Connection,
    *,
    states: Sequence[JobState] = (),
    order_id: str | None = None,
    customer_id: str | None = None,
    page: int = 1,
    limit: int = 20,
) -> tuple[list[Row], int]:
    """One page of jobs, newest first, and how many there are in all. `customer_id` narrows to that customer's orders."""
    wanted: list[Any] = []
    if states:
        wanted.append(t.jobs.c.state.in_([state.value for state in states]))
    if order_id is not None:
        wanted.append(t.jobs.c.order_id == order_id)
    if customer_id is not None:
        wanted.append(t.jobs.c.order_id.in_(select(t.orders.c.id).where(t.orders.c.customer_id == customer_id)))
    query = select(t.jobs).where(*wanted).order_by(t.jobs.c.created_at.desc(), t.jobs.c.id.desc())
    rows = connection.execute(query.limit(limit).offset((page - 1) * limit)).mappings().all()
    total = connection.execute(select(func.count()).select_from(t.jobs).where(*wanted)).scalar_one()
    return list(rows), total


def owner_of(connection: Connection, order_id: str) -> str | None:
    """The customer an order belongs to."""
    return connection.execute(select(t.orders.c.customer_id).where(t.orders.c.id == order_id)).scalar()


def plates_of(connection: Connection, job_ids: Iterable[str]) -> dict[str, list[Row]]:
    """Plates by job, oldest first; dropped ones too."""
    return _by_job(connection, select(t.plates).order_by(t.plates.c.created_at, t.plates.c.id), t.plates.c.job_id, job_ids)


def attempts_of(connection: Connection, job_ids: Iterable[str]) -> dict[str, list[Row]]:
    """Attempts by job, oldest first."""
    return _by_job(connection, select(t.attempts).order_by(t.attempts.c.created_at, t.attempts.c.id), t.attempts.c.job_id, job_ids)


def _by_job(connection: Connection, query: Select[Any], column: Any, job_ids: Iterable[str]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {job_id: [] for job_id in job_ids}
    for row in connection.execute(query.where(column.in_(list(groups)))).mappings():
        groups[row["job_id"]].append(row)
    return groups


def history_of(connection: Connection, job_id: str) -> list[Row]:
    """Every move of a job and of its attempts, in order."""
    query = select(t.history).where(t.history.c.job_id == job_id).order_by(t.history.c.id)
    return list(connection.execute(query).mappings())


def printer_rows(connection: Connection) -> dict[str, Row]:
    """What is stored of every printer that was ever registered."""
    return {row["id"]: row for row in connection.execute(select(t.printers)).mappings()}


def attempts_on_printers(connection: Connection) -> dict[str, Row]:
    """The attempt that holds each busy printer."""
    query = select(t.attempts).where(t.attempts.c.state.in_(ATTEMPT_LIVE))
    return {row["printer_id"]: row for row in connection.execute(query).mappings()}


def unresolved_attempts(connection: Connection) -> list[Row]:
    """Attempts that wait for a person to say how they ended."""
    query = select(t.attempts).where(t.attempts.c.state == AttemptState.UNKNOWN).order_by(t.attempts.c.created_at)
    return list(connection.execute(query).mappings())


def waiting_plates(connection: Connection) -> list[Row]:
    """Plates that may be started, with their job's `material color profile due_at` and their order's `paid_at`."""
    query = (
        select(t.plates, t.jobs.c.material, t.jobs.c.color, t.jobs.c.profile, t.jobs.c.due_at, t.orders.c.paid_at)
        .join(t.jobs, t.jobs.c.id == t.plates.c.job_id)
        .join(t.orders, t.orders.c.id == t.jobs.c.order_id)
        .where(
            t.plates.c.state == "WAITING",
            t.jobs.c.state.in_(sorted(PRINTABLE)),
            t.orders.c.cancelled_at.is_(None),
            t.orders.c.hold.is_(None),
        )
        .order_by(t.plates.c.created_at, t.plates.c.id)
    )
    return list(connection.execute(query).mappings())


def orders_in_work(connection: Connection, limit: int = 200) -> list[Row]:
    """Orders that are paid and not shipped, the most urgent first."""
    query = select(t.orders).where(t.orders.c.status.in_([status.value for status in IN_WORK]))
    return list(connection.execute(query.order_by(t.orders.c.due_at, t.orders.c.id).limit(limit)).mappings())


def benches(connection: Connection) -> list[tuple[str, str, int]]:
    """Where an operator has parts to finish: (job, step, units that wait there)."""
    query = select(t.jobs.c.id, t.jobs.c.steps, t.jobs.c.at_step).where(t.jobs.c.printed > 0, t.jobs.c.state != JobState.CANCELLED)
    found = connection.execute(query.order_by(t.jobs.c.due_at, t.jobs.c.id))
    return [(job, step, count) for job, steps, at in found for step, count in zip(steps, at, strict=True) if count]
