"""What people do to jobs, plates, attempts and printers, as rows: retry, cancel, resolve, pause, enable, load.

Beside `store.printing`, which writes what machines do. Every command is one transaction and refuses with `NotNow` before it
changes anything; none of them talks to a printer, they leave wishes that the fleet fulfils.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, func, select

from farmd.config import PrinterSettings, Settings
from farmd.domain.catalog import Problem
from farmd.domain.lifecycle import AttemptState, JobSignal, JobState
from farmd.domain.reconcile import Wish
from farmd.domain.refusals import NotNow, Unacceptable
from farmd.domain.spools import Spool, loaded, same_word
from farmd.store import printing, sales
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.printing import PRINTABLE, Bed
from farmd.store.rows import Row, add, change, find, get
from farmd.store.transitions import advance_job, clear_attention, raise_attention

OPEN_PLATE = ("WAITING", "ACTIVE")
REPLAN = "replan"
_NOT_STARTED = (AttemptState.ASSIGNED, AttemptState.UPLOADING, AttemptState.UPLOADED)


# jobs and their plates


def units_without_plate(connection: Connection, job_id: str) -> int:
    """How many units of a job must be printed and stand on no plate that waits or prints. Raises `Missing`."""
    job = get(connection, t.jobs, job_id)
    held = select(func.coalesce(func.sum(t.plates.c.copies), 0))
    held = held.where(t.plates.c.job_id == job_id, t.plates.c.state.in_(OPEN_PLATE))
    return int(job["waiting"] + job["printing"] - connection.execute(held).scalar_one())


def jobs_to_replan(connection: Connection) -> list[str]:
    """Jobs past slicing with units on no plate, oldest due first: what the pipeline has to cut plates for."""
    held = select(t.plates.c.job_id, func.sum(t.plates.c.copies).label("copies"))
    sums = held.where(t.plates.c.state.in_(OPEN_PLATE)).group_by(t.plates.c.job_id).subquery()
    query = (
        select(t.jobs.c.id)
        .outerjoin(sums, sums.c.job_id == t.jobs.c.id)
        .where(t.jobs.c.state.in_(sorted(PRINTABLE)), t.jobs.c.waiting + t.jobs.c.printing > func.coalesce(sums.c.copies, 0))
        .order_by(t.jobs.c.due_at, t.jobs.c.id)
    )
    return list(connection.execute(query).scalars())


def cover_units(tx: Tx, job_id: str) -> int:
    """Put a job's uncovered units on copies of plates it already has; returns how many need a plate nobody has cut yet.

    Full plates first, then a rest only if a plate of exactly that many copies exists: three single prints in place of one
    missing three-up plate would cost an operator more than another run of the slicer.
    """
    missing = units_without_plate(tx.connection, job_id)
    known = _cut_plates(tx.connection, job_id)
    largest = max(known, default=0)
    while missing > 0 and known:
        copies = min(missing, largest)
        if copies not in known:
            break
        _clone_plate(tx, known[copies])
        missing -= copies
    return max(missing, 0)


def _cut_plates(connection: Connection, job_id: str) -> dict[int, Row]:
    """One plate of every number of copies that this job has been sliced for, the newest."""
    query = select(t.plates).where(t.plates.c.job_id == job_id, t.plates.c.state != "DROPPED").order_by(t.plates.c.created_at)
    return {plate["copies"]: plate for plate in connection.execute(query).mappings() if plate["artifacts"]}


def _clone_plate(tx: Tx, plate: Row) -> None:
    same = {name: plate[name] for name in ("job_id", "order_id", "copies", "size", "artifacts")}
    fresh = {"id": tx.world.new_id("plate"), "state": "WAITING", "failures": 0, "failed_on": [], "created_at": tx.world.now()}
    add(tx, t.plates, **same, **fresh)


def follow_ledger(tx: Tx, job_id: str) -> Row:
    """After units came back to the queue: plates for them, the job's state after its ledger, and a note for the pipeline
    when a new plate has to be cut."""
    missing = cover_units(tx, job_id)
    printing.settle_job(tx, get(tx.connection, t.jobs, job_id))
    job = get(tx.connection, t.jobs, job_id)
    if missing and JobState(job["state"]) in PRINTABLE:
        detail = f"{missing} unit(s) are to be printed again and need a plate of their own"
        job = change(tx, t.jobs, job, waits_for={"code": REPLAN, "detail": detail})
    tx.wake("jobs")
    return job


def retry_job(tx: Tx, job_id: str, by: str) -> Row:
    """Try a FAILED job again: from its plates if it has been sliced, else from the start. Raises `Missing`, `NotNow`."""
    job = get(tx.connection, t.jobs, job_id)
    if JobState(job["state"]) is not JobState.FAILED:
        raise NotNow("job_not_failed", f"{job_id} is {job['state']}; only a FAILED job can be retried")
    _forget_complaints(tx, job)
    reason = f"retried by {by}"
    if not _forgive_plates(tx, job_id):
        return advance_job(tx, job, JobSignal.RETRY, reason=reason)
    job = advance_job(tx, job, JobSignal.REQUEUE, reason=reason)
    if job["printing"]:
        advance_job(tx, job, JobSignal.PRINT, reason="another plate of it is on a machine")
    return follow_ledger(tx, job_id)


def _forget_complaints(tx: Tx, job: Row) -> None:
    """Take the job's own complaints off its order; an attempt nobody can judge still needs its person."""
    order = get(tx.connection, t.orders, job["order_id"])
    for entry in order["attention"]:
        if entry.get("jobId") == job["id"] and "attemptId" not in entry:
            clear_attention(tx, order["id"], entry["code"], jobId=job["id"])


