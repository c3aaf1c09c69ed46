"""The passing of time inside a virtual machine: a print that advances, heaters that warm up and cool down.

Nothing runs here. Each object knows when it last changed and answers for any later moment, so a thousand idle machines
cost nothing and a clock handed in by a test decides everything.
"""

import math
from dataclasses import dataclass

AMBIENT = 21.3  # degrees Celsius


@dataclass(slots=True)
class PrintClock:
    """How far one print has come; `seconds` is its whole length, every moment is a reading of the machine's clock."""

    seconds: float
    _done: float = 0.0
    _running_since: float | None = None

    def run(self, now: float) -> None:
        if self._running_since is None:
            self._running_since = now

    def hold(self, now: float) -> None:
        self._done = self.elapsed(now)
        self._running_since = None

    def elapsed(self, now: float) -> float:
        """Seconds of printing, without the pauses."""
        return self._done + (now - self._running_since if self._running_since is not None else 0.0)

    def left(self, now: float) -> float:
        return max(0.0, self.seconds - self.elapsed(now))

    def fraction(self, now: float) -> float:
        return min(1.0, self.elapsed(now) / self.seconds) if self.seconds > 0 else 1.0


class Heater:
    """`lag` is the time constant in seconds: after three of them a heater is within 5 % of where it goes."""

    def __init__(self, lag: float, now: float) -> None:
        self._lag = lag
        self._since = now
        self._from = AMBIENT
        self.target = 0.0

    def aim(self, target: float, now: float) -> None:
        self._from, self._since = self.actual(now), now
        self.target = target

    def actual(self, now: float) -> float:
        goal = max(self.target, AMBIENT)
        return round(goal + (self._from - goal) * math.exp(-(now - self._since) / self._lag), 2)
