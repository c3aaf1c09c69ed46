"""What OctoPrint answers when it is asked how things stand.

/api/job lags behind what the machine does by some hundredths of a second and may contradict /api/printer: clients must
cope, so this must not be kinder.
"""

from collections.abc import Callable
from typing import Any

from drivers.virtual import states
from drivers.virtual.machine import Machine
from drivers.virtual.states import State

_NO_PROGRESS = dict.fromkeys(("completion", "filepos", "printTime", "printTimeLeft", "printTimeLeftOrigin"))


def state(machine: Machine) -> dict[str, Any]:
    return {
        "text": states.text(machine.state, machine.error),
        "flags": states.flags(machine.state, machine.error),
        "error": machine.error,
    }


def job(machine: Machine) -> dict[str, Any]:
    """The `job` object; before the first selection it lacks keys it has ever after."""
    file = machine.selected
    if file is None:
        empty: dict[str, Any] = dict.fromkeys(("name", "path", "size", "origin", "date"))
        rest = {"estimatedPrintTime": None, "lastPrintTime": None, "user": None}
        if machine.touched:
            return rest | {"file": empty | {"display": None}, "filament": None, "averagePrintTime": None}
        return rest | {"file": empty, "filament": {"length": None, "volume": None}}
    about = {"name": file.name, "path": file.path, "display": file.display, "origin": "local"}
    durations = file.durations
    return {
        "file": about | {"size": file.size, "date": file.date},
        "estimatedPrintTime": None,
        "averagePrintTime": sum(durations) / len(durations) if durations else None,
        "lastPrintTime": durations[-1] if durations else None,
        "filament": None,
        "user": machine.user,
    }


def progress(machine: Machine) -> dict[str, Any]:
    """Completion in percent, file position in bytes, times in whole seconds."""
    printing = machine.job
    if printing is None:
        return dict(machine.result or _NO_PROGRESS)
    if machine.state is State.CANCELLING:
        return dict(_NO_PROGRESS)
    position = int(printing.file.size * printing.clock.fraction(machine.now))
    elapsed = int(printing.clock.elapsed(machine.now))
    return {
        "completion": 100 * position / printing.file.size if printing.file.size else 0,
        "filepos": position,
        "printTime": elapsed,
        "printTimeLeft": int(printing.clock.left(machine.now)) if elapsed else None,
        "printTimeLeftOrigin": "linear",
    }


def temperatures(machine: Machine) -> dict[str, dict[str, float]]:
    now = machine.now
    return {name: {"actual": heater.actual(now), "target": heater.target} for name, heater in machine.heaters.items()}


def printer(machine: Machine, exclude: frozenset[str]) -> dict[str, Any]:
    heaters = {name: values | {"offset": 0} for name, values in temperatures(machine).items()}
    sections = {"temperature": heaters, "sd": {"ready": True}, "state": state(machine)}
    return {name: section for name, section in sections.items() if name not in exclude}


def current(machine: Machine, wall: float) -> dict[str, Any]:
    """What the push socket repeats while things move."""
    file = machine.selected
    busy = [{"origin": "local", "path": file.path}] if file is not None and machine.state.busy else []
    reading = temperatures(machine) if machine.state.operational else None
    return {
        "state": state(machine),
        "job": job(machine),
        "progress": progress(machine),
        "currentZ": None,
        "offsets": {},
        "resends": {"count": 0, "transmitted": 0, "ratio": 0},
        "serverTime": wall,
        "temps": [{"time": int(wall)} | reading] if reading else [],
        "busyFiles": busy,
        "markings": [],
        "logs": [],
        "messages": [],
    }


class JobBoard:
    """The answer to GET /api/job: for `lag` seconds after a change it still shows what was before."""

    def __init__(self, lag: float, clock: Callable[[], float]) -> None:
        self._lag, self._clock = lag, clock
        self._before: dict[str, Any] = {}
        self._until = clock()

    def changing(self, machine: Machine) -> None:
        """Keep what is on show; several changes in a row show what was before the first."""
        if self._clock() >= self._until:
            self._before = self._report(machine)
        self._until = self._clock() + self._lag

    def show(self, machine: Machine) -> dict[str, Any]:
        return self._before if self._clock() < self._until else self._report(machine)

    def _report(self, machine: Machine) -> dict[str, Any]:
        report = {"job": job(machine), "progress": progress(machine), "state": states.text(machine.state, machine.error)}
        return report | {"error": machine.error} if machine.error else report