def _forgive_plates(tx: Tx, job_id: str) -> bool:
    """Give every plate its tries back; False when the job has no plates."""
    query = select(t.plates).where(t.plates.c.job_id == job_id, t.plates.c.state != "DROPPED")
    plates = tx.connection.execute(query).mappings().all()
    for plate in plates:
        if plate["failures"]:
            change(tx, t.plates, plate, failures=0, failed_on=[])
    return bool(plates)


def withdraw_job(tx: Tx, job_id: str, reason: str) -> None:
    """Cancel one job of an order. Again is no change. Raises `Missing`; `NotNow` when its parts have left the house."""
    job = get(tx.connection, t.jobs, job_id)
    order = get(tx.connection, t.orders, job["order_id"])
    if order["shipped_at"]:
        raise NotNow("order_shipped", f"order {order['id']} is shipped; its jobs cannot be cancelled any more")
    if JobState(job["state"]) is JobState.CANCELLED:
        return
    sales.cancel_job(tx, job, reason)
    states = tx.connection.execute(select(t.jobs.c.state).where(t.jobs.c.order_id == order["id"])).scalars().all()
    if all(state == JobState.CANCELLED for state in states) and not order["cancelled_at"]:
        detail = "every job of this order is cancelled; cancel the order to give the money back"
        raise_attention(tx, order["id"], "all_jobs_cancelled", detail)


# attempts


def resolve_attempt(tx: Tx, attempt_id: str, outcome: Literal["succeeded", "failed"], by: str) -> None:
    """A person says how an UNKNOWN print ended. What is known of the bed stays as it is. Raises `Missing`, `NotNow`."""
    attempt = get(tx.connection, t.attempts, attempt_id)
    if AttemptState(attempt["state"]) is not AttemptState.UNKNOWN:
        raise NotNow("attempt_not_unknown", f"{attempt_id} is {attempt['state']}; only an UNKNOWN attempt is settled by a person")
    if outcome == "succeeded":
        printing.succeeded(tx, attempt, ejected=False)
    else:
        printing.failed(tx, attempt, f"resolved as failed by {by}")


# printers


def ask_printer(tx: Tx, printer_id: str, wish: Literal["pause", "resume", "cancel"]) -> None:
    """Wish that our print on a machine be held, let go or stopped. Raises `Missing`, `NotNow`."""
    get(tx.connection, t.printers, printer_id)
    attempt = _running(tx.connection, printer_id)
    if wish == "cancel":
        if not attempt["cancel_wanted"]:
            change(tx, t.attempts, attempt, cancel_wanted=True)
    else:
        state = AttemptState(attempt["state"])
        if state in _NOT_STARTED:
            raise NotNow(
                "not_started", f"{attempt['id']} is {state} on {printer_id} and prints nothing yet; it can only be cancelled"
            )
        reached = AttemptState.PAUSED if wish == "pause" else AttemptState.PRINTING
        # a wish that is already true must not lie around and strike when somebody turns the machine's own knob
        if state is not reached or attempt["wish"]:
            change(tx, t.attempts, attempt, wish=Wish(wish).value)
    tx.wake("attempts")


