"""Orders, jobs, plates and prints for tests, written by the store's own functions in one transaction each."""

from datetime import timedelta
from typing import Any

from farmd.config import NO_TAX, PrinterSettings
from farmd.domain.lifecycle import AttemptSignal, JobSignal
from farmd.domain.pricing import PricedLine, quote
from farmd.fleet.offers import class_of
from farmd.payments.manual import ManualPayments
from farmd.store import printing, sales
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.making import NewPlate, queue
from farmd.store.rows import Row, add, find, get
from farmd.store.transitions import advance_attempt, advance_job
from farmd.store.work_lists import attempts_of, job_page, plates_of

BLACK = "#1a1a1a"
CLASS = class_of(PrinterSettings("any", "octoprint", {})).key


def printer(printer_id: str, **changes: Any) -> PrinterSettings:
    """A configured printer loaded with black PLA, with secrets that must never be shown."""
    secret = {"url": "http://user:hunter2@127.0.0.1:5000", "api_key": "hunter2"}
    return PrinterSettings(
        **({"id": printer_id, "driver": "octoprint", "options": secret, "material": "PLA", "color": BLACK} | changes)
    )


def add_sku(tx: Tx, sku_id: str = "cube", **changes: Any) -> None:
    if find(tx.connection, t.skus, sku_id) is None:
        now = tx.world.now()
        known = {
            "id": sku_id,
            "name": sku_id,
            "unit_price": 1250,
            "material": "PLA",
            "color": BLACK,
            "created_at": now,
            "updated_at": now,
        }
        defaults = {"options": [], "quality_tiers": {}, "post_process": [], "active": True, "version": 1}
        add(tx, t.skus, **(defaults | known | changes))


def place_paid(tx: Tx, *quantities: int, steps: tuple[str, ...] = (), customer: str = "cust-uuid", **sku: Any) -> list[str]:
    """A paid order with one line per quantity; returns its jobs' ids."""
    sku_id = f"part-{'-'.join(steps)}-{sku.get('color', '')}"
    add_sku(tx, sku_id, post_process=list(steps), **sku)
    quoted = quote([PricedLine(sku_id, quantity, 1250, {}) for quantity in quantities], 0, NO_TAX)
    due = tx.world.now() + timedelta(days=3)
    order_id = sales.insert_order(tx, sales.NewOrder(customer, "USD", quoted, {"name": "Jane Smith"}, None, due))
    order = get(tx.connection, t.orders, order_id)
    ManualPayments().accept(tx, order, "cash")
    rows, _ = job_page(tx.connection, order_id=order_id, limit=100)
    return sorted(row["id"] for row in rows)


def plate(copies: int, seconds: int = 600, class_key: str = CLASS) -> NewPlate:
    artifact = {"key": f"sliced-{copies}", "seconds": seconds, "grams": 4.5 * copies}
    return NewPlate(copies, (20.0, 20.0, 20.0), {class_key: artifact})


def slice_job(tx: Tx, job_id: str, *copies: int, **changes: Any) -> list[str]:
    """Take a fresh job to the queue with plates of these sizes; returns the plates' ids."""
    for signal in (JobSignal.VALIDATE, JobSignal.SLICE):
        advance_job(tx, get(tx.connection, t.jobs, job_id), signal)
    queue(tx, job_id, [plate(count, **changes) for count in copies])
    return [row["id"] for row in plates_of(tx.connection, [job_id])[job_id]]


def queued(tx: Tx, *copies: int, **order: Any) -> str:
    """A paid order of one job, sliced into these plates; returns the job's id."""
    (job_id,) = place_paid(tx, sum(copies), **order)
    slice_job(tx, job_id, *copies)
    return job_id


def begin(tx: Tx, plate_id: str, printer_id: str, *, seen: bool = True) -> str:
    """Assign a plate and start it; `seen`: the machine was seen printing it. Returns the attempt's id."""
    printing.set_bed(tx, printer_id, printing.Bed.CLEAR, None)
    attempt_id = printing.assign(tx, plate_id, printer_id, CLASS, tx.world.new_id("att"))
    for signal in (AttemptSignal.UPLOAD, AttemptSignal.UPLOADED):
        advance_attempt(tx, get(tx.connection, t.attempts, attempt_id), signal)
    attempt = printing.start_sent(tx, get(tx.connection, t.attempts, attempt_id))
    if seen:
        printing.seen_printing(tx, attempt, paused=False)
    return attempt_id


def end(tx: Tx, attempt_id: str, *, well: bool = True) -> None:
    attempt = get(tx.connection, t.attempts, attempt_id)
    if well:
        printing.succeeded(tx, attempt, ejected=False)
    else:
        printing.failed(tx, attempt, "the part came loose")


def print_all(tx: Tx, job_id: str, printer_id: str) -> None:
    """Print every waiting plate of a job, one after another."""
    for row in plates_of(tx.connection, [job_id])[job_id]:
        if row["state"] == "WAITING":
            end(tx, begin(tx, row["id"], printer_id))


def job(tx: Tx, job_id: str) -> Row:
    return get(tx.connection, t.jobs, job_id)


def last_attempt(tx: Tx, job_id: str) -> Row:
    return attempts_of(tx.connection, [job_id])[job_id][-1]
