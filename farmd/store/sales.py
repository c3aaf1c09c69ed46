"""Orders, their lines and jobs as rows: placed, paid, cancelled, shipped, refunded.

The use cases in `orders` and `payments` decide; this module writes what they decided, in the caller's transaction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from farmd.domain.lifecycle import ATTEMPT_UNSETTLED, JobSignal, JobState, OrderStatus, PaymentStatus
from farmd.domain.pricing import Quote
from farmd.domain.till import RefundState
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.outbox import emit
from farmd.store.rows import Row, add, change, get
from farmd.store.transitions import advance_job, announce, clear_attention, refold, touch_order


@dataclass(frozen=True, slots=True)
class NewOrder:
    """Everything about an order that is known when it is placed."""

    customer_id: str
    currency: str
    quote: Quote
    address: Mapping[str, Any]
    notes: str | None
    due_at: datetime


def insert_order(tx: Tx, new: NewOrder) -> str:
    """Write the order with its lines and `order.created`; returns its id."""
    order_id, now, quote = tx.world.new_id("ord"), tx.world.now(), new.quote
    order = add(
        tx,
        t.orders,
        id=order_id,
        customer_id=new.customer_id,
        status=OrderStatus.PENDING_PAYMENT.value,
        payment_status=PaymentStatus.UNPAID.value,
        currency=new.currency,
        subtotal=quote.subtotal,
        shipping=quote.shipping,
        tax=quote.tax,
        total=quote.total,
        tax_rate=str(quote.rule.rate),
        tax_base=quote.rule.base,
        tax_rounding=quote.rule.rounding,
        tax_round_at=quote.rule.round_at,
        tax_included=quote.rule.included,
        tax_rule=quote.rule.name,
        shipping_tax=quote.shipping_tax,
        shipping_method=quote.method,
        captured=0,
        refunded=0,
        address=dict(new.address),
        notes=new.notes,
        attention=[],
        due_at=new.due_at,
        version=1,
        created_at=now,
        updated_at=now,
    )
    lines = [
        {
            "id": tx.world.new_id("li"),
            "order_id": order_id,
            "position": position,
            "sku_id": line.sku_id,
            "quantity": line.quantity,
            "unit_price": line.unit_price,
            "total": line.total,
            "tax": line.tax,
            "options": dict(line.options),
        }
        for position, line in enumerate(quote.lines)
    ]
    tx.connection.execute(insert(t.line_items), lines)
    announce(tx, order, previous=None)
    return order_id


def record_payment(tx: Tx, order: Row, reference: str | None, **money: Any) -> Row:
    """The money is in, or promised for certain: the order is paid and each line becomes a job, in one commit. `money` are the
    order's columns that say how it is paid. Returns the order as it is then."""
    order = change(tx, t.orders, order, paid_at=tx.world.now(), payment_reference=reference, **money)
    lines = tx.connection.execute(
        select(t.line_items).where(t.line_items.c.order_id == order["id"]).order_by(t.line_items.c.position)
    )
    made = [(_insert_job(tx, order, line), line) for line in lines.mappings().all()]
    order = refold(tx, order)
    for job_id, line in made:
        emit(tx, "job.created", order_id=order["id"], jobId=job_id, lineItemId=line["id"], quantity=line["quantity"])
    tx.wake("jobs")
    return order


def _insert_job(tx: Tx, order: Row, line: Row) -> str:
    sku, now = get(tx.connection, t.skus, line["sku_id"]), tx.world.now()
    job_id = tx.world.new_id("job")
    add(
        tx,
        t.jobs,
        id=job_id,
        order_id=order["id"],
        line_item_id=line["id"],
        sku_id=sku["id"],
        state=JobState.CREATED.value,
        model_sha=sku["model_sha"],
        material=sku["material"],
        color=line["options"].get("color", sku["color"]),
        profile=sku["profile"],
        options=line["options"],
        steps=sku["post_process"],
        at_step=[0] * len(sku["post_process"]),
        ordered=line["quantity"],
        waiting=line["quantity"],
        printing=0,
        printed=0,
        good=0,
        scrapped=0,
        due_at=order["due_at"],
        version=1,
        created_at=now,
        updated_at=now,
    )
    return job_id


