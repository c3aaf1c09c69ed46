"""The planner: moves that wait for their turn, and the stepper that works them off in real time.

A block is only the moment at which it will end and the place where that is. Acceleration is left out: a move lasts its
length over its speed. Nothing here may know a command; the place is whatever its owner calls one.
"""

from collections import deque
from math import inf

Place = tuple[float, float, float, float]
"""X, Y, Z and E of the machine, in mm."""


class Planner:
    """`starved_seconds` and `starved_times` count the gaps between two moves that nothing ordered: a nozzle standing still on
    a part because the next line had not come."""

    def __init__(self, blocks: int) -> None:
        self.starved_seconds = 0.0
        self.starved_times = 0
        self.moves = 0
        self._room = blocks - 1
        self._ends: deque[float] = deque()
        self._places: deque[Place] = deque()
        self._last_end = -inf
        self._stands: Place = (0.0, 0.0, 0.0, 0.0)
        self._begun = 0.0
        self._continues = False

    def room_at(self, now: float) -> float:
        """When a block is free: `now`, or the end of the running move."""
        ends = self._ends
        if len(ends) < self._room:
            return now
        self._settle(now)
        return now if len(ends) < self._room else ends[0]

    def free(self, now: float) -> int:
        self._settle(now)
        return self._room - len(self._ends)

    def push(self, now: float, seconds: float, place: Place) -> None:
        """Plan a move. There must be room."""
        last = self._last_end
        if last <= now:
            self._settle(now)
            if self._continues and last < now:
                self.starved_seconds += now - last
                self.starved_times += 1
            last = self._begun = now
        self._last_end = last + seconds
        self._ends.append(self._last_end)
        self._places.append(place)
        self.moves += 1
        self._continues = True

    def fence(self) -> None:
        """Something waits on purpose, or a new job begins: the gap that follows is no starvation."""
        self._continues = False

    def empties_at(self, now: float) -> float:
        """When the last move ends; `now` when none is left."""
        return self._last_end if self._last_end > now else now

    def place(self, now: float) -> Place:
        """Where the machine really is."""
        self._settle(now)
        if not self._ends or self._ends[0] <= self._begun:
            return self._stands
        done = (now - self._begun) / (self._ends[0] - self._begun)
        x, y, z, e = (a + (b - a) * done for a, b in zip(self._stands, self._places[0], strict=True))
        return x, y, z, e

    def stop(self, now: float) -> Place:
        """Stand still at once and forget every move; returns where."""
        place = self.place(now)
        self._ends.clear()
        self._places.clear()
        self._stands, self._last_end, self._continues = place, -inf, False
        return place

    def stand(self, place: Place) -> None:
        """The machine is found to be here, by homing. Every move must have ended."""
        self._ends.clear()
        self._places.clear()
        self._stands = place

    def _settle(self, now: float) -> None:
        ends = self._ends
        while ends and ends[0] <= now:
            self._begun = ends.popleft()
            self._stands = self._places.popleft()
