"""Why a job is not printing yet: for every printer the rules that keep it off, or its place in that printer's queue.

The answers come from `domain.dispatch`, from the same facts and by the same rules the dispatcher decides on; nothing is told here
that does not decide there.
"""

from collections import Counter
from datetime import datetime
from typing import Any

from farmd.domain.dispatch import PlateView, PrinterView, Refusal, misfits, place_in_queue, refusals, relaxed
from farmd.domain.lifecycle import AttemptState, JobState
from farmd.fleet.offers import plate_views, printer_views
from farmd.fleet.registry import Registry
from farmd.store import tables as t
from farmd.store.rows import Row, get
from farmd.store.work import units_without_plate
from farmd.store.work_lists import Connection, attempts_of

Waits = dict[str, str]
_SHAPE = frozenset({"volume", "profile", "nozzle", "not_sliced"})
_FILAMENT = frozenset({"material", "color", "spool"})


def why(connection: Connection, registry: Registry, job_id: str, now: datetime) -> dict[str, Any]:
    """What a job waits for, in one sentence and printer by printer. Raises `Missing`."""
    job = get(connection, t.jobs, job_id)
    plates = plate_views(connection, now)
    mine = [plate for plate in plates if plate.job_id == job_id]
    printers = printer_views(connection, registry)
    mine = [relaxed(plate, printers) for plate in mine]
    verdicts = [_verdict(printer, mine, plates) for printer in printers] if mine else []
    waits = _waits(job) or _for_money(connection, job) or _for_people(connection, job) or _for_printers(connection, job, verdicts)
    return {
        "jobId": job_id,
        "state": job["state"],
        "waitsFor": waits,
        "summary": waits["detail"],
        "printers": verdicts,
    }


def _verdict(printer: PrinterView, mine: list[PlateView], others: list[PlateView]) -> dict[str, Any]:
    """The best this printer can do for any of the job's waiting plates."""
    plate = min(mine, key=lambda one: len(refusals(one, printer)))
    found = refusals(plate, printer)
    verdict: dict[str, Any] = {"printerId": printer.id, "rules": [_rule(refusal) for refusal in found]}
    if not misfits(plate, printer):
        verdict["position"] = place_in_queue(plate, others, printer)
    return verdict


def _rule(refusal: Refusal) -> dict[str, str]:
    return {"rule": refusal.rule, "detail": refusal.detail}


def _waits(job: Row) -> Waits | None:
    """What the job's own row says."""
    if job["waits_for"]:
        return {"code": job["waits_for"]["code"], "detail": job["waits_for"]["detail"]}
    match JobState(job["state"]):
        case JobState.FAILED:
            reason = (job["failure"] or {}).get("detail", "it failed")
            return {"code": "operator", "detail": f"It waits for an operator to retry or cancel it: {reason}"}
        case JobState.READY:
            return {"code": "nothing", "detail": f"It is finished: all {job['ordered']} unit(s) are good"}
        case JobState.CANCELLED:
            return {"code": "nothing", "detail": "It is cancelled and will not be printed"}
        case JobState.CREATED | JobState.VALIDATING:
            return {"code": "model", "detail": "Its model is about to be validated; no printer is offered it before it is sliced"}
        case JobState.SLICING:
            return {"code": "slicer", "detail": "The slicer is at work on it; no printer is offered it before that"}
    return None


def _for_money(connection: Connection, job: Row) -> Waits | None:
    """Nothing of an order is started while its payment is in doubt."""
    match get(connection, t.orders, job["order_id"])["hold"]:
        case "capture":
            return {"code": "payment", "detail": "Its payment is collected as soon as every job of the order is sliced"}
        case "dispute" | "review" as hold:
            why = "The customer disputes the payment" if hold == "dispute" else "Another amount was paid than was asked for"
            detail = f"{why}; POST /api/orders/{job['order_id']}/release makes it all the same"
            return {"code": "payment", "detail": detail}
    return None


def _for_people(connection: Connection, job: Row) -> Waits | None:
    """A lost print or a bench of unfinished units comes before any printer."""
    for attempt in attempts_of(connection, [job["id"]])[job["id"]]:
        if AttemptState(attempt["state"]) is AttemptState.UNKNOWN:
            detail = f"Nobody can tell how {attempt['id']} on {attempt['printer_id']} ended; look there, then resolve the attempt"
            return {"code": "attempt_unknown", "detail": detail}
    if JobState(job["state"]) is not JobState.POST_PROCESSING:
        return None
    heaps = [f"{count} at {step!r}" for step, count in zip(job["steps"], job["at_step"], strict=True) if count]
    return {"code": "post_process", "detail": f"All units are printed; an operator has to finish {', '.join(heaps)}"}


def _for_printers(connection: Connection, job: Row, verdicts: list[dict[str, Any]]) -> Waits:
    free = sorted((each["position"], each["printerId"]) for each in verdicts if not each["rules"])
    if free:
        position, printer_id = free[0]
        return {"code": "dispatch", "detail": f"It can start on {printer_id} now and is number {position} there"}
    if verdicts:
        return _kept_off(verdicts)
    running = [a for a in attempts_of(connection, [job["id"]])[job["id"]] if AttemptState(a["state"]) is not AttemptState.UNKNOWN]
    working = [f"{a['printer_id']} ({a['state']})" for a in running if a["ended_at"] is None]
    if working:
        return {"code": "printing", "detail": f"It is on {', '.join(working)}"}
    if units_without_plate(connection, job["id"]) > 0:
        return {"code": "replan", "detail": "Units to be printed again are waiting for a plate to be cut"}
    return {"code": "printer", "detail": "No printer is configured that could take it"}


def _kept_off(verdicts: list[dict[str, Any]]) -> Waits:
    """Nobody takes it now: name the printer nearest to it and what is in the way, or say that no printer ever will."""
    fitting = [each for each in verdicts if "position" in each]
    if fitting:
        nearest = min(fitting, key=lambda each: (len(each["rules"]), each["position"]))
        words = "; ".join(rule["detail"] for rule in nearest["rules"])
        return {"code": "printer", "detail": f"It waits for {nearest['printerId']}: {words}"}
    lasting = [[rule for rule in each["rules"] if rule["rule"] in _SHAPE | _FILAMENT] for each in verdicts]
    makers = [found for found in lasting if not any(rule["rule"] in _SHAPE for rule in found)]
    told = Counter(rule["detail"] for found in makers or lasting for rule in found).most_common(1)[0][0]
    if makers:
        return {"code": "filament", "detail": f"No printer that could make it has the right filament loaded: {told}"}
    return {"code": "no_printer", "detail": f"No printer of this farm can make it: {told}"}
