"""A virtual board with Marlin on it, for hosts that print over a serial line.

`Firmware` is the board itself, in a time handed to it; `port` puts it behind a pseudo terminal. What it answers is what
real firmware answers, errors and silences included; it must never know the host that talks to it.
"""

from drivers.virtual.marlin.board import Board
from drivers.virtual.marlin.faults import Fault, Kind
from drivers.virtual.marlin.firmware import Firmware, State
from drivers.virtual.marlin.noise import Odds
from drivers.virtual.marlin.record import Record

__all__ = ["Board", "Fault", "Firmware", "Kind", "Odds", "Record", "State"]