def lines_with_names(connection: Connection, order_id: str) -> list[tuple[Row, str]]:
    """The lines of an order, each with the name of its SKU, in the order they were written."""
    named = select(t.line_items, t.skus.c.name).join(t.skus, t.skus.c.id == t.line_items.c.sku_id)
    rows = connection.execute(named.where(t.line_items.c.order_id == order_id).order_by(t.line_items.c.position))
    return [(row, row["name"]) for row in rows.mappings()]


def jobs_of(connection: Connection, order_id: str) -> list[Row]:
    """The jobs of an order."""
    return list(connection.execute(select(t.jobs).where(t.jobs.c.order_id == order_id)).mappings())


def cancel_job(tx: Tx, job: Row, reason: str) -> None:
    """Take a job back: what waits is dropped, what prints is wished stopped. The printers follow in their own time."""
    if JobState(job["state"]) is JobState.CANCELLED:
        return
    _stop_work(tx, job)
    advance_job(tx, get(tx.connection, t.jobs, job["id"]), JobSignal.CANCEL, reason=reason)
    clear_attention(tx, job["order_id"], jobId=job["id"])


def _stop_work(tx: Tx, job: Row) -> None:
    attempts = select(t.attempts).where(t.attempts.c.job_id == job["id"], t.attempts.c.state.in_(ATTEMPT_UNSETTLED))
    for attempt in tx.connection.execute(attempts).mappings().all():
        if not attempt["cancel_wanted"]:
            change(tx, t.attempts, attempt, cancel_wanted=True)
    plates = select(t.plates).where(t.plates.c.job_id == job["id"], t.plates.c.state == "WAITING")
    for plate in tx.connection.execute(plates).mappings().all():
        change(tx, t.plates, plate, state="DROPPED")
    tx.wake("attempts")


def record_cancellation(tx: Tx, order: Row, reason: str, give_back: Callable[[Tx, str], None]) -> None:
    """The order is cancelled from this commit on: its jobs are taken back, and `give_back(tx, order_id)` writes down what has to
    become of the money. All of it stands in the rows before the first event tells of it."""
    change(tx, t.orders, order, cancelled_at=tx.world.now(), cancel_reason=reason)
    jobs = jobs_of(tx.connection, order["id"])
    for job in jobs:
        if JobState(job["state"]) is not JobState.CANCELLED:
            _stop_work(tx, job)
    give_back(tx, order["id"])
    for job in jobs:
        cancel_job(tx, get(tx.connection, t.jobs, job["id"]), reason)
    refold(tx, get(tx.connection, t.orders, order["id"]))


def insert_refund(
    tx: Tx,
    order: Row,
    amount: int,
    *,
    cause: str,
    reason: str | None,
    state: RefundState = RefundState.PENDING,
    **more: Any,
) -> str:
    """A refund that is wanted; the money has not moved yet."""
    refund_id = tx.world.new_id("rf")
    add(
        tx,
        t.refunds,
        id=refund_id,
        order_id=order["id"],
        amount=amount,
        reason=reason,
        cause=cause,
        state=state.value,
        version=1,
        created_at=tx.world.now(),
        **more,
    )
    return refund_id


def record_shipment(tx: Tx, order: Row, carrier: str | None, tracking_number: str) -> None:
    """Handed over, with a tracking number."""
    touch_order(tx, order, shipped_at=tx.world.now(), carrier=carrier, tracking_number=tracking_number)


def fold_money(tx: Tx, order: Row, **money: Any) -> Row:
    """Write what an order's money has come to, if that is anything new, and return the order as it is then. The status follows,
    except where a cancellation is being written: its own end tells of it."""
    changes = {key: value for key, value in money.items() if order[key] != value}
    if changes:
        order = change(tx, t.orders, order, **changes)
    told = order["cancelled_at"] is None or order["status"] == OrderStatus.CANCELLED
    return refold(tx, order) if told else order
