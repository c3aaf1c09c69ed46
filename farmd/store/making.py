"""What the pipeline reads and writes: jobs that are not queued yet, the model behind a job, the plates it was cut into."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from farmd.domain.lifecycle import JOB_BEFORE_QUEUE, JobSignal, JobState
from farmd.store import tables as t
from farmd.store.engine import Conflict, Tx
from farmd.store.printing import PRINTABLE
from farmd.store.rows import Row, add, find, get
from farmd.store.transitions import advance_job, clear_attention, hold_job, raise_attention
from farmd.store.work import jobs_to_replan, units_without_plate


@dataclass(frozen=True, slots=True)
class NewPlate:
    """Copies printed together. `artifacts`: printer class key -> {key, sha256, seconds, grams}; `size` in mm, of one part."""

    copies: int
    size: tuple[float, float, float]
    artifacts: Mapping[str, Mapping[str, Any]]


def to_prepare(connection: Connection) -> Sequence[Row]:
    """Jobs on their way to the queue, most urgent first."""
    states = [state.value for state in JOB_BEFORE_QUEUE]
    return (
        connection.execute(select(t.jobs).where(t.jobs.c.state.in_(states)).order_by(t.jobs.c.due_at, t.jobs.c.id)).mappings().all()
    )


def to_replan(connection: Connection) -> Sequence[Row]:
    """Jobs past slicing with units on no plate, most urgent first."""
    return [get(connection, t.jobs, job_id) for job_id in jobs_to_replan(connection)]


def model_of(connection: Connection, job: Row) -> Row | None:
    """The model this job is made from: the one its SKU had when it was paid, else the one it has now."""
    sha = job["model_sha"] or get(connection, t.skus, job["sku_id"])["model_sha"]
    return find(connection, t.models, sha) if sha else None


def pin_model(tx: Tx, job_id: str, sha: str) -> None:
    """From here on a new model of the SKU does not change what this job prints."""
    tx.connection.execute(update(t.jobs).where(t.jobs.c.id == job_id, t.jobs.c.model_sha.is_(None)).values(model_sha=sha))


def step(tx: Tx, job_id: str, signal: JobSignal) -> Row:
    """Move a job by one signal as it is now. Raises `IllegalMove` when it was cancelled meanwhile."""
    return advance_job(tx, get(tx.connection, t.jobs, job_id), signal)


def hold(tx: Tx, job_id: str, code: str, detail: str) -> None:
    """Say what a job waits for; nothing when it was cancelled meanwhile."""
    job = get(tx.connection, t.jobs, job_id)
    if JobState(job["state"]) in JOB_BEFORE_QUEUE | PRINTABLE:
        hold_job(tx, job, code, detail)


def refuse(tx: Tx, job_id: str, code: str, detail: str, cure: str) -> None:
    """This job cannot be made as ordered: it waits for a person, with the reason and the cure."""
    job = get(tx.connection, t.jobs, job_id)
    advance_job(tx, job, JobSignal.FAIL, reason=detail, failure={"code": code, "detail": detail, "cure": cure})
    raise_attention(tx, job["order_id"], "job_failed", f"{detail}. {cure}", jobId=job_id)


def queue(tx: Tx, job_id: str, plates: Sequence[NewPlate]) -> None:
    """Write the plates of a job; one that is being sliced goes to the queue. Raises `Conflict` when the plates are not exactly what
    the job lacks any more (it was cancelled, or others covered its units meanwhile)."""
    job = get(tx.connection, t.jobs, job_id)
    lacking = units_without_plate(tx.connection, job_id)
    if lacking != sum(plate.copies for plate in plates) or JobState(job["state"]) not in PRINTABLE | {JobState.SLICING}:
        raise Conflict(f"{job_id} lacks {lacking} units now and is {job['state']}")
    if JobState(job["state"]) is JobState.SLICING:
        job = advance_job(tx, job, JobSignal.QUEUE)
    else:
        tx.connection.execute(update(t.jobs).where(t.jobs.c.id == job_id).values(waits_for=None))
        if job["waits_for"]:
            clear_attention(tx, job["order_id"], job["waits_for"]["code"], jobId=job_id)
    for plate in plates:
        add(
            tx,
            t.plates,
            id=tx.world.new_id("plate"),
            job_id=job_id,
            order_id=job["order_id"],
            copies=plate.copies,
            state="WAITING",
            size=list(plate.size),
            artifacts={key: dict(value) for key, value in plate.artifacts.items()},
            failures=0,
            failed_on=[],
            created_at=tx.world.now(),
        )
    tx.wake("jobs")


def pinned_artifacts(connection: Connection) -> frozenset[str]:
    """Sliced files that somebody will still print."""
    rows = connection.execute(select(t.plates.c.artifacts).where(t.plates.c.state.in_(("WAITING", "ACTIVE"))))
    return frozenset(entry["key"] for (artifacts,) in rows for entry in artifacts.values())
