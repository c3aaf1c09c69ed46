"""The OctoPrint driver against real OctoPrint: the suite of every driver, and what only OctoPrint does.

The server is shared by all tests of the module, except those that kill it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.bench import Watch
from drivers.conformance import CASES, NotApplicable, run
from drivers.contract import (
    Check,
    NotOurs,
    Outcome,
    Phase,
    Refused,
    RemoteFile,
    Snapshot,
    Unauthorized,
    Unreachable,
)
from drivers.octoprint import OctoPrintDriver, factory
from tests.contract.link import Link
from tests.contract.real_octoprint import API_KEY, VIEWER_KEY, RealOctoPrint, moving_gcode, running_octoprint

pytestmark = pytest.mark.octoprint

PATIENCE = 15.0
RESYNC = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOctoPrint]:
    with running_octoprint(tmp_path_factory.mktemp("octoprint")) as running:
        yield running


@pytest.fixture
def octoprint(server: RealOctoPrint) -> RealOctoPrint:
    """The shared server, its printer at rest."""
    server.rest()
    return server


class OctoPrintHarness:
    """The suite's view of the shared server, over a link it can cut."""

    patience = PATIENCE

    def __init__(self, server: RealOctoPrint, link: Link, folder: Path) -> None:
        self._server = server
        self._link = link
        self._folder = folder

    def driver(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._link.url, API_KEY, resync=RESYNC)

    def stranger(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._link.url, "0" * 32, resync=RESYNC)

    def gcode(self, seconds: float) -> Path:
        return write_gcode(self._folder, seconds)

    async def start_foreign(self) -> None:
        await asyncio.to_thread(self._server.print_by_hand, "by-hand.gcode", moving_gcode(60))

    async def cut(self) -> None:
        await self._link.cut()

    async def restore(self) -> None:
        await self._link.restore()


def write_gcode(folder: Path, seconds: float) -> Path:
    file = folder / f"{seconds:.0f}.gcode"
    file.write_bytes(moving_gcode(seconds))
    return file


@asynccontextmanager
async def watched(server: RealOctoPrint, resync: float = RESYNC) -> AsyncIterator[tuple[OctoPrintDriver, Watch]]:
    driver = OctoPrintDriver("mk3-01", server.url, API_KEY, resync=resync)
    try:
        async with Watch(driver, PATIENCE) as watch:
            yield driver, watch
    finally:
        await driver.close()


async def start(driver: OctoPrintDriver, watch: Watch, file: Path, token: str) -> RemoteFile:
    remote = await driver.upload(file, token, lambda _sent, _total: None)
    await driver.start(remote)
    await watch.phase(Phase.PRINTING, token)
    return remote


@pytest.mark.parametrize("name", sorted(CASES))
def test_conformance(name: str, octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link:
            try:
                await run(name, OctoPrintHarness(octoprint, link, tmp_path))
            except NotApplicable as reason:
                pytest.skip(str(reason))

    asyncio.run(go())
