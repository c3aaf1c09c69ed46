"""What a print does to the books: attempts, their plate, the job's unit ledger and the printer's bed, moved together.

Called by the fleet alone. Each function is one transaction's worth of truth; the bed is called dirty in the same commit that lets
a start command out, and clear only by a person or by a machine that ejects its parts.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, select

from farmd.domain.lifecycle import ATTEMPT_BEFORE_START, ATTEMPT_LIVE, AttemptSignal, AttemptState, JobSignal, JobState
from farmd.domain.spools import Spool, mismatch, same_word
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.outbox import emit
from farmd.store.rows import Row, add, change, find, get
from farmd.store.storage_faults import forgive_storage
from farmd.store.transitions import advance_attempt, advance_job, clear_attention, raise_attention

MAX_PLATE_FAILURES = 3
UNSEEN = "unseen:"
"""Begins the key in `meta` that says of a printer: nobody has seen it since the store was restored from a backup."""
QUARANTINE_AFTER = 2
PRINTABLE = frozenset({JobState.QUEUED, JobState.PRINTING, JobState.POST_PROCESSING})


class Bed(StrEnum):
    """What lies on a printer, as far as the farm knows."""

    CLEAR = "clear"
    OCCUPIED = "occupied"
    UNKNOWN = "unknown"


class NotAssignable(Exception):
    """The plate or the printer is not free any more; nothing was written."""


class StartWithheld(Exception):
    """Something changed since the plate was assigned, and no start may leave; nothing was written."""


def live_attempt(connection: Connection, printer_id: str) -> Row | None:
    """The attempt that holds this printer, if any."""
    query = select(t.attempts).where(t.attempts.c.printer_id == printer_id, t.attempts.c.state.in_(ATTEMPT_LIVE))
    return connection.execute(query).mappings().first()


def unknown_attempts(connection: Connection, printer_id: str) -> Sequence[Row]:
    """Attempts on this printer that nobody can tell the end of yet."""
    query = select(t.attempts).where(t.attempts.c.printer_id == printer_id, t.attempts.c.state == AttemptState.UNKNOWN.value)
    return connection.execute(query).mappings().all()


def plate_wanted(connection: Connection, attempt: Row) -> bool:
    """Whether anybody still wants what this attempt prints."""
    return JobState(get(connection, t.jobs, attempt["job_id"])["state"]) is not JobState.CANCELLED


def stale_files(connection: Connection, printer_id: str, before: datetime) -> Sequence[Row]:
    """Ended attempts whose file still lies on the printer although nobody needs it any more."""
    c = t.attempts.c
    query = select(t.attempts).where(c.printer_id == printer_id, c.remote_path.is_not(None), c.ended_at < before)
    return connection.execute(query).mappings().all()


def assign(
    tx: Tx,
    plate_id: str,
    printer_id: str,
    class_key: str,
    token: str,
    *,
    slot: str | None = None,
    spools: Sequence[Spool] | None = None,
) -> str:
    """Bind a waiting plate to a printer with a clear bed and the right filament, fed from `slot` of the `spools` its machine tells
    of; returns the attempt's id (= `token`). Raises `NotAssignable`."""
    plate, printer = get(tx.connection, t.plates, plate_id), get(tx.connection, t.printers, printer_id)
    job = get(tx.connection, t.jobs, plate["job_id"])
    order = get(tx.connection, t.orders, plate["order_id"])
    usable = printer["enabled"] and printer["bed"] == Bed.CLEAR and not printer["quarantined"]
    wanted = not order["cancelled_at"] and not order["hold"] and JobState(job["state"]) in PRINTABLE
    if plate["state"] != "WAITING" or not usable or not wanted:
        raise NotAssignable(f"plate {plate_id} cannot go to {printer_id} now")
    if wrong := _wrong_filament(printer, job, slot, spools):
        raise NotAssignable(f"plate {plate_id} cannot go to {printer_id} now: {wrong}")
    live = select(t.attempts.c.id).where(t.attempts.c.printer_id == printer_id, t.attempts.c.state.in_(ATTEMPT_LIVE))
    if tx.connection.execute(live).first() is not None:
        raise NotAssignable(f"{printer_id} is taken")
    artifact = plate["artifacts"][class_key]
    add(
        tx,
        t.attempts,
        id=token,
        plate_id=plate_id,
        job_id=job["id"],
        order_id=order["id"],
        printer_id=printer_id,
        copies=plate["copies"],
        state=AttemptState.ASSIGNED.value,
        artifact=artifact["key"],
        slot=slot,
        estimate_seconds=artifact["seconds"],
        cancel_wanted=False,
        wish="",
        answer=None,
        version=1,
        created_at=tx.world.now(),
    )
    change(tx, t.plates, plate, state="ACTIVE")
    tx.wake("attempts")
    return token


