"""Jobs and attempts as JSON: the rows with what the machines show at this moment merged in.

A list costs a fixed number of queries. `etaAt` is told only once nothing of the job waits; before that it
would be a guess.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from farmd.domain.lifecycle import ATTEMPT_UNSETTLED, AttemptState, JobState
from farmd.fleet.panel import eta, progress
from farmd.fleet.registry import Registry
from farmd.store.rows import Row
from farmd.store.views import iso, units
from farmd.store.work_lists import Connection, attempts_of, history_of, plates_of


def job_views(connection: Connection, registry: Registry, jobs: Iterable[Row], now: datetime) -> list[dict[str, Any]]:
    """Jobs in full but for their history."""
    jobs = list(jobs)
    ids = [job["id"] for job in jobs]
    plates, attempts = plates_of(connection, ids), attempts_of(connection, ids)
    return [_job(job, plates[job["id"]], attempts[job["id"]], registry, now) for job in jobs]


def job_view(connection: Connection, registry: Registry, job: Row, now: datetime) -> dict[str, Any]:
    """One job in full with every move it and its attempts ever made."""
    (view,) = job_views(connection, registry, [job], now)
    return view | {"history": [_move(move) for move in history_of(connection, job["id"])]}


def show_live(connection: Connection, registry: Registry, orders: Iterable[dict[str, Any]], now: datetime) -> None:
    """Put what the machines show now into the jobs of orders as `store.views` wrote them: `progress` and `etaAt`."""
    jobs = [job for order in orders for job in order["jobs"] if job["attempts"]]
    running = attempts_of(connection, [job["id"] for job in jobs])
    for job in jobs:
        facts = job["units"] | {"ordered": job["quantity"], "state": job["state"]}
        live = [attempt for attempt in running[job["id"]] if AttemptState(attempt["state"]) in ATTEMPT_UNSETTLED]
        job["progress"] = _progress(facts, live, registry)
        job["etaAt"] = iso(_eta(facts, live, registry, now))


def attempt_view(attempt: Row) -> dict[str, Any]:
    """One plate on one printer, once."""
    return {
        "id": attempt["id"],
        "printerId": attempt["printer_id"],
        "plateId": attempt["plate_id"],
        "jobId": attempt["job_id"],
        "orderId": attempt["order_id"],
        "copies": attempt["copies"],
        "slot": attempt["slot"],
        "state": attempt["state"],
        "startedAt": iso(attempt["started_at"]),
        "endedAt": iso(attempt["ended_at"]),
        "reason": attempt["reason"],
        "cancelWanted": attempt["cancel_wanted"],
        "createdAt": iso(attempt["created_at"]),
    }


def _job(job: Row, plates: list[Row], attempts: list[Row], registry: Registry, now: datetime) -> dict[str, Any]:
    running = [attempt for attempt in attempts if AttemptState(attempt["state"]) in ATTEMPT_UNSETTLED]
    kept = [_plate(plate) for plate in plates if plate["state"] != "DROPPED"]
    return {
        "id": job["id"],
        "orderId": job["order_id"],
        "lineItemId": job["line_item_id"],
        "skuId": job["sku_id"],
        "state": job["state"],
        "quantity": job["ordered"],
        "units": units(job),
        "material": job["material"],
        "color": job["color"],
        "options": job["options"],
        "plates": kept,
        "attempts": [attempt_view(attempt) for attempt in attempts],
        "postProcess": [{"step": step, "waiting": count} for step, count in zip(job["steps"], job["at_step"], strict=True)],
        "estimates": _estimates(kept),
        "progress": _progress(job, running, registry),
        "etaAt": iso(_eta(job, running, registry, now)),
        "waitsFor": job["waits_for"],
        "failure": job["failure"],
        "dueAt": iso(job["due_at"]),
        "createdAt": iso(job["created_at"]),
        "updatedAt": iso(job["updated_at"]),
    }


def _plate(plate: Row) -> dict[str, Any]:
    return {
        "id": plate["id"],
        "copies": plate["copies"],
        "state": plate["state"],
        "failures": plate["failures"],
        "estimate": _estimate(plate["artifacts"]),
    }


def _estimate(artifacts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The slicer's figures on the fastest kind of printer the plate was cut for."""
    best = min(artifacts.values(), key=lambda artifact: artifact["seconds"], default=None)
    return None if best is None else {"seconds": best["seconds"], "grams": best.get("grams")}


def _estimates(plates: list[dict[str, Any]]) -> dict[str, Any] | None:
    known = [plate["estimate"] for plate in plates if plate["estimate"]]
    if not known:
        return None
    return {
        "seconds": sum(estimate["seconds"] for estimate in known),
        "grams": round(sum(estimate["grams"] or 0 for estimate in known), 2),
    }


def _progress(job: Mapping[Any, Any], running: list[Row], registry: Registry) -> float:
    """The share of the ordered units that is printed, with the running plates counted by how far they are."""
    moving = sum(
        attempt["copies"] * progress(attempt, registry.live(attempt["printer_id"])) for attempt in running if attempt["started_at"]
    )
    made = float(job["printed"] + job["good"] + moving)
    return round(min(made / int(job["ordered"]), 1.0), 4)


def _eta(job: Mapping[Any, Any], running: list[Row], registry: Registry, now: datetime) -> datetime | None:
    covered = sum(attempt["copies"] for attempt in running if not attempt["started_at"])
    if not running or job["waiting"] > covered or JobState(job["state"]) is JobState.CANCELLED:
        return None
    ends = [eta(attempt, registry.live(attempt["printer_id"]), now) for attempt in running]
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _move(move: Row) -> dict[str, Any]:
    return {
        "at": iso(move["at"]),
        "from": move["before"],
        "to": move["after"],
        "signal": move["signal"],
        "reason": move["reason"],
        "entity": move["entity_id"],
    }
