"""Keeps looking at one OctoPrint and says what it sees, through lost links and restarts.

`/api/job` is the only witness of a change. The push socket lags by a tenth of a second and would show an idle machine in the
moment after a start, so its pictures only add progress and temperatures to what was last read; anything else it says makes
the watcher read again. After every new socket the job is read before the first snapshot, since nothing missed is replayed.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from drivers.contract import DriverError, Phase, Snapshot, Temperature
from drivers.octoprint.mailbox import Mailbox
from drivers.octoprint.protocol import Changed, Current, ReauthRequired, Report, read_job, read_temperatures
from drivers.octoprint.push import NoSocket, PushSocket
from drivers.octoprint.rest import Rest

SETTLE_SECONDS = 0.15  # OctoPrint's own picture of itself lags its events by up to 0.1 s
POLL_SECONDS = 2.0
SOCKET_RETRY_SECONDS = 60.0
FIRST_DELAY_SECONDS = 0.5
LAST_DELAY_SECONDS = 30.0
THROTTLE = 4  # half seconds between two pushed pictures

log = logging.getLogger(__name__)


class Epochs:
    """Counts a driver's connections, over all its watchers."""

    def __init__(self) -> None:
        self.current = 0

    def begin(self) -> None:
        self.current += 1


class Watcher:
    """One run of looking at one machine. `jitter` gives numbers in 0..1, so that a farm does not reconnect in step."""

    def __init__(
        self, rest: Rest, printer_id: str, epochs: Epochs, mailbox: Mailbox, resync: float, jitter: Callable[[], float]
    ) -> None:
        self._rest = rest
        self._printer_id = printer_id
        self._epochs = epochs
        self._mailbox = mailbox
        self._resync = resync
        self._jitter = jitter
        self._temperatures: Mapping[str, Temperature] = {}
        self._last: Report | None = None  # None while the link is lost
        self._socket_opened = -SOCKET_RETRY_SECONDS
        self._polling = False

    async def run(self) -> None:
        """Look until cancelled; a lost link is reported and mended, never raised."""
        failures = 0
        while True:
            try:
                await self._stay_connected()
            except DriverError as error:
                self._socket_opened = -SOCKET_RETRY_SECONDS
                self._polling = False
                if self._last is not None:
                    failures = 0
                    log.warning("printer %s: link lost: %s", self._printer_id, error)
                await self._stay_offline(str(error), self._delay(failures))
                failures += 1

    async def _stay_connected(self) -> None:
        while True:
            socket = await self._open_socket()
            try:
                await self._begin(polling=socket is None)
                if socket is None:
                    await self._poll(SOCKET_RETRY_SECONDS)
                else:
                    await self._listen(socket)
            finally:
                if socket is not None:
                    await socket.close()

    async def _open_socket(self) -> PushSocket | None:
        now = asyncio.get_running_loop().time()
        if now - self._socket_opened < FIRST_DELAY_SECONDS * 4:
            return None  # it died at once: something on the way dislikes it
        self._socket_opened = now
        try:
            return await PushSocket.open(self._rest, THROTTLE)
        except NoSocket as error:
            log.info("printer %s: no push socket (%s), polling instead", self._printer_id, error)
            return None

    async def _begin(self, *, polling: bool) -> None:
        report = await self._read()
        if not (polling and self._polling):  # polling on because there is still no socket is not a new connection
            self._epochs.begin()
            self._temperatures = {}
        self._polling = polling
        self._publish(report)

    async def _listen(self, socket: PushSocket) -> None:
        """Follow the socket until it is lost or asks for a new login."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._resync
        while True:
            if loop.time() >= due:
                self._publish(await self._read())
                due = loop.time() + self._resync
            try:
                async with asyncio.timeout_at(due):
                    message = await socket.next()
            except TimeoutError:
                continue
            match message:
                case Current() if self._adds_to_what_was_read(message.report):
                    self._temperatures = message.temperatures or self._temperatures
                    self._publish(message.report)
                case Current() | Changed():
                    due = min(due, loop.time() + SETTLE_SECONDS)
                case None | ReauthRequired():
                    return

    async def _poll(self, seconds: float) -> None:
        """Do without a socket for a while."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(POLL_SECONDS)
            report = await self._read()
            answer = await self._rest.ask("/api/printer", "read the temperatures", accept=frozenset({200, 409}))
            self._temperatures = read_temperatures(answer.body)
            self._publish(report)

    async def _read(self) -> Report:
        return read_job((await self._rest.ask("/api/job", "read the job")).body)

    def _adds_to_what_was_read(self, pushed: Report) -> bool:
        last = self._last
        if last is None or (pushed.phase, pushed.file, pushed.state) != (last.phase, last.file, last.state):
            return False
        return (pushed.position or 0) >= (last.position or 0)

    def _publish(self, report: Report) -> None:
        self._last = report
        self._mailbox.put(report.snapshot(self._epochs.current, self._temperatures))

    def _delay(self, failures: int) -> float:
        full = min(LAST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 10))
        return full * (0.5 + 0.5 * self._jitter())

    async def _stay_offline(self, words: str, seconds: float) -> None:
        """Say so now, and again every resync, for `seconds`."""
        self._last = None
        while seconds > 0:
            self._mailbox.put(Snapshot(Phase.OFFLINE, self._epochs.current, message=words))
            step = min(seconds, self._resync)
            await asyncio.sleep(step)
            seconds -= step