def _wrong_filament(printer: Row, job: Row, slot: str | None, spools: Sequence[Spool] | None) -> str | None:
    """What is wrong with the filament a print of this job would get; None when it is the right one. Where the machine tells what
    is loaded it is believed, and nobody's word against it."""
    if slot is not None or spools is not None:
        return mismatch(slot, spools, job["material"], job["color"])
    if same_word(printer["material"], job["material"]) and same_word(printer["color"], job["color"]):
        return None
    return f"{printer['material']} {printer['color']} is loaded, the job needs {job['material']} {job['color']}"


def set_bed(tx: Tx, printer_id: str, bed: Bed, note: str | None) -> None:
    """Record what is on the bed and why we think so."""
    printer = get(tx.connection, t.printers, printer_id)
    if printer["bed"] != bed.value or printer["bed_note"] != note:
        change(tx, t.printers, printer, bed=bed.value, bed_note=note)
        tx.wake("printers")


def clear_bed(tx: Tx, printer_id: str, by: str) -> None:
    """A person looked and the bed is empty. Raises `Missing`; `NotAssignable` while a print of ours is, or may be, on it."""
    on_machine = (AttemptState.STARTING, AttemptState.PRINTING, AttemptState.PAUSED)
    busy = select(t.attempts.c.id).where(t.attempts.c.printer_id == printer_id, t.attempts.c.state.in_(on_machine))
    attempt = tx.connection.execute(busy).scalar()
    if attempt is not None:
        raise NotAssignable(f"{printer_id} is printing {attempt}; its bed cannot be clear")
    if unseen(tx.connection, printer_id):
        raise NotAssignable(f"{printer_id} did not answer since a backup was restored: let farmd see what it does, then look again")
    set_bed(tx, printer_id, Bed.CLEAR, f"confirmed by {by}")
    emit(tx, "printer.bed_cleared", printerId=printer_id)


def unseen(connection: Connection, printer_id: str) -> bool:
    """Whether a backup was restored and this machine has not been seen since."""
    return find(connection, t.meta, f"{UNSEEN}{printer_id}") is not None


def seen(tx: Tx, printer_id: str) -> None:
    """The machine was seen, and every attempt that may be on it was asked about."""
    tx.connection.execute(delete(t.meta).where(t.meta.c.key == f"{UNSEEN}{printer_id}"))


def uploaded(tx: Tx, attempt: Row, path: str, size: int) -> Row:
    """The file is on the printer, under the path the printer named."""
    return advance_attempt(tx, attempt, AttemptSignal.UPLOADED, remote_path=path, remote_size=size)


def start_sent(tx: Tx, attempt: Row, spools: Sequence[Spool] | None = None) -> Row:
    """Commit this *before* the start command leaves: from here on the bed is dirty and an idle printer proves nothing. Raises
    `StartWithheld` when the bed, the filament (`spools`, where the machine tells them) or the printer's use changed since the plate
    was assigned."""
    printer, job = get(tx.connection, t.printers, attempt["printer_id"]), get(tx.connection, t.jobs, attempt["job_id"])
    if printer["bed"] != Bed.CLEAR:
        raise StartWithheld(f"the bed of {printer['id']} is {printer['bed']}: {printer['bed_note']}")
    if wrong := _wrong_filament(printer, job, attempt["slot"], spools):
        raise StartWithheld(f"the filament of {printer['id']} was changed: {wrong}")
    if not printer["enabled"] or printer["quarantined"]:
        raise StartWithheld(f"{printer['id']} was taken out of use")
    if hold := get(tx.connection, t.orders, attempt["order_id"])["hold"]:
        raise StartWithheld(f"order {attempt['order_id']} is on hold: {hold}")
    set_bed(tx, attempt["printer_id"], Bed.OCCUPIED, f"start of {attempt['id']} was sent")
    _note_stranger(tx, attempt["printer_id"], None)
    return advance_attempt(tx, attempt, AttemptSignal.SEND_START, start_sent_at=tx.world.now())


