"""Going through a serial machine step by step, for `farmd doctor`.

A machine whose streamer runs is asked through it: its port is taken, and a print must not be disturbed. Otherwise the port is
opened, the firmware asked who it is, and the port closed again.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from drivers.contract import Check
from drivers.gcode.client import Client, Disconnected
from drivers.gcode.port import Port, PortError, open_port
from drivers.gcode.protocol import Link
from drivers.gcode.session import Phase, Session
from drivers.gcode.settings import Settings
from drivers.gcode.window import Window

GREETING_SECONDS = 25.0


async def examine(settings: Settings, folder: Path) -> AsyncIterator[Check]:
    """See `drivers.contract.DriverFactory.examine`."""
    try:
        client = await Client.connect(folder)
    except (Disconnected, OSError):
        async for check in _by_hand(settings):
            yield check
        return
    try:
        state = await client.ask("state")
    except Disconnected as error:
        yield Check("streamer", ok=False, detail=str(error))
        return
    finally:
        await client.close()
    yield Check("streamer", ok=True, detail=f"runs, and holds {settings.port}")
    fine = state["phase"] not in ("away", "greeting", "halted")
    yield Check("firmware", fine, state["firmware"] if fine else (state["message"] or f"the machine is {state['phase']}"))


async def _by_hand(settings: Settings) -> AsyncIterator[Check]:
    greeting = Greeting(settings)
    try:
        greeting.open()
    except PortError as error:
        yield Check("port", ok=False, detail=str(error))
        return
    try:
        yield Check("port", ok=True, detail=f"{settings.port} is open at {settings.baud} baud")
        words = await greeting.wait(GREETING_SECONDS)
        machine = greeting.session.machine
        yield Check("firmware", words is None, words or machine.firmware)
        if words is None and machine.able.get("THERMAL_PROTECTION") is False:
            yield Check("safety", ok=False, detail="this firmware has no thermal protection: never let it print unattended")
    finally:
        greeting.close()


class Greeting:
    """A machine that is greeted and let go again."""

    def __init__(self, settings: Settings) -> None:
        self.session = Session(lambda: Link(Window(settings.window, settings.rx_buffer), byte_seconds=10 / settings.baud))
        self._settings = settings
        self._port: Port | None = None
        self._news = asyncio.Event()
        self._lost = ""

    def open(self) -> None:
        """Raises `PortError`."""
        self._port = open_port(self._settings.port, self._settings.baud, self._received, self._gone)
        self.session.opened(asyncio.get_running_loop().time())
        self._write()

    async def wait(self, seconds: float) -> str | None:
        """Until the machine is known; or why it is not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.session.phase is Phase.GREETING and not self._lost and loop.time() < end:
            self._news.clear()
            due = min(end, self.session.deadline() or end)
            try:
                async with asyncio.timeout_at(due):
                    await self._news.wait()
            except TimeoutError:
                self.session.tick(loop.time())
                self._write()
        if self.session.phase in (Phase.READY, Phase.FOREIGN):
            return None
        return self._lost or self.session.message or "nothing answers: is the machine switched on, and is this its baud rate?"

    def close(self) -> None:
        """Let go of the port."""
        if self._port is not None:
            self._port.close()

    def _received(self, data: bytes) -> None:
        self.session.receive(data, asyncio.get_running_loop().time())
        self._write()
        self._news.set()

    def _gone(self, words: str) -> None:
        self._lost = words
        self._news.set()

    def _write(self) -> None:
        if (data := self.session.take()) and self._port is not None:
            self._port.write(data)
