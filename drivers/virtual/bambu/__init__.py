"""A virtual Bambu Lab printer: MQTT and a file server inside TLS, for whoever drives such machines over the local network.

`Firmware` is the printer itself, in a time handed to it; `VirtualBambu` puts it on sockets. What it answers was measured on real
ones; it must never know the driver that talks to it.
"""

from drivers.virtual.bambu.ams import Feeder, Spool
from drivers.virtual.bambu.faults import Faults, Unsigned
from drivers.virtual.bambu.firmware import Firmware
from drivers.virtual.bambu.job import Pace
from drivers.virtual.bambu.printer import BLACK_PLA, VirtualBambu
from drivers.virtual.bambu.project import Filament, make_project
from drivers.virtual.bambu.record import Record

__all__ = [
    "BLACK_PLA",
    "Faults",
    "Feeder",
    "Filament",
    "Firmware",
    "Pace",
    "Record",
    "Spool",
    "Unsigned",
    "VirtualBambu",
    "make_project",
]