def start_refused(tx: Tx, attempt: Row, reason: str, *, foreign: bool, blame_plate: bool) -> None:
    """The printer proved that nothing was started. The plate goes back; a busy machine means somebody else's part is on the bed.
    The proof holds whatever was wished of the attempt while the command was out."""
    attempt = get(tx.connection, t.attempts, attempt["id"])
    attempt = advance_attempt(tx, attempt, AttemptSignal.REFUSED, reason=reason)
    set_bed(tx, attempt["printer_id"], Bed.UNKNOWN if foreign else Bed.CLEAR, reason)
    failed(tx, attempt, reason, blame_plate=blame_plate)


def seen_printing(tx: Tx, attempt: Row, *, paused: bool) -> Row:
    """The printer was seen working on our token."""
    wish = {"PAUSE" if paused else "RESUME": ""}.get(attempt["wish"].upper(), attempt["wish"])
    late: dict[str, Any] = {} if attempt["started_at"] else _begin(tx, attempt)
    if not paused:
        late["answer"] = None  # what was asked is settled
    set_bed(tx, attempt["printer_id"], Bed.OCCUPIED, f"printing {attempt['id']}")
    signal = AttemptSignal.SEEN_PAUSED if paused else AttemptSignal.SEEN_PRINTING
    clear_attention(tx, attempt["order_id"], "attempt_unknown", attemptId=attempt["id"])
    return advance_attempt(tx, attempt, signal, wish=wish, **late)


def _begin(tx: Tx, attempt: Row) -> dict[str, Any]:
    """Units leave the queue for the machine; the job prints."""
    job = get(tx.connection, t.jobs, attempt["job_id"])
    ledger = {"waiting": job["waiting"] - attempt["copies"], "printing": job["printing"] + attempt["copies"]}
    if JobState(job["state"]) in (JobState.QUEUED, JobState.POST_PROCESSING):
        advance_job(tx, job, JobSignal.PRINT, **ledger)
    else:
        change(tx, t.jobs, job, **ledger)
    return {"started_at": tx.world.now()}


def succeeded(tx: Tx, attempt: Row, *, ejected: bool) -> None:
    """The print ended well: its units are printed, the bed holds them unless the machine ejects."""
    was_unknown = AttemptState(attempt["state"]) is AttemptState.UNKNOWN
    late: dict[str, Any] = {} if attempt["started_at"] else _begin(tx, attempt)
    attempt = advance_attempt(tx, attempt, AttemptSignal.SUCCEED, ended_at=tx.world.now(), wish="", **late)
    clear_attention(tx, attempt["order_id"], "attempt_unknown", attemptId=attempt["id"])
    if not was_unknown:  # a verdict that comes later says nothing about the bed of today
        set_bed(tx, attempt["printer_id"], Bed.CLEAR if ejected else Bed.OCCUPIED, f"{attempt['id']} was printed")
    change(tx, t.plates, get(tx.connection, t.plates, attempt["plate_id"]), state="DONE")
    _forgive_printer(tx, attempt["printer_id"])
    job = get(tx.connection, t.jobs, attempt["job_id"])
    copies = attempt["copies"]
    ledger: dict[str, Any] = {"printing": job["printing"] - copies}
    if job["steps"]:
        ledger |= {"printed": job["printed"] + copies, "at_step": [job["at_step"][0] + copies, *job["at_step"][1:]]}
    else:
        ledger["good"] = job["good"] + copies
    settle_job(tx, change(tx, t.jobs, job, **ledger))


def settle_job(tx: Tx, job: Row) -> None:
    """Let a job follow its ledger: printed when nothing waits or prints, finished when every ordered unit is good."""
    state = JobState(job["state"])
    if state not in PRINTABLE:
        return
    if job["waiting"] == 0 and job["printing"] == 0:
        if state is not JobState.POST_PROCESSING:
            job = advance_job(tx, job, JobSignal.PRINTED)
        if job["good"] >= job["ordered"]:
            advance_job(tx, job, JobSignal.FINISH)
    elif job["printing"] == 0 and state is not JobState.QUEUED:
        advance_job(tx, job, JobSignal.REQUEUE)


