"""Heaters that take their time: a temperature moves towards its target at a steady rate.

Nothing runs here; each heater answers for any moment after the last order. It must never forget a target by itself: a
heater stays on until somebody or the firmware turns it off, which is what a host is judged by.
"""

from math import inf

COOLING = 0.25  # of the heating rate


class Heater:
    """`rate` in degrees Celsius each second on the way up."""

    def __init__(self, rate: float, ambient: float) -> None:
        self.target = 0.0
        self.hottest_target = 0.0
        self._rate, self._ambient = rate, ambient
        self._from, self._since = ambient, 0.0

    def aim(self, target: float, now: float) -> None:
        self._from, self._since = self.actual(now), now
        self.target = target
        self.hottest_target = max(self.hottest_target, target)

    def actual(self, now: float) -> float:
        start, goal = self._from, max(self.target, self._ambient)
        if start < goal:
            return min(goal, start + (now - self._since) * self._rate)
        return max(goal, start - (now - self._since) * self._rate * COOLING)

    def reaches(self, temperature: float) -> float:
        """When it passes `temperature` on its way; the moment of the last order when it was there by then, infinity when it
        never comes there."""
        start, goal = self._from, max(self.target, self._ambient)
        if start == temperature:
            return self._since
        if start < goal:
            return self._since + (temperature - start) / self._rate if start < temperature <= goal else inf
        return self._since + (start - temperature) / (self._rate * COOLING) if goal <= temperature < start else inf

    def power(self, now: float) -> int:
        """The duty from 0 to 127, as reports show it."""
        if self.target <= 0:
            return 0
        return 127 if self.actual(now) < self.target else 32
