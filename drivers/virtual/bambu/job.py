"""One job of a virtual Bambu printer and how long its parts take. Nothing here decides what comes next."""

from dataclasses import dataclass

from drivers.virtual.bambu.project import Project
from drivers.virtual.bambu.record import PrintMade
from drivers.virtual.bambu.requests import Order
from drivers.virtual.motion import PrintClock


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of the printer's own time."""

    landing: float = 0.5  # from the order to its names on the screen
    starting: float = 4.0  # how long the old state stands
    preparing: float = 6.0
    warming: float = 120.0  # at most a tenth of the print: homing, levelling, heating
    holding: float = 1.0
    stopping: float = 1.5
    error_shown: float = 2.0
    booting: float = 60.0


@dataclass(slots=True)
class Job:
    """What is to be printed, and how far it is."""

    order: Order
    project: Project
    clock: PrintClock
    made: PrintMade | None = None

    def layer(self, now: float) -> int:
        return min(self.project.layers, int(self.clock.fraction(now) * self.project.layers))

    def percent(self, now: float) -> int:
        return int(self.clock.fraction(now) * 100)

    def warming(self, pace: Pace) -> float:
        """How much of its time passes before the first layer."""
        return min(pace.warming, self.clock.seconds / 10)
