"""A shop floor of three kinds of machines, on real sockets and a pseudo terminal: an OctoPrint, a Bambu printer that feeds itself
from several spools, and a board on a cable. They live in a loop of their own; what truly happened stands in their own records.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from drivers.virtual.bambu import Spool, VirtualBambu
from drivers.virtual.fleet import run_marlins
from drivers.virtual.marlin.port import Port
from drivers.virtual.octoprint import VirtualOctoPrint

T = TypeVar("T")
SPEED = 120.0
BLACK, ORANGE, WHITE, GREEN = "#1a1a1a", "#ff6a13", "#ffffff", "#00ae42"
SPOOLS = (Spool("PLA", BLACK), Spool("PETG", ORANGE), Spool("PLA", WHITE))


@dataclass
class Floor:
    """The machines, and a way to lay hands on them from another thread."""

    loop: asyncio.AbstractEventLoop
    octoprint: VirtualOctoPrint
    bambu: VirtualBambu
    board: Port

    def do(self, act: Callable[[], T]) -> T:
        """Call `act` where the machines live."""

        async def call() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)

    def happen(self, event: Coroutine[Any, Any, T]) -> T:
        """Let something take its time where the machines live."""
        return asyncio.run_coroutine_threadsafe(event, self.loop).result(10)

    def take_off(self, printer: str) -> None:
        """The operator takes the part off a bed."""
        hands = {"octoprint-01": self.octoprint.clear_bed, "p1s-01": self.bambu.clear_bed, "ender-01": lambda: None}
        self.do(hands[printer])

    @property
    def blocks(self) -> str:
        """Their part of farmd.toml: of the Bambu printer no more than its access and its model."""
        bambu = {
            "host": self.bambu.host,
            "serial": self.bambu.serial,
            "access_code": self.bambu.access_code,
            "model": self.bambu.model,
            "mqtt_port": self.bambu.mqtt_port,
            "ftps_port": self.bambu.ftps_port,
        }
        loaded = {"bed": [220, 220, 250], "material": "PLA", "color": BLACK}
        octoprint = {"url": self.octoprint.url, "api_key": self.octoprint.api_key, **loaded}
        board = {"port": str(self.board.path), "baud": self.board.firmware.board.baud, **loaded}
        return "".join(
            f'\n[[printers]]\nid = "{name}"\ndriver = "{driver}"\n'
            + "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
            for name, driver, options in (
                ("octoprint-01", "octoprint", octoprint),
                ("p1s-01", "bambu", bambu),
                ("ender-01", "gcode", board),
            )
        )


@contextmanager
def running_floor(folder: Path) -> Iterator[Floor]:
    """The machines for as long as the context lasts."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="shop floor")
    thread.start()
    stack = AsyncExitStack()
    try:
        yield asyncio.run_coroutine_threadsafe(_open(stack, loop, folder), loop).result(30)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _open(stack: AsyncExitStack, loop: asyncio.AbstractEventLoop, folder: Path) -> Floor:
    octoprint = VirtualOctoPrint(speed=SPEED)
    stack.push_async_callback(octoprint.stop)
    await octoprint.start()
    bambu: Any = await stack.enter_async_context(VirtualBambu("P1S", speed=SPEED, spools=SPOOLS))
    (board,) = await stack.enter_async_context(run_marlins(1, folder=folder, speed=SPEED))
    return Floor(loop, octoprint, bambu, board)
