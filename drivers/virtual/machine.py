"""OctoPrint and the machine on its wire, without the network: what is selected, what prints, what went wrong.

Every command has the effect, the silence and the events of the real one, in the real order. It runs no task of its own:
time comes in through the `World`, so it must be driven from one event loop and never from a thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from drivers.virtual.bed import Bed
from drivers.virtual.files import FileStore, StoredFile
from drivers.virtual.history import Outcome, PrintRecord
from drivers.virtual.motion import Heater, PrintClock
from drivers.virtual.states import State

TIMEOUTS_ERROR = "Too many consecutive timeouts, printer still connected and alive?"


class Handle(Protocol):
    def cancel(self) -> None: ...


@dataclass(frozen=True, slots=True)
class World:
    """What a machine may not make up itself.

    `clock` in seconds, `wall` in seconds since the epoch, `later(delay, call)`; `publish(type, payload)` tells an event,
    `changing` is called right before the state changes.
    """

    clock: Callable[[], float]
    wall: Callable[[], float]
    later: Callable[[float, Callable[[], None]], Handle]
    publish: Callable[[str, Mapping[str, Any] | None], None]
    changing: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds the real one takes for its own business, whatever the speed of the print."""

    connecting: float = 0.05
    starting: float = 0.02
    pausing: float = 0.06
    cancelling: float = 0.04
    finishing: float = 0.05
    statistics: float = 0.03  # from the end of a print to its entry in the file's history
    fault: float = 0.02  # from an injected fault to its notice
    unanswered: float = 150.0  # how long a silent machine is believed to be alive
    reading: float = 0.03  # how far /api/job lags behind


@dataclass(slots=True)
class Print:
    """The print at hand, from its start to its end."""

    file: StoredFile
    clock: PrintClock
    record: PrintRecord


