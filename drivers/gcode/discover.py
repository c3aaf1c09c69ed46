"""Which machines stand on this host's serial ports: every port is opened, greeted and let go.

Opening a port restarts some boards, so a machine in the middle of a print of its own must not be looked for: ports that another
program has open are left alone, and named.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from serial.tools import list_ports

from drivers.gcode.examine import Greeting
from drivers.gcode.port import PortError, stable_name
from drivers.gcode.settings import Settings

BAUDS = (115_200, 250_000)
GREETING_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Found:
    """One port. `firmware` is empty when nothing that prints was found there; `words` then say why."""

    port: str
    what: str  # the device's own description
    baud: int = 0
    firmware: str = ""
    words: str = ""


async def discover(ports: Sequence[str] = ()) -> list[Found]:
    """Every serial port of this host, or these."""
    known = {each.device: each.description or "" for each in list_ports.comports()}
    chosen = list(ports) or sorted(known)
    return list(await asyncio.gather(*(_look(port, known.get(port, "")) for port in chosen)))


async def _look(port: str, what: str) -> Found:
    name = stable_name(port)
    words = ""
    for baud in BAUDS:
        greeting = Greeting(Settings(port, baud))
        try:
            greeting.open()
            words = await greeting.wait(GREETING_SECONDS) or ""
        except PortError as error:
            return Found(name, what, words=str(error))
        finally:
            greeting.close()
        if not words:
            return Found(name, what, baud, greeting.session.machine.firmware)
    return Found(name, what, words=words)
