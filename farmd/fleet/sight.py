"""From a driver's snapshot to what the farm shows of a printer, and the watchdog over prints that stand still.

Pure but for its memory of the last movement. A stall is told, never acted upon: a printer that heats a bed for ten minutes also
stands still.
"""

from datetime import datetime

from drivers.contract import Phase, Question, Snapshot
from farmd.domain.spools import Spool
from farmd.fleet.registry import Live

STALLED_AFTER = 900.0
"""Seconds without any progress while printing before a person is told."""


class StallWatch:
    """Remembers when a print last moved on."""

    def __init__(self) -> None:
        self._mark: tuple[object, ...] = ()
        self._since = 0.0

    def look(self, snapshot: Snapshot, now: float) -> float | None:
        """Seconds the print has stood still; None when nothing prints. `now` is monotonic."""
        mark = (snapshot.phase, snapshot.token, snapshot.position, snapshot.progress)
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since if snapshot.phase is Phase.PRINTING else None


def sight(snapshot: Snapshot, at: datetime, *, still: float | None, before: Live) -> Live:
    """What is shown of a printer; `before` was shown last."""
    attention = []
    if snapshot.phase is Phase.ERROR:
        attention.append({"code": "printer_error", "detail": snapshot.message or "the printer stopped itself; look at it"})
    elif snapshot.phase is Phase.OFFLINE:
        attention.append({"code": "offline", "detail": snapshot.message or "the printer does not answer"})
    if still is not None and still >= STALLED_AFTER:
        attention.append({"code": "stalled", "detail": f"no progress for {still / 60:.0f} minutes; look at the printer"})
    if snapshot.question is not None:
        attention.append({"code": "question", "detail": _asked(snapshot.question)})
    attention += [{"code": concern.value, "detail": detail} for concern, detail in snapshot.concerns.items()]
    foreign = snapshot.active and snapshot.token is None
    if foreign:
        attention.append({"code": "foreign_print", "detail": f"{snapshot.file or 'a print'} was started at the machine"})
    return Live(
        phase=snapshot.phase.value,
        connected=snapshot.phase is not Phase.OFFLINE,
        attempt_id=snapshot.token if snapshot.active else None,
        foreign=foreign,
        file=snapshot.file,
        progress=snapshot.progress,
        seconds_left=snapshot.seconds_left,
        temperatures={name: (heat.actual, heat.target) for name, heat in snapshot.temperatures.items()},
        message=snapshot.message,
        last_seen=at,
        attention=tuple(attention),
        question=snapshot.question,
        wire=snapshot.wire,
        still=still,
        spools=_spools(snapshot, before),
    )


def _spools(snapshot: Snapshot, before: Live) -> tuple[Spool, ...] | None:
    """What is loaded. Nothing is changed on a spool by a link that is lost."""
    if snapshot.spools is None:
        return before.spools if snapshot.phase is Phase.OFFLINE else None
    return tuple(
        Spool(each.slot, each.material or None, each.color.lower() if each.color else None, each.remaining)
        for each in snapshot.spools
    )


def _asked(question: Question) -> str:
    choices = ", ".join(f"{number} = {words}" for number, words in enumerate(question.choices))
    return f"the printer asks: {question.text}" + (f" ({choices})" if choices else "")
