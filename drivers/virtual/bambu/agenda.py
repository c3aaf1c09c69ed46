"""What a virtual printer has yet to do, by the moment: the only clock inside it is the one it is told."""

import heapq
from collections.abc import Callable
from math import inf


class Timer:
    """One thing to be done, unless it is cancelled before."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Agenda:
    """Moments are seconds of the printer's own time. Things due at the same moment happen in the order they were asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, timer))
        return timer

    @property
    def next_at(self) -> float:
        """When the next thing is due, infinity for nothing."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else inf

    def advance(self, now: float) -> None:
        """Do everything that is due up to and including `now`, each thing at its own moment."""
        while (at := self.next_at) <= now:
            timer = heapq.heappop(self._heap)[2]
            self.now = max(self.now, at)
            if (call := timer.call) is not None:
                call()
        self.now = max(self.now, now)

    def clear(self) -> None:
        """Nothing of what was planned happens."""
        self._heap.clear()
