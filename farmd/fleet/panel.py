"""One printer as people see it: its row, its live sight and the attempt it holds, merged for the API and the dashboard.

Never a driver option: what a printer is reached with (addresses, keys, access codes) does not leave the configuration.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from farmd.config import PrinterSettings
from farmd.domain.lifecycle import AttemptState
from farmd.domain.spools import Spool, holds
from farmd.fleet.registry import Live, Registry
from farmd.store.rows import Missing, Row
from farmd.store.views import iso
from farmd.store.work_lists import Connection, attempts_on_printers, printer_rows, unresolved_attempts


def panels(connection: Connection, registry: Registry, now: datetime) -> list[dict[str, Any]]:
    """Every configured printer, in the order of the configuration."""
    rows, holders, lost = printer_rows(connection), attempts_on_printers(connection), unresolved_attempts(connection)
    return [
        _panel(settings, rows.get(key), registry.live(key), holders.get(key), [a for a in lost if a["printer_id"] == key], now)
        for key, settings in registry.settings().items()
    ]


def panel(connection: Connection, registry: Registry, printer_id: str, now: datetime) -> dict[str, Any]:
    """One configured printer. Raises `Missing`."""
    for found in panels(connection, registry, now):
        if found["id"] == printer_id:
            return found
    raise Missing("printer", printer_id)


def eta(attempt: Row, live: Live, now: datetime) -> datetime | None:
    """When a running attempt ends: by the machine's own count if it gives one, else by the slicer's estimate."""
    if live.attempt_id == attempt["id"] and live.seconds_left is not None:
        return now + timedelta(seconds=live.seconds_left)
    if AttemptState(attempt["state"]) is AttemptState.UNKNOWN:
        return None
    begun = attempt["started_at"] or now
    return max(now, begun + timedelta(seconds=attempt["estimate_seconds"]))


def progress(attempt: Row, live: Live) -> float:
    """How far a running attempt is, 0..1; 0 while the machine does not show it."""
    return live.progress or 0.0 if live.attempt_id == attempt["id"] else 0.0


def _panel(
    settings: PrinterSettings, row: Row | None, live: Live, attempt: Row | None, lost: list[Row], now: datetime
) -> dict[str, Any]:
    stored: dict[str, Any] = dict(row) if row else {"bed": "unknown", "enabled": True}
    return {
        "id": settings.id,
        "driver": settings.driver,
        "phase": live.phase if live.connected else "offline",
        "bed": stored["bed"],
        "bedNote": stored.get("bed_note"),
        "enabled": stored["enabled"],
        "quarantined": stored.get("quarantined"),
        "temperatures": {
            name: {"actual": actual, "target": target} for name, (actual, target) in sorted(live.temperatures.items())
        },
        **_filament(stored, live),
        "spools": None if live.spools is None else [_spool(spool) for spool in live.spools],
        "nozzle": settings.nozzle,
        "buildVolume": list(settings.bed),
        "profile": settings.profile,
        "attempt": None if attempt is None else _attempt(attempt, live, now),
        "progress": live.progress,
        "uploading": live.uploading,
        "question": _question(attempt, live),
        "lastSeen": iso(live.last_seen),
        "foreign": live.foreign,
        "file": live.file if live.foreign else None,
        "attention": [*map(dict, live.attention), *_complaints(stored, lost)],
    }


def _filament(stored: dict[str, Any], live: Live) -> dict[str, str | None]:
    """The one filament that stands for all: what a person said unless the machine knows better, and of several spools that one, or
    the first that is known."""
    said = {"material": stored.get("material"), "color": stored.get("color")}
    if live.spools is None or any(holds(spool, said["material"] or "", said["color"] or "") for spool in live.spools):
        return said
    known = next((spool for spool in live.spools if spool.material and spool.color), None)
    return {"material": known.material if known else None, "color": known.color if known else None}


def _spool(spool: Spool) -> dict[str, Any]:
    return {"slot": spool.slot, "material": spool.material, "color": spool.color, "remaining": spool.remaining}


def _attempt(attempt: Row, live: Live, now: datetime) -> dict[str, Any]:
    return {
        "id": attempt["id"],
        "orderId": attempt["order_id"],
        "jobId": attempt["job_id"],
        "state": attempt["state"],
        "progress": progress(attempt, live),
        "etaAt": iso(eta(attempt, live, now)),
        "slot": attempt["slot"],
        "cancelWanted": attempt["cancel_wanted"],
        "wish": attempt["wish"] or None,
    }


def _question(attempt: Row | None, live: Live) -> dict[str, Any] | None:
    """What the machine asks, as soon as it can be answered."""
    if attempt is None or live.question is None or (attempt["id"], attempt["state"]) != (live.attempt_id, AttemptState.PAUSED):
        return None
    return {"text": live.question.text, "choices": list(live.question.choices)}


def _complaints(stored: dict[str, Any], lost: Iterable[Row]) -> list[dict[str, Any]]:
    """What the rows know to be wrong, beside what the machine says of itself."""
    found = [{"code": "quarantined", "detail": stored["quarantined"]}] if stored.get("quarantined") else []
    for attempt in lost:
        what = f"nobody can tell how {attempt['id']} ended: {attempt['reason']}"
        detail = f"{what}. Look at the bed, then resolve it as succeeded or failed"
        found.append({"code": "attempt_unknown", "detail": detail, "attemptId": attempt["id"], "jobId": attempt["job_id"]})
    return found
