"""An order and its jobs as the outside sees them, with money still in minor units.

The API turns the amounts into decimals, events send them as they are; the keys are the order API's own.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from farmd.domain.lifecycle import ATTEMPT_LIVE, ATTEMPT_UNSETTLED, AttemptState
from farmd.domain.till import RefundState
from farmd.store import tables as t
from farmd.store.rows import Row, get

_FULFILLED = {"shipped": "shipped", "ready": "fulfilled", "cancelled": "cancelled"}


def iso(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with a Z, to the millisecond."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_seconds(moment: datetime | None) -> str | None:
    """The order API's own notation: whole seconds, as in `2024-01-15T10:00:00Z`."""
    return None if moment is None else moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def order_view(connection: Connection, order_id: str) -> dict[str, Any]:
    """One order in full. Raises `Missing`."""
    return order_views(connection, [get(connection, t.orders, order_id)])[0]


def order_views(connection: Connection, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Many orders in full with a fixed number of queries."""
    rows = list(rows)
    ids = [row["id"] for row in rows]
    lines = _grouped(connection, t.line_items, ids, t.line_items.c.position)
    jobs = _grouped(connection, t.jobs, ids, t.jobs.c.id)
    made = [order_id for order_id in ids if jobs[order_id]]
    attempts = _grouped(connection, t.attempts, made, t.attempts.c.created_at)
    cancelled = [row["id"] for row in rows if row["cancelled_at"] is not None]
    refunds = _grouped(connection, t.refunds, cancelled, t.refunds.c.created_at)  # shown nowhere else
    parts = (lines, jobs, attempts, refunds)
    return [_order(row, *(part.get(row["id"], []) for part in parts)) for row in rows]


def _grouped(connection: Connection, table: Any, order_ids: list[str], by: Any) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {order_id: [] for order_id in order_ids}
    if not order_ids:
        return groups
    for row in connection.execute(select(table).where(table.c.order_id.in_(order_ids)).order_by(by)).mappings():
        groups[row["order_id"]].append(row)
    return groups


def _order(row: Row, lines: list[Row], jobs: list[Row], attempts: list[Row], refunds: list[Row]) -> dict[str, Any]:
    by_line = {job["line_item_id"]: job["id"] for job in jobs}
    return {
        "id": row["id"],
        "status": row["status"],
        "customerId": row["customer_id"],
        "lineItems": [
            {
                "id": line["id"],
                "skuId": line["sku_id"],
                "quantity": line["quantity"],
                "unitPrice": line["unit_price"],
                "total": line["total"],
                "tax": line["tax"],
                "options": line["options"],
                "jobId": by_line.get(line["id"]),
            }
            for line in lines
        ],
        "subtotal": row["subtotal"],
        "shipping": row["shipping"],
        "tax": row["tax"],
        "total": row["total"],
        "currency": row["currency"],
        "taxRate": float(row["tax_rate"]),  # to be shown; nothing is computed with it again
        "taxRule": row["tax_rule"],
        "taxIncluded": row["tax_included"],
        "shippingTax": row["shipping_tax"],
        "shippingMethod": row["shipping_method"],
        "paymentStatus": row["payment_status"],
        "fulfillmentStatus": _FULFILLED.get(row["status"], "unfulfilled"),
        "checkoutUrl": row["checkout_url"],
        "shippingAddress": row["address"],
        "notes": row["notes"],
        "jobs": [job_summary(job, attempts) for job in jobs],
        "attention": row["attention"],
        "authorized": row["authorized"],
        "captured": row["captured"],
        "refunded": row["refunded"],
        "chargedBack": row["charged_back"],
        "hold": row["hold"],
        "shipment": None if row["shipped_at"] is None else _shipment(row),
        "cancellation": None if row["cancelled_at"] is None else _cancellation(row, attempts, refunds),
        "dueAt": iso_seconds(row["due_at"]),
        "paidAt": iso_seconds(row["paid_at"]),
        "createdAt": iso_seconds(row["created_at"]),
        "updatedAt": iso_seconds(row["updated_at"]),
    }


def _shipment(row: Row) -> dict[str, Any]:
    return {"carrier": row["carrier"], "trackingNumber": row["tracking_number"], "at": iso_seconds(row["shipped_at"])}


def _cancellation(row: Row, attempts: list[Row], refunds: list[Row]) -> dict[str, Any]:
    stopping = [attempt for attempt in attempts if attempt["cancel_wanted"]]
    unsettled = any(AttemptState(attempt["state"]) in ATTEMPT_UNSETTLED for attempt in stopping)
    return {
        "reason": row["cancel_reason"],
        "at": iso_seconds(row["cancelled_at"]),
        "printers": "stopping" if unsettled else "stopped" if stopping else "none",
        "refund": _giving_back(row, refunds),
    }


def _giving_back(row: Row, refunds: list[Row]) -> str:
    """How far a cancelled order's money is on its way back; none where there was nothing (more) to give back."""
    states = {RefundState(refund["state"]) for refund in refunds}
    left = row["captured"] - row["charged_back"] - row["refunded"]
    if states & {RefundState.PENDING, RefundState.OWED} or row["authorized"]:
        return "pending"
    if left > 0:
        return "failed" if RefundState.FAILED in states else "pending"
    owed = any(each["cause"] == "cancellation" for each in refunds)
    return "succeeded" if owed and row["refunded"] else "none"


def units(job: Mapping[Any, Any]) -> dict[str, int]:
    """A job's unit ledger."""
    return {name: job[name] for name in ("waiting", "printing", "printed", "good", "scrapped")}


def job_summary(job: Row, attempts: Iterable[Row]) -> dict[str, Any]:
    """A job as it stands inside its order."""
    live = [a for a in attempts if a["job_id"] == job["id"] and AttemptState(a["state"]) in ATTEMPT_LIVE]
    return {
        "id": job["id"],
        "lineItemId": job["line_item_id"],
        "state": job["state"],
        "quantity": job["ordered"],
        "units": units(job),
        "progress": round((job["printed"] + job["good"]) / job["ordered"], 4),
        "etaAt": None,
        "attempts": [attempt["id"] for attempt in live],
    }
