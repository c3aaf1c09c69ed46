"""A virtual Bambu printer with our driver before it, for the tests of the driver: real TLS sockets, a fast clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from drivers.bambu.driver import BambuDriver
from drivers.bambu.options import read_options
from drivers.bambu.session import Timing
from drivers.bench import Watch
from drivers.contract import Phase, RemoteFile
from drivers.virtual.bambu.printer import VirtualBambu
from drivers.virtual.bambu.project import make_project

SPEED = 20.0
PATIENCE = 15.0
RESYNC = 2.0


def block(printer: VirtualBambu, **more: Any) -> dict[str, Any]:
    """The `[[printers]]` block of a virtual printer."""
    return {
        "host": printer.host,
        "serial": printer.serial,
        "access_code": printer.access_code,
        "model": printer.model,
        "mqtt_port": printer.mqtt_port,
        "ftps_port": printer.ftps_port,
        **more,
    }


def driver_of(printer: VirtualBambu, folder: Path, timing: Timing | None = None, **more: Any) -> BambuDriver:
    """A driver of this printer; `folder` is the machine's own."""
    return BambuDriver("bambu-01", read_options(block(printer, **more)), folder, resync=RESYNC, timing=timing)


def sliced(folder: Path, printer: VirtualBambu, seconds: float, **more: Any) -> Path:
    """A file that prints for about `seconds` on the clock."""
    file = folder / f"{seconds:.0f}.gcode.3mf"
    file.write_bytes(make_project(seconds * SPEED, model=more.pop("model", printer.kind.code), **more))
    return file


class BambuHarness:
    """The suite's view of a virtual printer."""

    patience = PATIENCE

    def __init__(self, printer: VirtualBambu, folder: Path) -> None:
        self.printer, self._folder = printer, folder

    def driver(self) -> BambuDriver:
        return driver_of(self.printer, self._folder / "machine")

    def stranger(self) -> BambuDriver:
        return driver_of(self.printer, self._folder / "stranger", access_code="00000000")

    def gcode(self, seconds: float) -> Path:
        return sliced(self._folder, self.printer, seconds)

    async def start_foreign(self) -> None:
        self.printer.start_foreign()

    async def cut(self) -> None:
        await self.printer.cut()

    async def restore(self) -> None:
        await self.printer.restore()


@asynccontextmanager
async def watched(printer: VirtualBambu, folder: Path, **more: Any) -> AsyncIterator[tuple[BambuDriver, Watch]]:
    """A connected driver whose first snapshot has been seen."""
    driver = driver_of(printer, folder / "machine", **more)
    try:
        await driver.connect()
        async with Watch(driver, PATIENCE) as watch:
            await watch.until("a first snapshot", lambda _seen: True)
            yield driver, watch
    finally:
        await driver.close()


async def start(driver: BambuDriver, watch: Watch, file: Path, token: str) -> RemoteFile:
    """Upload and start a print, and see it run."""
    remote = await driver.upload(file, token, lambda _sent, _total: None)
    await driver.start(remote)
    await watch.phase(Phase.PRINTING, token)
    return remote
