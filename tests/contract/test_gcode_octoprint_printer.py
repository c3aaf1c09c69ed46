"""The serial driver keeps the contract of the farm on a machine that is not ours: OctoPrint's VirtualPrinter on a terminal."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.conformance import CASES, NotApplicable, run
from drivers.gcode.driver import GcodeDriver
from drivers.gcode.once import dismiss
from drivers.gcode.settings import Settings
from tests.contract.real_octoprint import SERVER, require_octoprint

pytestmark = [pytest.mark.octoprint, pytest.mark.slow]
SCRIPT = Path(__file__).with_name("virtual_printer_port.py")


class VirtualPrinterHarness:
    """The driver suite's view of one VirtualPrinter and the cable to it."""

    patience = 20.0

    def __init__(self, process: asyncio.subprocess.Process, port: str, folder: Path) -> None:
        self._process, self._port, self._folder = process, port, folder
        self.machine = folder / "machine"

    def driver(self) -> GcodeDriver:
        return GcodeDriver("virtual-01", self.machine, Settings(self._port), resync=0.5)

    def stranger(self) -> None:
        return None

    def gcode(self, seconds: float) -> Path:
        """A short move and a pause of half a second, again and again: it makes moves ten times as fast as they are."""
        file = self._folder / f"{seconds:.0f}.gcode"
        file.write_text("G28\nG90\n" + "".join(f"G1 X{10 + number % 2} F1200\nG4 P500\n" for number in range(int(seconds * 2))))
        return file

    async def start_foreign(self) -> None:
        await self._tell("foreign")

    async def cut(self) -> None:
        await self._tell("cut")

    async def restore(self) -> None:
        await self._tell("restore")

    async def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word.encode() + b"\n")
        assert await self._process.stdout.readline() == b"done\n"


@asynccontextmanager
async def virtual_printer(folder: Path) -> AsyncIterator[VirtualPrinterHarness]:
    command = [str(SERVER.with_name("python")), str(SCRIPT), str(folder / "ttyVIRT0")]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = (await process.stdout.readline()).decode().strip()
        harness = VirtualPrinterHarness(process, port, folder)
        try:
            yield harness
        finally:
            await dismiss(harness.machine)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_driver_conforms(name: str, tmp_path: Path) -> None:
    require_octoprint()

    async def go() -> None:
        async with virtual_printer(tmp_path) as harness:
            try:
                await run(name, harness)
            except NotApplicable as reason:
                pytest.skip(str(reason))

    asyncio.run(go())