def failed(tx: Tx, attempt: Row, reason: str, *, blame_plate: bool = True) -> None:
    """The print did not come out, certainly. Its plate waits again, a bounded number of times."""
    attempt = _end(tx, attempt, AttemptSignal.FAIL, reason)
    plate, job = _return_units(tx, attempt)
    if not blame_plate:
        change(tx, t.plates, plate, state=_waiting_or_dropped(job))
        settle_job(tx, job)
        return
    failures = plate["failures"] + 1
    where = sorted({*plate["failed_on"], attempt["printer_id"]})
    change(tx, t.plates, plate, state=_waiting_or_dropped(job), failures=failures, failed_on=where)
    _blame_printer(tx, attempt, reason)
    if failures >= MAX_PLATE_FAILURES and JobState(job["state"]) in PRINTABLE:
        detail = (
            f"printing failed {failures} times, last on {attempt['printer_id']}: {reason}. Look at it, then retry or cancel the job"
        )
        advance_job(tx, job, JobSignal.FAIL, reason=detail, failure={"code": "print_failed", "detail": detail})
        raise_attention(tx, job["order_id"], "job_failed", detail, jobId=job["id"])
    else:
        settle_job(tx, job)


def cancelled(tx: Tx, attempt: Row, reason: str) -> None:
    """Stopped, or never started, because that was wanted."""
    attempt = _end(tx, attempt, AttemptSignal.CANCEL, reason)
    plate, job = _return_units(tx, attempt)
    change(tx, t.plates, plate, state=_waiting_or_dropped(job))
    settle_job(tx, job)


def lost(tx: Tx, attempt: Row, reason: str) -> None:
    """Nobody can tell whether it was printed: hold the plate, distrust the bed, ask a person."""
    set_bed(tx, attempt["printer_id"], Bed.UNKNOWN, reason)
    attempt = advance_attempt(tx, attempt, AttemptSignal.LOSE, reason=reason)
    raise_attention(
        tx,
        attempt["order_id"],
        "attempt_unknown",
        f"{attempt['printer_id']}: {reason}. Look at the bed, then resolve attempt {attempt['id']} as succeeded or failed",
        jobId=attempt["job_id"],
        attemptId=attempt["id"],
    )


def lose_file(tx: Tx, attempt: Row, reason: str) -> None:
    """The sliced file is gone or damaged on our side: the plate is dropped, and the pipeline cuts its units anew, a bounded number
    of times."""
    failed(tx, attempt, reason, blame_plate=False)
    change(tx, t.plates, get(tx.connection, t.plates, attempt["plate_id"]), state="DROPPED")
    job = get(tx.connection, t.jobs, attempt["job_id"])
    never_sent = select(func.count()).where(
        t.attempts.c.job_id == job["id"], t.attempts.c.state == AttemptState.FAILED, t.attempts.c.remote_path.is_(None)
    )
    if tx.connection.execute(never_sent).scalar_one() > MAX_PLATE_FAILURES and JobState(job["state"]) in PRINTABLE:
        detail = f"{reason}, again and again. Check the disk of the data directory, then retry the job"
        advance_job(tx, job, JobSignal.FAIL, reason=detail, failure={"code": "file_lost", "detail": detail})
        raise_attention(tx, job["order_id"], "job_failed", detail, jobId=job["id"])
    tx.wake("jobs")


def quarantine(tx: Tx, printer_id: str, reason: str) -> None:
    """Take a printer out until a person enables it again."""
    change(tx, t.printers, get(tx.connection, t.printers, printer_id), quarantined=reason)
    emit(tx, "printer.attention", printerId=printer_id, code="quarantined", detail=reason)
    tx.wake("printers")


def foreign_print(tx: Tx, printer_id: str, file: str | None) -> None:
    """Something that farmd did not start is or was on the machine: whatever lies there is not ours to print on."""
    _note_stranger(tx, printer_id, file)
    printer = get(tx.connection, t.printers, printer_id)
    note = f"{file or 'a print'} was started at the machine"
    if printer["bed"] != Bed.UNKNOWN or printer["bed_note"] != note:
        set_bed(tx, printer_id, Bed.UNKNOWN, note)
        emit(tx, "printer.foreign_print", printerId=printer_id, file=file)


