"""The serial driver keeps the farm's contract: its suite on a virtual Marlin behind a pseudo terminal, with real streamers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.conformance import CASES, NotApplicable, run
from drivers.gcode.driver import GcodeDriver
from drivers.gcode.once import dismiss
from drivers.gcode.settings import Settings
from drivers.virtual.marlin import Board, Firmware, Kind, sdprint
from drivers.virtual.marlin.port import Port

SPEED = 4.0
PATIENCE = 20.0


class SerialHarness:
    """The driver suite's view of one virtual board."""

    patience = PATIENCE

    def __init__(self, port: Port, folder: Path) -> None:
        self._port, self._folder = port, folder
        self.machine = folder / "machine"

    def driver(self) -> GcodeDriver:
        return GcodeDriver("marlin-01", self.machine, Settings(str(self._port.path), 250_000), resync=0.5)

    def stranger(self) -> None:
        return None

    def gcode(self, seconds: float) -> Path:
        """Moves of 10 mm at 20 mm/s: half a second each."""
        file = self._folder / f"{seconds:.0f}.gcode"
        moves = b"".join(b"G1 X%d F1200\n" % (10 + 10 * (number % 2)) for number in range(int(seconds * 2)))
        file.write_bytes(b"G90\nG1 X20 Y20 F6000\n" + moves)
        return file

    async def start_foreign(self) -> None:
        card = self._port.firmware.core.card
        card.files["OWN.GCO"] = b"G1 X10 F600\nG1 X11 F600\n" * 5000
        card.select("OWN.GCO")
        sdprint.start(self._port.firmware.core, b"")
        self._port.pump()

    async def cut(self) -> None:
        self._port.firmware.strike(Kind.UNPLUG, self._port.now)
        self._port.pump()

    async def restore(self) -> None:
        if not self._port.firmware.plugged:
            self._port.firmware.plug(self._port.now)
            self._port.pump()


@asynccontextmanager
async def board(folder: Path) -> AsyncIterator[Port]:
    port = Port(Firmware(Board(cold_extrusion=True)), folder / "ttyVIRT0", speed=SPEED)
    port.open()
    try:
        yield port
    finally:
        port.close()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_driver_conforms(name: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with board(tmp_path) as port:
            harness = SerialHarness(port, tmp_path)
            try:
                await run(name, harness)
            except NotApplicable as reason:
                pytest.skip(str(reason))
            finally:
                await dismiss(harness.machine)

    asyncio.run(go())
