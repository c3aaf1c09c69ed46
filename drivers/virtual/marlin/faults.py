"""Faults by script: what happens to a virtual board at a given moment or after a given number of commands.

A script is data, so that a run can be told as one line of text and repeated. What a fault does stands with the firmware;
here is only when.
"""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf


class Kind(Enum):
    """The value is the word in a script."""

    RESET = "reset"  # a dip in the power: starts anew, heaters off, line numbers from 0
    HANG = "hang"  # answers nothing any more; heaters and planned moves stay
    THERMAL = "thermal"  # Thermal Runaway: the firmware kills itself
    STOP = "stop"  # stops on an error: moves are ignored and still acknowledged
    UNPLUG = "unplug"  # the port is gone, the board goes on; `seconds` until it is back
    UNPLUG_RESET = "unplug-reset"  # the same, and it comes back from the beginning
    RUNOUT = "runout"  # the filament sensor triggers M600
    PAUSE = "pause"  # //action:pause, as a button at the machine gives
    PAUSED = "paused"  # //action:paused
    CANCEL = "cancel"  # //action:cancel
    LOSE_OK = "lose-ok"  # the next ok is not sent
    DOUBLE_OK = "double-ok"  # the next ok is sent twice
    GARBLE_IN = "garble-in"  # one bit of the next bytes from the host is wrong
    GARBLE_OUT = "garble-out"  # one bit of the next line to the host is wrong
    DROP_IN = "drop-in"  # the next bytes from the host are lost

    @property
    def on_the_line(self) -> bool:
        """Whether the wire is at fault, not the board."""
        return self in (Kind.LOSE_OK, Kind.DOUBLE_OK, Kind.GARBLE_IN, Kind.GARBLE_OUT, Kind.DROP_IN)


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` seconds of the board's time, or after `after` executed commands; `seconds` is how long it lasts where that means
    something, infinity for good."""

    kind: Kind
    at: float = inf
    after: int | None = None
    seconds: float = inf


class Script:
    """Faults in the order in which they are due: some by time, some by the count of executed commands."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        every = list(faults)
        self._timed = deque(sorted((fault for fault in every if fault.after is None), key=lambda fault: fault.at))
        self._counted = deque(sorted((fault for fault in every if fault.after is not None), key=lambda fault: fault.after or 0))

    @property
    def next_at(self) -> float:
        return self._timed[0].at if self._timed else inf

    @property
    def next_count(self) -> int | None:
        return self._counted[0].after if self._counted else None

    def pop(self) -> Fault:
        return self._timed.popleft()

    def counted(self, count: int) -> list[Fault]:
        """Those that are due after so many commands."""
        due = []
        while self._counted and self._counted[0].after == count:
            due.append(self._counted.popleft())
        return due


_SCRIPT = re.compile(r"([a-z-]+)@(?:#(\d+)|(\d+(?:\.\d+)?))(?:\+(\d+(?:\.\d+)?))?")


def parse(text: str) -> Fault:
    """`reset@12.5` at a moment, `lose-ok@#500` after that many commands, `unplug@30+5` for five seconds. Raises `ValueError`."""
    found = _SCRIPT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no fault: write for example reset@12.5, lose-ok@#500 or unplug@30+5")
    try:
        kind = Kind(found[1])
    except ValueError:
        raise ValueError(f"there is no fault {found[1]!r}; there are {', '.join(each.value for each in Kind)}") from None
    lasts = float(found[4]) if found[4] else inf
    return Fault(kind, float(found[3]) if found[3] else inf, int(found[2]) if found[2] else None, lasts)
