"""The bench a driver stands on while `drivers.conformance` tries it.

A `Harness` is what a driver's author supplies: one machine at rest and a way to hurt its link. A `Bench` is that machine
with a connected driver, whose snapshots a `Watch` keeps in order. Every wait has a deadline and ends in an AssertionError
that says what was last seen; nothing here knows a protocol.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from drivers.contract import Capability, Driver, DriverError, Outcome, Phase, RemoteFile, Snapshot


def check(condition: bool, words: str) -> None:
    """Raise AssertionError with `words` unless `condition` holds; unlike `assert` it also works under `python -O`."""
    if not condition:
        raise AssertionError(words)


class NotApplicable(Exception):
    """The driver does not claim what this case needs; skip it and say so."""


class Harness(Protocol):
    """One machine, at rest and with a clear bed when a case begins: fresh, or put to rest after the case before."""

    @property
    def patience(self) -> float:
        """Seconds any one change of state may take, the driver's own resync included."""

    def driver(self) -> Driver:
        """A new driver of the machine, not yet connected. A case may ask for several, one after the other."""

    def stranger(self) -> Driver | None:
        """A driver with wrong credentials; None where the protocol has none."""

    def gcode(self, seconds: float) -> Path:
        """A file this machine prints in about `seconds`; the same bytes for the same `seconds`."""

    async def start_foreign(self) -> None:
        """Start a long print as a person at the machine would, under a name of no farm."""

    async def cut(self) -> None:
        """Break the link between driver and machine: open connections die, new ones fail. The machine goes on."""

    async def restore(self) -> None:
        """Mend the link; does nothing when it is whole."""


class Watch:
    """Collects a driver's snapshots in the background and waits for them in order."""

    def __init__(self, driver: Driver, patience: float) -> None:
        self.seen: list[Snapshot] = []
        self._driver = driver
        self._patience = patience
        self._next = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _collect(self) -> None:
        try:
            async for snapshot in self._driver.snapshots():
                self.seen.append(snapshot)
                self._news.set()
        finally:
            self._news.set()

    @property
    def ended(self) -> bool:
        """The driver's snapshots came to an end."""
        return self._task is not None and self._task.done()

    async def end(self) -> None:
        """Wait until the snapshots end; AssertionError after `patience`."""
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=self._patience)
            check(bool(done), f"the snapshots did not end within {self._patience:.0f} s")

    async def until(self, what: str, condition: Callable[[Snapshot], bool]) -> Snapshot:
        """The first snapshot after the one last waited for that meets `condition`; AssertionError after `patience`."""
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    while self._next < len(self.seen):
                        snapshot = self.seen[self._next]
                        self._next += 1
                        if condition(snapshot):
                            return snapshot
                    check(not self.ended, f"the snapshots ended while waiting for: {what}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            last = self.seen[-1] if self.seen else None
            raise AssertionError(f"not seen within {self._patience:.0f} s: {what}; last seen: {last}") from None

    async def phase(self, phase: Phase, token: str | None = None) -> Snapshot:
        """Wait for `phase`, and for `token` when one is given."""
        return await self.until(
            f"{phase} {token or ''}", lambda seen: seen.phase is phase and (token is None or seen.token == token)
        )

    def fresh(self) -> None:
        """Forget what came so far: only snapshots from now on count for the next wait."""
        self._next = len(self.seen)

    async def next(self) -> Snapshot:
        """The next snapshot from now on, whatever it says."""
        self.fresh()
        return await self.until("any snapshot", lambda _seen: True)


@dataclass(frozen=True, slots=True)
class Bench:
    """A harness with one connected, watched driver."""

    harness: Harness
    driver: Driver
    watch: Watch

    def needs(self, capability: Capability) -> None:
        if capability not in self.driver.capabilities:
            raise NotApplicable(f"the driver does not claim {capability}")

    async def upload(self, seconds: float) -> RemoteFile:
        """Put a printable file on the machine under a new token."""
        return await self.driver.upload(self.harness.gcode(seconds), new_token(), lambda _sent, _total: None)

    async def history(self, token: str) -> Outcome:
        """The outcome of a print that ended, as soon as the machine has written it down."""
        for _ in range(int(self.harness.patience * 10)):
            if (outcome := await self.driver.outcome(token)) is not None:
                return outcome
            await asyncio.sleep(0.1)
        raise AssertionError("a print that ended has no outcome")

    async def printing(self, seconds: float) -> RemoteFile:
        """Upload and start a print, and see it run."""
        remote = await self.upload(seconds)
        await self.driver.start(remote)
        await self.watch.phase(Phase.PRINTING, remote.token)
        return remote

    async def still_printing(self, token: str | None) -> None:
        """What is reported from now on is the print of `token`, unharmed."""
        snapshot = await self.watch.next()
        check(snapshot.phase is Phase.PRINTING, f"the print was disturbed: {snapshot}")
        check(snapshot.token == token, f"another print runs: {snapshot}")


def new_token() -> str:
    """A token in the alphabet every driver must take: letters, digits and dashes."""
    return f"conf-{secrets.token_hex(6)}"


@asynccontextmanager
async def bench(harness: Harness) -> AsyncIterator[Bench]:
    """A connected driver whose first snapshot has been seen."""
    driver = harness.driver()
    try:
        await driver.connect()
        async with Watch(driver, harness.patience) as watch:
            await watch.until("a first snapshot", lambda _seen: True)
            yield Bench(harness, driver, watch)
    finally:
        await driver.close()


@asynccontextmanager
async def expect(kind: type[DriverError]) -> AsyncIterator[None]:
    """The block must raise `kind` with words in it; any other end is an AssertionError."""
    try:
        yield
    except kind as error:
        check(bool(str(error).strip()), f"{type(error).__name__} came without a message")
    except DriverError as error:
        raise AssertionError(f"expected {kind.__name__}, got {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"expected {kind.__name__}, but the call succeeded")
