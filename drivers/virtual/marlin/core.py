"""What all commands of a virtual board share: its parts, its modes and its voice.

The firmware drives it and the command families change it. It must never look at a clock: `now` is the moment being
worked off, in seconds since the board was made.
"""

from collections.abc import Callable, Generator
from math import inf

from drivers.virtual.marlin.board import KEEPALIVE_SECONDS, Board
from drivers.virtual.marlin.heaters import Heater
from drivers.virtual.marlin.planner import Planner
from drivers.virtual.marlin.sdcard import SdCard

Steps = Generator[float, None, None]
"""A command that takes its time: it gives the moment at which it wants to be looked at again, until it is done."""

Handler = Callable[["Core", bytes], Steps | None]

PROCESSING = b"processing"
FOR_USER = b"paused for user"
STOPPED = b"Printer stopped due to errors. Fix the error and use M999 to restart. (Temperature is reset. Set it after restarting)"


class Core:
    """Everything that a reset takes back to the beginning stands in `forget`; files on the card and the heat stay."""

    def __init__(self, board: Board, say: Callable[[bytes], None]) -> None:
        self.board, self.say = board, say
        self.now = 0.0
        self.planner = Planner(board.planner_blocks)
        self.nozzle = Heater(board.nozzle_rate, board.ambient)
        self.bed = Heater(board.bed_rate, board.ambient)
        self.chamber = Heater(board.bed_rate / 4, board.ambient)
        self.card = SdCard()
        self.watch_count: int | None = None  # `watched` is called when so many commands have been begun
        self.watched: Callable[[], None] = lambda: None
        self.forget()

    def forget(self) -> None:
        """Power comes on: every mode at its default, every heater off, the machine where it stands."""
        self.last_number = 0
        self.stopped = False
        self.fan = 0.0
        self.motors = False
        self.homed = ""
        self.message = ""
        self.percent: float | None = None
        self.keepalive = KEEPALIVE_SECONDS
        self.busy = PROCESSING
        self.every: dict[str, float] = {}  # seconds between reports of temperature, position and card
        self.reported: dict[str, float] = {}  # when each of them is due
        self.report_at = inf  # the first of those
        self.waits_for_user = self.waits_for_heat = False
        self.prompted = False
        self.ok_tail: bytes | None = None
        self.wake_at = inf
        self.place = self.planner.stop(self.now)  # X, Y, Z, E where the last planned move ends, in the machine's own numbers
        self.origin = [0.0, 0.0, 0.0, 0.0]  # what G92 put at zero
        self.absolute = self.absolute_e = True
        self.feedrate = 1500.0 / 60  # mm/s
        self.speed_factor = 1.0
        self.cold_allowed = self.board.cold_extrusion
        self.parked = False
        self.all_off()
        self.card.halt()

    def all_off(self) -> None:
        for heater in (self.nozzle, self.bed, self.chamber):
            heater.aim(0.0, self.now)
        self._watch_cold()

    def heat_nozzle(self, target: float) -> None:
        self.nozzle.aim(target, self.now)
        self._watch_cold()

    def too_cold(self) -> bool:
        """Whether filament may not be moved."""
        return not self._warm_from <= self.now <= self._warm_until and not self.cold_allowed

    def warn(self, text: bytes) -> None:
        self.say(b"echo:" + text)

    def fail(self, text: bytes) -> None:
        self.say(b"Error:" + text)

    def action(self, text: bytes) -> None:
        self.say(b"//action:" + text)

    def poke(self) -> None:
        """Let the running command look again now."""
        if self.wake_at > self.now:
            self.wake_at = self.now

    def logical(self) -> list[float]:
        """X, Y, Z and E as the host counts them."""
        return [at - zero for at, zero in zip(self.place, self.origin, strict=True)]

    def quickstop(self) -> None:
        """Drop every move; the machine stands wherever it was."""
        self.place = self.planner.stop(self.now)
        self.poke()

    def _watch_cold(self) -> None:
        limit, nozzle = self.board.coldest_extrusion, self.nozzle
        crosses = nozzle.reaches(limit)
        if nozzle.actual(self.now) >= limit:
            self._warm_from, self._warm_until = self.now, inf if nozzle.target >= limit else crosses
        else:
            self._warm_from, self._warm_until = crosses, inf
