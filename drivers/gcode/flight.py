"""What a link keeps about lines that are on their way, or were wanted again. Pure data; `protocol.Link` alone decides on it."""

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What is on its way."""

    LINE = auto()
    PLAIN = auto()  # without a number
    PROBE = auto()  # M105 without a number: its answer tells that everything before it was dealt with
    COUNT = auto()  # M110: sets the firmware's count
    ASK = auto()  # a number that cannot be right: the Resend tells which line is wanted


@dataclass(slots=True)
class Sent:
    """One command without an ok. `size` in bytes with its newline, `at` when it was sent."""

    kind: Kind
    number: int  # -1 without one
    size: int
    at: float


@dataclass(slots=True)
class Rewind:
    """Go back to line `to` at `at`; `begun` when that was first asked for."""

    to: int
    at: float
    begun: float


@dataclass(slots=True)
class Refusals:
    """How often lines were refused since one further on was."""

    line: int = 0
    furthest: int = 0
    times: int = 0
    in_circles: int = 0

    def once_more(self, line: int) -> int:
        """`line` was refused; gives how often in a row."""
        self.times = self.times + 1 if line == self.line else 1
        self.in_circles = self.in_circles + 1 if line <= self.furthest else 1
        self.line, self.furthest = line, max(line, self.furthest)
        return self.times
