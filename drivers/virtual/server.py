"""One virtual OctoPrint put together: storage, machine, HTTP, push socket and the door they stand behind.

Only wiring. It must be built inside the event loop that runs it; timers set before a power cut or a stop never fire
after it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import WebSocketRoute

from drivers.virtual import reports
from drivers.virtual.api import ControlApi
from drivers.virtual.api_files import FilesApi
from drivers.virtual.bed import Bed
from drivers.virtual.door import Door
from drivers.virtual.faults import Faults
from drivers.virtual.files import FileStore
from drivers.virtual.machine import Handle, Machine, Timing, World
from drivers.virtual.people import People
from drivers.virtual.push import PushHub
from drivers.virtual.requests import show_error
from drivers.virtual.states import State


@dataclass(frozen=True, slots=True)
class Settings:
    """How one virtual printer is; `speed` divides print durations, `seconds_per_command` counts without an estimate."""

    host: str
    speed: float
    seconds_per_command: float
    ejects: bool
    timing: Timing
    wall: Callable[[], float]


class Server:
    """Everything of one printer that lives between a start and a stop."""

    def __init__(self, settings: Settings, people: People, root: Path, port: int, *, remember_bed: bool) -> None:
        loop = asyncio.get_running_loop()
        self._loop, self._life, self._lag = loop, 0, settings.timing.reading
        self._powered = False
        self._settled = asyncio.Event()  # the link to the machine is up, or is known to be down
        self._board = reports.JobBoard(self._lag, loop.time)
        world = World(loop.time, settings.wall, self._later, self._publish, self._changing)
        self.store = FileStore(root)
        bed = Bed(ejects=settings.ejects, memory=root / "bed.json" if remember_bed else None)
        pace = {"speed": settings.speed, "seconds_per_command": settings.seconds_per_command}
        self.machine = Machine(self.store, bed, world, settings.timing, **pace)
        self.people = people
        machine = self.machine
        self.push = PushHub(people, lambda: reports.current(machine, settings.wall()), lambda: machine.state.busy)
        control, files = ControlApi(machine, people, self._board), FilesApi(machine, people, self.store, world)
        push = WebSocketRoute("/sockjs/websocket", self.push.endpoint)
        routes = [*control.routes(), *files.routes(), push]
        self.faults = Faults(Starlette(routes=routes, exception_handlers={HTTPException: show_error}))
        self.door = Door(self.faults, settings.host, port)
        self.faults.hang_up = self.door.hang_up

    async def open(self) -> None:
        """Serve and link up with the machine, as after switching on; returns when every call says it is linked.

        Raises `OSError` when the port is taken.
        """
        await self.door.open()
        self._powered = True
        self._settled.clear()
        self.machine.connect()
        await self._settled.wait()
        await asyncio.sleep(self._lag)

    async def cut_power(self) -> None:
        """Server and machine are off at once; files and bed stay as they are."""
        self._life += 1
        self._settled.set()
        self._powered = False
        self.machine.lose_power()
        self.people.forget_sessions()
        self.push.awake.set()
        await self.door.close()

    async def restore_power(self) -> None:
        """Come up after a power cut; a server that is on is left alone."""
        if not self._powered:
            await self.open()

    def _later(self, delay: float, call: Callable[[], None]) -> Handle:
        return self._loop.call_later(delay, self._fire, self._life, call)

    def _fire(self, life: int, call: Callable[[], None]) -> None:
        if life == self._life:
            call()

    def _publish(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        if kind == "PrinterStateChanged" and self.machine.state in (State.OPERATIONAL, State.OFFLINE):
            self._settled.set()
        self.push.publish(kind, payload)

    def _changing(self) -> None:
        self._board.changing(self.machine)
