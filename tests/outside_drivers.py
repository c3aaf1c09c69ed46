"""Drivers somebody else might have written, around a real one: late, or with a defect in them."""

import asyncio
from dataclasses import replace

from drivers.contract import Concern, Phase, Refused, RemoteFile, Spool, Unreachable
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


class SickStorage:
    """A machine whose storage fails and recovers when a test says so."""

    def __init__(self, driver, trouble: str | None = None) -> None:
        self._driver, self.trouble = driver, trouble
        self._turned = asyncio.Event()

    def __getattr__(self, name: str):
        return getattr(self._driver, name)

    def turns(self, trouble: str | None) -> None:
        """From now on the machine says this of its storage; None: it is well."""
        self.trouble = trouble
        self._turned.set()

    async def snapshots(self):
        async for seen in interrupted(self._driver.snapshots(), self._turned):
            yield replace(seen, concerns={Concern.STORAGE: self.trouble} if self.trouble else {})


async def interrupted(snapshots, bell: asyncio.Event):
    """The snapshots, and the last one again whenever the bell rings."""
    source = aiter(snapshots)
    seen, coming = None, asyncio.ensure_future(anext(source))
    try:
        while True:
            rung = asyncio.ensure_future(bell.wait())
            await asyncio.wait({coming, rung}, return_when=asyncio.FIRST_COMPLETED)
            rung.cancel()
            bell.clear()
            if coming.done():
                seen, coming = coming.result(), asyncio.ensure_future(anext(source))
            if seen is not None:
                yield seen
    finally:
        coming.cancel()


class SeveralSpools:
    """A machine that feeds itself from several spools: it says what is loaded, and remembers which slot each start named."""

    def __init__(self, driver, *spools: Spool) -> None:
        self._driver, self.spools, self.fed = driver, spools, []
        self._exchanged = asyncio.Event()

    def __getattr__(self, name: str):
        return getattr(self._driver, name)

    def exchange(self, spools: list[Spool] | None) -> None:
        """Somebody puts these in; None: it does not tell any more."""
        self.spools = None if spools is None else tuple(spools)
        self._exchanged.set()

    async def snapshots(self):
        async for seen in interrupted(self._driver.snapshots(), self._exchanged):
            yield seen if seen.phase is Phase.OFFLINE else replace(seen, spools=self.spools)

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:
        if slot not in [spool.slot for spool in self.spools or ()]:
            raise Refused(f"there is no slot {slot}")
        self.fed.append(slot)
        await self._driver.start(remote)
