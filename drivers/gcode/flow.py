"""One course of action after another, written as generators that say what they wait for.

Pure: a flow sees time only through the `Until` it gave. It ends with what comes after it, so that a print that is held a
thousand times is no deeper than one that never was.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Until:
    """A flow waits for this, or for so many seconds."""

    condition: Callable[[], bool]
    seconds: float | None = None


Result = TypeVar("Result")
Steps = Generator[Until, bool, Result]
"""`yield Until(...)` gives whether the condition came about in time."""

Flow = Generator[Until, bool, "Flow | None"]
"""Steps that end with the flow that goes on after them."""


class Course:
    """The one flow that is at work; `limit` is when it wants to be looked at although nothing happened."""

    def __init__(self) -> None:
        self.limit: float | None = None
        self._flow: Flow | None = None
        self._wait: Until | None = None

    def start(self, flow: Flow, now: float) -> None:
        """Begin `flow`; what was at work is given up where it stands."""
        self.stop()
        self._flow = flow
        self.go_on(now)

    def stop(self) -> None:
        """Nothing is at work any more."""
        self._flow = self._wait = self.limit = None

    def go_on(self, now: float) -> None:
        """As far as it can."""
        while (flow := self._flow) is not None:
            met = self._wait is None or self._wait.condition()
            if not met and (self.limit is None or now < self.limit):
                return
            try:
                wait = next(flow) if self._wait is None else flow.send(met)
            except StopIteration as end:
                self.stop()
                self._flow = end.value
                continue
            self._wait = wait
            self.limit = None if wait.seconds is None else now + wait.seconds
