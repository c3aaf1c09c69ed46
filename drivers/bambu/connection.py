"""One printer's link kept up: made, watched, and made anew with growing pauses, for as long as the driver is open.

What arrives goes into the session, what the session wants goes out. One timer drives all of it. A wrong access code is not tried
again soon, because the printer's screen is where it gets mended.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from itertools import count

from drivers.bambu.mqtt import TICK_SECONDS, Link
from drivers.bambu.options import Options
from drivers.bambu.session import Session
from drivers.bambu.tls import Place, Trust, dial
from drivers.contract import DriverError, Unauthorized, Unreachable

GREETING_SECONDS = 10.0
READY_SECONDS = 25.0
"""How long a printer may take to the first full report of a connection."""
STABLE_SECONDS = 20.0
"""A link that breaks sooner counts as one that failed."""
FIRST_PAUSE, LAST_PAUSE, LOCKED_OUT_PAUSE = 0.5, 30.0, 60.0

log = logging.getLogger(__name__)
_numbers = count(1)


class Connection:
    """Keeps `session` fed. `changed()` is called on the loop whenever there may be something new to tell; `jitter` gives numbers in
    0..1, so that a farm does not reconnect in step."""

    def __init__(
        self,
        printer_id: str,
        options: Options,
        trust: Trust,
        session: Session,
        changed: Callable[[], None],
        jitter: Callable[[], float],
    ) -> None:
        self._printer_id, self._options, self._trust = printer_id, options, trust
        self._session, self._changed, self._jitter = session, changed, jitter
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wake: asyncio.Event | None = None  # while it pauses
        self._attempt: asyncio.Future[object] | None = None
        self._lost: asyncio.Future[object] | None = None
        self._refused: tuple[Unauthorized, float] | None = None
        self.words = "not connected yet"  # why there is no link

    @property
    def up(self) -> bool:
        """A link stands, and the printer told its whole state over it."""
        return self._link is not None and self._link.alive and self._session.ready

    async def open(self) -> None:
        """Come up now. Returns when the printer told its state; raises what the next attempt ends with (`Unreachable`,
        `Unauthorized`), while further ones go on by themselves."""
        if self.up:
            return
        now = asyncio.get_running_loop().time()
        if self._refused is not None and now < self._refused[1]:
            raise Unauthorized(str(self._refused[0]))
        attempt = self._came_up()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"bambu {self._printer_id}")
        if self._wake is not None:
            self._wake.set()
        await asyncio.shield(attempt)

    def send(self) -> bool:
        """Let what the session wants to say go out. False when it certainly did not."""
        link, left = self._link, True
        for payload in self._session.take():
            left = link is not None and link.publish(payload) and left
        return left and link is not None

    def soon(self) -> None:
        """Look at the clock again: something is expected to happen."""
        self._arm()

    async def close(self) -> None:
        """Let go of the printer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._attempt is not None and not self._attempt.done():
            self._attempt.set_exception(Unreachable("this driver was closed"))
        self._attempt = None

    async def _run(self) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                self.words = await self._stay()
                failures = 0 if loop.time() - begun > STABLE_SECONDS else failures + 1
            except DriverError as error:
                self.words = str(error)
                failures += 1
                self._failed(error)
            log.info("printer %s: no link: %s", self._printer_id, self.words)
            self._changed()
            self._wake = asyncio.Event()
            try:
                async with asyncio.timeout(self._pause(failures)):
                    await self._wake.wait()
            except TimeoutError:
                continue
            finally:
                self._wake = None

    def _failed(self, error: DriverError) -> None:
        until = asyncio.get_running_loop().time() + LOCKED_OUT_PAUSE
        self._refused = (error, until) if isinstance(error, Unauthorized) else None
        attempt, self._attempt = self._attempt, self._new_attempt()
        if attempt is not None and not attempt.done():
            attempt.set_exception(error)

    def _pause(self, failures: int) -> float:
        if self._refused is not None:
            return LOCKED_OUT_PAUSE
        return min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * (0.5 + 0.5 * self._jitter())

    async def _stay(self) -> str:
        """One link from its beginning to its end, which is told in words. Raises `DriverError` when it never came up."""
        loop = asyncio.get_running_loop()
        options = self._options
        self._lost = loop.create_future()
        sock = await dial(Place(options.host, options.mqtt_port, options.serial), self._trust.context(newest=True))
        try:
            await self._trust.check(sock)
        except BaseException:
            sock.close()
            raise
        client_id = f"farmd-{options.serial}-{os.getpid()}-{next(_numbers)}"
        link = Link(sock, options.serial, client_id, self._received, self._gone)
        try:
            await link.open(options.host, options.mqtt_port, options.access_code, GREETING_SECONDS)
            self._refused = None
            self._session.opened(loop.time())
            self._link = link
            self.send()
            self._arm()
            return await self._until_lost()
        finally:
            self._link = None
            if self._timer is not None:
                self._timer.cancel()
            self._session.lost()
            link.close()

    async def _until_lost(self) -> str:
        assert self._lost is not None  # noqa: S101 - set where this is called
        up, lost = self._came_up(), self._lost
        await asyncio.wait({up, lost}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise Unreachable(str(lost.result()))
        if not up.done():
            raise Unreachable(f"connected, but nothing is reported for the serial number {self._options.serial}: is it right?")
        return str(await lost)

    def _came_up(self) -> "asyncio.Future[object]":
        if self._attempt is None or self._attempt.done():
            self._attempt = self._new_attempt()
        return self._attempt

    def _new_attempt(self) -> "asyncio.Future[object]":
        attempt: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        attempt.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting for it
        return attempt

    def _received(self, payload: bytes | bytearray) -> None:
        session = self._session
        session.receive(payload, asyncio.get_running_loop().time())
        self.send()
        if session.ready and self._attempt is not None and not self._attempt.done():
            self._attempt.set_result(None)
        self._changed()

    def _gone(self, words: str) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(words)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._link is not None:
            loop = asyncio.get_running_loop()
            due = min(max(self._session.deadline(), loop.time() + 0.1), loop.time() + TICK_SECONDS)
            self._timer = loop.call_at(due, self._tick)

    def _tick(self) -> None:
        link, now = self._link, asyncio.get_running_loop().time()
        if link is None:
            return
        link.tick()
        if self._session.tick(now):
            self._gone(f"the printer has been silent for {now - self._session.heard_at:.0f} s")
        self.send()
        self._changed()
        self._arm()