def leftover(tx: Tx, printer_id: str, file: str | None, *, watched: bool) -> None:
    """A print that no attempt answers for has ended, and its part may lie on a bed that is called clear. One whose end was not
    `watched` is doubted once: after that it is the same old file that still stands on the display."""
    known = find(tx.connection, t.meta, f"stranger:{printer_id}")
    if not watched and known is not None and known["value"] == file:
        return
    _note_stranger(tx, printer_id, file)
    if get(tx.connection, t.printers, printer_id)["bed"] == Bed.CLEAR:
        foreign_print(tx, printer_id, file)


def _note_stranger(tx: Tx, printer_id: str, file: str | None) -> None:
    """Remember, over restarts, which file of a stranger was last seen on a machine; None once we print there again."""
    key, value = f"stranger:{printer_id}", file or ""
    noted = find(tx.connection, t.meta, key)
    if noted is None:
        add(tx, t.meta, key=key, value=value)
    elif noted["value"] != value:
        change(tx, t.meta, noted, value=value)


def doubt_bed(tx: Tx, printer_id: str, note: str) -> None:
    """What was confirmed may have been confirmed too early."""
    if get(tx.connection, t.printers, printer_id)["bed"] == Bed.CLEAR:
        set_bed(tx, printer_id, Bed.UNKNOWN, note)


def abandoned(tx: Tx, printer_ids: Collection[str]) -> None:
    """What was under way on printers that are in the configuration no more: not started goes elsewhere, started is in doubt."""
    for attempt in tx.connection.execute(select(t.attempts).where(t.attempts.c.state.in_(ATTEMPT_LIVE))).mappings().all():
        if attempt["printer_id"] in printer_ids:
            continue
        reason = f"{attempt['printer_id']} was taken out of the configuration"
        if AttemptState(attempt["state"]) in ATTEMPT_BEFORE_START:
            failed(tx, attempt, reason, blame_plate=False)
        else:
            lost(tx, attempt, reason)


def surrendered(tx: Tx, attempt: Row, reason: str) -> None:
    """Nothing was started and the printer is somebody else's now."""
    set_bed(tx, attempt["printer_id"], Bed.UNKNOWN, reason)
    failed(tx, attempt, reason, blame_plate=False)


def _end(tx: Tx, attempt: Row, signal: AttemptSignal, reason: str) -> Row:
    if attempt["start_sent_at"] and AttemptState(attempt["state"]) is not AttemptState.UPLOADED:
        printer = get(tx.connection, t.printers, attempt["printer_id"])
        if printer["bed"] != Bed.UNKNOWN and AttemptState(attempt["state"]) is not AttemptState.UNKNOWN:
            set_bed(tx, attempt["printer_id"], Bed.OCCUPIED, f"{attempt['id']} ended early: {reason}")
    clear_attention(tx, attempt["order_id"], "attempt_unknown", attemptId=attempt["id"])
    return advance_attempt(tx, attempt, signal, reason=reason, ended_at=tx.world.now(), wish="")


def _return_units(tx: Tx, attempt: Row) -> tuple[Row, Row]:
    job = get(tx.connection, t.jobs, attempt["job_id"])
    if attempt["started_at"]:
        job = change(tx, t.jobs, job, printing=job["printing"] - attempt["copies"], waiting=job["waiting"] + attempt["copies"])
    tx.wake("jobs")
    return get(tx.connection, t.plates, attempt["plate_id"]), job


def _waiting_or_dropped(job: Row) -> str:
    return "DROPPED" if JobState(job["state"]) is JobState.CANCELLED else "WAITING"


def _forgive_printer(tx: Tx, printer_id: str) -> None:
    printer = get(tx.connection, t.printers, printer_id)
    if printer["failures_in_row"]:
        change(tx, t.printers, printer, failures_in_row=0, last_job_id=None)
    forgive_storage(tx, printer_id)


def _blame_printer(tx: Tx, attempt: Row, reason: str) -> None:
    """A printer that fails two different jobs in a row is taken out until a person enables it again."""
    printer = find(tx.connection, t.printers, attempt["printer_id"])
    if printer is None:
        return
    other_job = printer["last_job_id"] not in (None, attempt["job_id"])
    count = printer["failures_in_row"] + 1
    if other_job and count >= QUARANTINE_AFTER and not printer["quarantined"]:
        quarantine(tx, printer["id"], f"failed {count} prints of different jobs in a row, last: {reason}; mend it and enable it")
        printer = get(tx.connection, t.printers, printer["id"])
    change(tx, t.printers, printer, failures_in_row=count, last_job_id=attempt["job_id"])
