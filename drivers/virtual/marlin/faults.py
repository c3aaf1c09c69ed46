"""Faults by script: what happens to a virtual board at a given moment or after a given number of commands.

A script is data, so that a run can be told as one line of text and repeated. What a fault does stands with the firmware;
here is only when.
"""

import re
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


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` seconds of the board's time, or after `after` executed commands; `seconds` is how long it lasts where that means
    something, infinity for good."""

    kind: Kind
    at: float = inf
    after: int | None = None
    seconds: float = inf


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