class Machine:
    """`speed` divides every print's duration; `seconds_per_command` counts where the slicer left no estimate."""

    def __init__(
        self, store: FileStore, bed: Bed, world: World, timing: Timing, *, speed: float, seconds_per_command: float
    ) -> None:
        self.bed, self.timing = bed, timing
        self.history: list[PrintRecord] = []
        self.state, self.error = State.OFFLINE, ""
        self.selected: StoredFile | None = None
        self.user: str | None = None  # who selected the file or started its print
        self.touched = False  # a file was selected at least once since the server started
        self.job: Print | None = None
        self.result: dict[str, Any] | None = None  # the progress a finished print left standing
        self._store, self._world = store, world
        self._speed, self._seconds_per_command = speed, seconds_per_command
        self.heaters = {"tool0": Heater(12 / speed, self.now), "bed": Heater(30 / speed, self.now)}
        self._next: Handle | None = None

    @property
    def now(self) -> float:
        return self._world.clock()

    # --- the link to the machine ---

    def connect(self) -> None:
        """Open the serial port; a link that is open is closed first, and its print with it."""
        self.disconnect()
        self.error = ""
        self._publish("Connecting", None)
        self._enter(State.OPEN_SERIAL)
        self._then(self.timing.connecting / 2, self._handshake)

    def disconnect(self) -> None:
        """Close the port on request: a running print is lost without a reason."""
        if self.state is not State.OFFLINE:
            self._publish("Disconnecting", None)
            self.drop("")

    def drop(self, error: str) -> None:
        """The link is gone; `error` in OctoPrint's words, empty when somebody asked for it."""
        self._world.changing()
        job, self.job = self.job, None
        self._stop(job)
        self._publish("UpdatedFiles", {"type": "printables"})
        self.deselect()
        self._publish("Disconnected", None)
        self._enter(State.OFFLINE, error)
        if job is not None:
            self._write_down(job.file.path, success=False)
            job.record.close(Outcome.FAILED, self._world.wall())
            failure = {"time": job.clock.elapsed(self.now), "reason": "error", "error": error}
            self._publish("PrintFailed", _about(job.file) | failure | {"progress": job.clock.fraction(self.now)})

    def fatal(self, error: str) -> None:
        """The firmware stops the machine by itself."""
        self._stop(self.job)
        self._enter(State.ERROR, error)
        said = {"error": error, "reason": "firmware", "consequence": "emergency", "logs": [f"Recv: Error:{error}"]}
        self._publish("Error", said)
        self._publish("EStop", None)
        self.drop(error)

    def fault(self, happen: Callable[[], None]) -> None:
        """Let something go wrong in a moment, as the wire delivers it."""
        self._world.later(self.timing.fault, happen)

    def freeze(self) -> None:
        """The machine falls silent in the middle of a move; OctoPrint goes on believing in it for a good while."""
        if self.state.printing and self.job is not None:
            self.job.clock.hold(self.now)
            self._then(self.timing.unanswered, lambda: self.drop(TIMEOUTS_ERROR))

    def lose_power(self) -> None:
        """Everything but the files and the part on the bed is forgotten; nobody writes down that a print ended."""
        if self.job is not None:
            self.job.record.close(Outcome.LOST, self._world.wall())
        self._stop(self.job)
        self.state, self.error, self.touched = State.OFFLINE, "", False
        self.selected, self.user, self.job, self.result = None, None, None, None
        for heater in self.heaters:
            self.heat(heater, 0.0)

    # --- files ---

    def select(self, file: StoredFile, user: str | None) -> None:
        self.selected, self.user, self.touched, self.result = file, user, True, None
        self._publish("FileSelected", _about(file, user) | {"size": None})

    def deselect(self) -> None:
        self.selected, self.user, self.result = None, None, None
        self._publish("FileDeselected", None)

    # --- prints ---

    def start(self, user: str | None) -> None:
        """Print what is selected, from the beginning; nothing happens when nothing is selected."""
        file = self.selected
        if file is None or not self.state.operational or self.state.printing:
            return
        if self.job is not None:
            self.job.record.close(Outcome.RESTARTED, self._world.wall())
        plan = self._store.plan(file.path)
        clock = PrintClock(plan.seconds(self._seconds_per_command) / self._speed)
        job = Print(file, clock, PrintRecord(file.path, user, self._world.wall(), self.bed.occupied))
        self.history.append(job.record)
        self._world.changing()
        self.user, self.job, self.result = user, job, None
        self._enter(State.STARTING)
        self._publish("PrintStarted", _about(file, user))
        self._mark("print", "Start")
        self.bed.begin_print()
        self.heat("tool0", plan.tool)
        self.heat("bed", plan.bed)
        self._then(self.timing.starting, lambda: self._run(job))

    def pause(self, user: str | None) -> None:
        """Hold the print; lost without a word while it is being cancelled or just ending."""
        job = self.job
        if job is not None and self.state in (State.STARTING, State.PRINTING, State.RESUMING):
            job.clock.hold(self.now)
            self._enter(State.PAUSING)
            self._then(self.timing.pausing, lambda: self._paused(job, user))

    def resume(self, user: str | None) -> None:
        if self.job is not None and self.state is State.PAUSED:
            self._enter(State.RESUMING)
            self._publish("PrintResumed", _about(self.job.file, user))
            self._mark("resume", "Resume")
            self._run(self.job)

    def cancel(self, user: str | None) -> None:
        job = self.job
        if job is None or self.state is State.CANCELLING:
            return
        self._stop(job)
        about = _about(job.file, user)
        self._publish("PrintCancelling", about)
        self._enter(State.CANCELLING)
        left = about | {"position": dict.fromkeys("xyzetf"), "time": job.clock.elapsed(self.now)} | self._where(job)
        self._publish("PrintCancelled", left)
        self._mark("cancel", "Cancel")
        self._then(self.timing.cancelling, lambda: self._cancelled(job, left))

    def heat(self, heater: str, target: float) -> None:
        """Aim a heater at `target` degrees Celsius."""
        self.heaters[heater].aim(target, self.now)

    # --- how a state leads to the next ---

    def _handshake(self) -> None:
        self._enter(State.CONNECTING)
        self._then(self.timing.connecting / 2, self._connected)

    def _connected(self) -> None:
        self._enter(State.OPERATIONAL)
        self._publish("Connected", {"port": "VIRTUAL", "baudrate": 115200})
        firmware = {"FIRMWARE_NAME": "Virtual Marlin 1.0", "PROTOCOL_VERSION": "1.0"}
        self._publish("FirmwareData", {"name": firmware["FIRMWARE_NAME"], "data": firmware})
        self._publish("UpdatedFiles", {"type": "printables"})

    def _run(self, job: Print) -> None:
        self._enter(State.PRINTING)
        job.clock.run(self.now)
        self._then(job.clock.left(self.now), lambda: self._finish(job))

    def _paused(self, job: Print, user: str | None) -> None:
        spot = {"x": 0.0, "y": 0.0, "z": 0.0, "e": 0.0, "t": 0, "f": 6000.0}
        self._publish("PrintPaused", _about(job.file, user) | {"position": spot} | self._where(job))
        self._mark("pause", "Pause")
        self._publish("PositionUpdate", {"reason": "pause"} | spot)
        self._enter(State.PAUSED)

    def _finish(self, job: Print) -> None:
        self._stop(job)
        seconds, size, path = job.clock.elapsed(self.now), job.file.size, job.file.path
        self._enter(State.FINISHING)
        self.result = {
            "completion": 100.0 if size else -100,  # the real one divides by the size of an empty file
            "filepos": size,
            "printTime": round(seconds),
            "printTimeLeft": 0 if size else None,
            "printTimeLeftOrigin": None if size else "linear",
        }
        self._mark("done", "Done")
        self._publish("PrintDone", _about(job.file) | {"time": seconds})
        self.job = None
        self.bed.end_print()
        job.record.close(Outcome.SUCCEEDED, self._world.wall())
        self._world.later(self.timing.statistics, lambda: self._write_down(path, success=True, seconds=seconds))
        self._then(self.timing.finishing, self._rest)

    def _cancelled(self, job: Print, about: dict[str, Any]) -> None:
        self._write_down(job.file.path, success=False)
        job.record.close(Outcome.CANCELLED, self._world.wall())
        self.job = None
        self._publish("PrintFailed", about | {"reason": "cancelled"})
        self._rest()

    def _rest(self) -> None:
        for heater in self.heaters:
            self.heat(heater, 0.0)
        self._enter(State.OPERATIONAL)

    # --- the small print ---

    def _enter(self, state: State, error: str = "") -> None:
        self._world.changing()
        self.state, self.error = state, error
        self._publish("PrinterStateChanged", {"state_id": state.name, "state_string": state.value})

    def _publish(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        self._world.publish(kind, payload)

    def _mark(self, kind: str, label: str) -> None:
        self._publish("ChartMarked", {"type": kind, "label": label})

    def _then(self, delay: float, step: Callable[[], None]) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._world.later(delay, step)

    def _stop(self, job: Print | None) -> None:
        if job is not None:
            job.clock.hold(self.now)
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _where(self, job: Print) -> dict[str, Any]:
        fraction = job.clock.fraction(self.now)
        return {"fileposition": int(job.file.size * fraction), "progress": int(100 * fraction)}

    def _write_down(self, path: str, *, success: bool, seconds: float | None = None) -> None:
        entry: dict[str, Any] = {"success": success, "date": self._world.wall()}
        self._store.record(path, entry if seconds is None else entry | {"printTime": seconds})
        self._publish("MetadataStatisticsUpdated", {"storage": "local", "path": path})


def _about(file: StoredFile, user: str | None = None) -> dict[str, Any]:
    """What every event of a print says of its file; `user` only where a person or a key asked for it."""
    about = {"name": file.name, "path": file.path, "origin": "local", "size": file.size, "owner": file.user}
    return about if user is None else about | {"user": user}
