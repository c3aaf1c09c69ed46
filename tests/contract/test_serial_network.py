"""A printer on somebody else's serial port: `socket://` and `rfc2217://`, by pyserial's own bridge and by ser2net where it is."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.contract import Outcome, Phase
from drivers.gcode import scripts
from drivers.gcode.driver import GcodeDriver
from drivers.gcode.once import dismiss
from drivers.gcode.settings import Settings
from drivers.virtual.marlin import Board, Firmware
from drivers.virtual.marlin.port import Port
from tests.daemon_process import free_port

MOVES = [b"G1 X%d F6000" % (10 + number % 50) for number in range(400)]
SECONDS = 30.0
ACCEPTERS = {"socket": "tcp", "rfc2217": "telnet(rfc2217),tcp"}


class Bridge:
    """Between a terminal and a TCP port."""

    def __init__(self, program: str, kind: str, terminal: Path) -> None:
        self.port = free_port()
        self._argv = [sys.executable, "-m", "tests.contract.serial_bridge", kind, str(terminal), str(self.port)]
        if program == "ser2net":
            config = terminal.with_name("ser2net.yaml")
            accepter = f"{ACCEPTERS[kind]},127.0.0.1,{self.port}"
            config.write_text(
                f"connection: &one\n  accepter: {accepter}\n  connector: serialdev,{terminal},250000n81,local\n"
                "  options:\n    kickolduser: true\n"
            )
            self._argv = [str(shutil.which("ser2net")), "-n", "-c", str(config), "-P", str(terminal.with_name("ser2net.pid"))]
        # ser2net passes on that a pseudo terminal has no modem lines
        self.url = f"{kind}://127.0.0.1:{self.port}" + ("?ign_set_control" if (program, kind) == ("ser2net", "rfc2217") else "")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._argv, stdout=subprocess.DEVNULL)

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def bridged(folder: Path, program: str, kind: str) -> AsyncIterator[tuple[Port, Bridge, GcodeDriver]]:
    board = Port(Firmware(Board(cold_extrusion=True)), folder / "ttyVIRT0", speed=4.0)
    board.open()
    bridge = Bridge(program, kind, board.path)
    driver = GcodeDriver("far-01", folder / "machine", Settings(bridge.url, 250_000), resync=0.5)
    try:
        await bridge.start()
        yield board, bridge, driver
    finally:
        await driver.close()
        await dismiss(folder / "machine")
        await bridge.kill()
        board.close()


async def seen(driver: GcodeDriver, *phases: Phase) -> None:
    async with asyncio.timeout(SECONDS):
        async for snapshot in driver.snapshots():
            if snapshot.phase in phases:
                return


@pytest.mark.parametrize("kind", ["socket", "rfc2217"])
@pytest.mark.parametrize("program", ["pyserial", "ser2net"])
def test_a_print_goes_over_the_network_and_survives_a_bridge_that_dies(tmp_path: Path, program: str, kind: str) -> None:
    if program == "ser2net" and shutil.which("ser2net") is None:
        pytest.skip("ser2net is not installed (apt-get install ser2net)")

    async def go() -> None:
        async with bridged(tmp_path, program, kind) as (board, bridge, driver):
            part = tmp_path / "part.gcode"
            part.write_bytes(b"\n".join([b"G28", *MOVES, b""]))
            await seen(driver, Phase.IDLE)
            remote = await driver.upload(part, "att-1", lambda _read, _size: None)
            await driver.start(remote)
            await seen(driver, Phase.PRINTING)
            async with asyncio.timeout(SECONDS):
                async for snapshot in driver.snapshots():
                    if (snapshot.progress or 0.0) > 0.2:
                        break
            await bridge.kill()
            await seen(driver, Phase.OFFLINE)
            await bridge.start()
            await seen(driver, Phase.FINISHED)
            assert await driver.outcome("att-1") is Outcome.SUCCEEDED
            printed = [each for each in board.firmware.record.numbered if each not in scripts.GREETING]
            assert printed == [b"G28", *MOVES, b"M400", *scripts.heaters_off(())]

    asyncio.run(go())
