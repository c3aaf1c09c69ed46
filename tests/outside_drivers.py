"""Drivers somebody else might have written, around a real one: late, or with a defect in them."""

import asyncio
from dataclasses import replace

from drivers.contract import Phase, Refused, RemoteFile, Spool, Unreachable
from tests.fleet_farm import FleetFarm, eventually


class BrokenDriver:
    """Somebody's driver with a defect in it, around a real one."""

    def __init__(self, driver, defects: set[str]) -> None:
        self._driver, self._defects = driver, defects

    def __getattr__(self, name: str):
        return self._break if name in self._defects else getattr(self._driver, name)

    async def _break(self, *_args: object) -> None:
        raise KeyError("a defect in a driver")


class Wrapping:
    """A factory that puts something around the driver of `p1`."""

    name = "wrapping"

    def __init__(self, factory, wrap) -> None:
        self._factory, self._wrap = factory, wrap

    def create(self, printer_id, options, folder):
        driver = self._factory.create(printer_id, options, folder)
        return self._wrap(driver) if printer_id == "p1" else driver


async def wrap(farm: FleetFarm, around) -> None:
    """Restart the farm with another driver for `p1`."""
    await farm.close()
    farm.factories = {"octoprint": Wrapping(farm.factories["octoprint"], around)}
    await farm.open()
    await eventually(lambda: farm.registry.live("p1").phase == "idle")


class LateEyes:
    """A driver that tells what it sees a moment late, as one that polls does."""

    def __init__(self, driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str):
        return getattr(self._driver, name)

    async def snapshots(self):
        async for snapshot in self._driver.snapshots():
            await asyncio.sleep(0.5)
            yield snapshot


class SwallowedStart:
    """A link that takes a start command and gives no sign of what became of it."""

    def __init__(self, driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str):
        return getattr(self._driver, name)

    async def start(self, _remote: RemoteFile, _slot: str | None = None) -> None:
        raise Unreachable("no answer to the start")


class SeveralSpools:
    """A machine that feeds itself from several spools: it says what is loaded, and remembers which slot each start named."""

    def __init__(self, driver, *spools: Spool) -> None:
        self._driver, self.spools, self.fed = driver, spools, []
        self._exchanged = asyncio.Event()

    def __getattr__(self, name: str):
        return getattr(self._driver, name)

    def exchange(self, *spools: Spool) -> None:
        """Somebody puts these in."""
        self.spools = spools
        self._exchanged.set()

    async def snapshots(self):
        source = aiter(self._driver.snapshots())
        seen, coming = None, asyncio.ensure_future(anext(source))
        try:
            while True:
                exchanged = asyncio.ensure_future(self._exchanged.wait())
                await asyncio.wait({coming, exchanged}, return_when=asyncio.FIRST_COMPLETED)
                exchanged.cancel()
                self._exchanged.clear()
                if coming.done():
                    seen, coming = coming.result(), asyncio.ensure_future(anext(source))
                if seen is not None:
                    yield seen if seen.phase is Phase.OFFLINE else replace(seen, spools=self.spools)
        finally:
            coming.cancel()

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:
        if slot not in [spool.slot for spool in self.spools]:
            raise Refused(f"there is no slot {slot}")
        self.fed.append(slot)
        await self._driver.start(remote)