def answer_printer(tx: Tx, printer_id: str, choice: int, choices: Sequence[str]) -> None:
    """Answer what the machine asks in a print of ours, with one of its `choices` by its number; without choices 0 means to go on.
    Raises `Missing`, `NotNow`, `Unacceptable`."""
    get(tx.connection, t.printers, printer_id)
    attempt = _running(tx.connection, printer_id)
    if attempt["state"] != AttemptState.PAUSED:  # an answer that came too early, or too late, would meet the next question
        raise NotNow("nothing_asked", f"{printer_id} asks nothing now")
    if choice >= max(len(choices), 1):
        words = ", ".join(f"{number} = {words}" for number, words in enumerate(choices)) or "0 = go on"
        raise Unacceptable("no_such_choice", [Problem("/choice", f"there is no choice {choice}: {words}")])
    change(tx, t.attempts, attempt, answer=choice)
    tx.wake("attempts")


def _running(connection: Connection, printer_id: str) -> Row:
    attempt = printing.live_attempt(connection, printer_id)
    if attempt is None:
        detail = f"{printer_id} prints nothing for farmd; a print started at the machine is stopped at the machine"
        raise NotNow("nothing_running", detail)
    return attempt


def enable_printer(tx: Tx, printer_id: str) -> None:
    """Take a printer back into work; whatever it was quarantined for is forgiven. Raises `Missing`."""
    printer = get(tx.connection, t.printers, printer_id)
    change(tx, t.printers, printer, enabled=True, quarantined=None, failures_in_row=0, last_job_id=None)
    tx.wake("printers")


def disable_printer(tx: Tx, printer_id: str) -> None:
    """Give a printer no new work; what it prints it may finish. Raises `Missing`."""
    change(tx, t.printers, get(tx.connection, t.printers, printer_id), enabled=False)
    tx.wake("printers")


def load_printer(tx: Tx, printer_id: str, spools: Sequence[Spool] | None = None, **said: str | None) -> None:
    """Note the `material` and/or `color` a person put in; None is an empty machine. Raises `Missing`; `NotNow` when the machine
    tells its `spools` itself and none of them is what was said."""
    if spools is not None and not any(_as_said(spool, said) for spool in spools):
        detail = (
            f"{printer_id} tells itself what is loaded ({loaded(spools)}); change the spool, or what the machine's own screen says"
        )
        raise NotNow("machine_tells", detail)
    change(tx, t.printers, get(tx.connection, t.printers, printer_id), **said)
    tx.wake("printers")


def _as_said(spool: Spool, said: Mapping[str, str | None]) -> bool:
    known = {"material": spool.material, "color": spool.color}
    return all(word is not None and same_word(known[key], word) for key, word in said.items())


def register_printers(tx: Tx, settings: Settings) -> None:
    """Make a row for every configured printer that has none, and let a filament that was changed in the file win over the row.

    A new machine's bed is unknown until somebody looked, except where the machine ejects its parts by itself.
    """
    for printer in settings.printers:
        row = find(tx.connection, t.printers, printer.id)
        if row is None:
            _first_seen(tx, printer)
        elif _configured_before(tx, printer.id) != _filament(printer):
            change(tx, t.printers, row, **_filament(printer))
        _remember_configured(tx, printer)
    tx.wake("printers")


def _first_seen(tx: Tx, printer: PrinterSettings) -> None:
    auto = printer.bed_clear == "auto"
    add(
        tx,
        t.printers,
        id=printer.id,
        bed=(Bed.CLEAR if auto else Bed.UNKNOWN).value,
        bed_note="this machine ejects its parts" if auto else "never looked at; confirm with clear-bed",
        enabled=True,
        failures_in_row=0,
        version=1,
        updated_at=tx.world.now(),
        **_filament(printer),
    )


def _filament(printer: PrinterSettings) -> dict[str, Any]:
    return {"material": printer.material, "color": printer.color.lower() if printer.color else None}


def _configured_before(tx: Tx, printer_id: str) -> dict[str, Any] | None:
    noted = find(tx.connection, t.meta, f"filament:{printer_id}")
    return orjson.loads(noted["value"]) if noted else None


def _remember_configured(tx: Tx, printer: PrinterSettings) -> None:
    key, value = f"filament:{printer.id}", orjson.dumps(_filament(printer)).decode()
    noted = find(tx.connection, t.meta, key)
    if noted is None:
        add(tx, t.meta, key=key, value=value)
    elif noted["value"] != value:
        change(tx, t.meta, noted, value=value)
