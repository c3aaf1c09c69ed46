"""One serial machine as the farm's driver port: it finds or starts the machine's streamer, and speaks to that alone.

The daemon may come and go: a running streamer is adopted with whatever it prints. Nothing here opens the port, and a lost
socket says nothing about the print.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.contract import (
    Busy,
    Capability,
    Concern,
    NotOurs,
    Outcome,
    Phase,
    Progress,
    Question,
    Refused,
    RemoteFile,
    Snapshot,
    Temperature,
    Unreachable,
    Wire,
)
from drivers.gcode.attendance import Phase as Doing
from drivers.gcode.client import Client, Disconnected
from drivers.gcode.control import RELEASE, Declined
from drivers.gcode.launch import NotLaunched, launch, put_settings
from drivers.gcode.settings import Settings
from drivers.gcode.spool import remove

RESYNC_SECONDS = 20.0
LAUNCH_SECONDS = 10.0
LAUNCH_PAUSES = (0.02, 0.04, 0.08, 0.16, 0.32, 0.5, 0.5)
"""Between looks for a streamer that was started; after the last it is started again: one that was ending may have held its lock."""
AWAY_SECONDS, GREETING_SECONDS = 3.0, 25.0
DISMISS_SECONDS = 15.0
FIRST_PAUSE, LAST_PAUSE = 0.2, 5.0

_PHASES = {
    Doing.AWAY: Phase.OFFLINE,
    Doing.GREETING: Phase.OFFLINE,
    Doing.READY: Phase.IDLE,
    Doing.PRINTING: Phase.PRINTING,
    Doing.HELD: Phase.PAUSED,
    Doing.STOPPING: Phase.STOPPING,
    Doing.BUSY: Phase.BUSY,
    Doing.FOREIGN: Phase.PRINTING,
    Doing.HALTED: Phase.ERROR,
}
_OF_A_PRINT = (Phase.PRINTING, Phase.PAUSED, Phase.STOPPING, Phase.FINISHED)
_REFUSALS: Mapping[str, type[Refused]] = {"busy": Busy, "not_ours": NotOurs}


class GcodeDriver:
    """Implements `drivers.contract.Driver`. `folder` holds the machine's spooled prints, journal and socket."""

    capabilities = frozenset(Capability)

    def __init__(
        self,
        printer_id: str,
        folder: Path,
        settings: Settings,
        *,
        resync: float = RESYNC_SECONDS,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._printer_id, self._folder, self._settings = printer_id, folder, settings
        self._resync, self._jitter = resync, jitter
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._outdated = False  # the streamer is of another release, or has other settings
        self._epoch = 0
        self._seen: tuple[Client | None, int] = (None, 0)  # what the epoch stands for: a connection, and a port since it was opened
        self._closed = False
        self._watching: set[asyncio.Event] = set()

    def __repr__(self) -> str:
        return f"GcodeDriver({self._printer_id!r}, {self._settings.port!r})"

    async def connect(self) -> None:
        """Find the machine's streamer, or start it, and wait until it knows the machine. Raises `Unreachable`."""
        self._closed = False
        client = await self._at_hand()
        await client.until(lambda state: state["phase"] != Doing.AWAY, AWAY_SECONDS)
        await client.until(lambda state: state["phase"] != Doing.GREETING, GREETING_SECONDS)
        self._need(client)

    def _need(self, client: Client) -> None:
        """Raises `Unreachable` while the machine is."""
        if client.broken:
            raise Unreachable(f"the streamer of {self._printer_id} has ended: see {self._folder}/log")
        if client.state["phase"] in (Doing.AWAY, Doing.GREETING):
            raise Unreachable(client.state["message"] or "nothing answers: is the machine switched on, and is this its baud rate?")

    async def _at_hand(self) -> Client:
        """A connection to the streamer; to one of this release and with the present settings, as soon as nothing is being printed.
        Raises `Unreachable`."""
        async with self._connecting:
            if self._client is not None and not self._client.broken and not self._outdated:
                return self._client
            client = self._client if self._client is not None and not self._client.broken else await self._find()
            try:
                self._outdated = await self._is_outdated(client)
                if self._outdated and await _dismissed(client):
                    await client.close()
                    client = await self._find()
                    self._outdated = await self._is_outdated(client)
                await client.ask("subscribe")
                self._client = client
            except (Declined, Disconnected) as error:
                raise Unreachable(f"the streamer of {self._printer_id} went away: {error}") from error
            finally:
                if self._client is not client:
                    await client.close()
            return client

    async def _is_outdated(self, client: Client) -> bool:
        hello = await client.ask("hello")
        return (hello.get("release"), hello["settings"]) != (RELEASE, asdict(self._settings))

    async def _find(self) -> Client:
        """A connection to the streamer that runs, or to one that is started. Raises `Unreachable`."""
        try:
            return await Client.connect(self._folder)
        except Disconnected:
            pass
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                while True:
                    await self._launch()
                    for pause in LAUNCH_PAUSES:
                        await asyncio.sleep(pause)
                        try:
                            return await Client.connect(self._folder)
                        except Disconnected:
                            continue
        except TimeoutError:
            raise Unreachable(f"the streamer of {self._printer_id} does not come up: see {self._folder}/log") from None

    async def _launch(self) -> None:
        try:
            await asyncio.to_thread(put_settings, self._folder, self._settings)
            await launch(self._folder)
        except (NotLaunched, OSError) as error:
            raise Unreachable(f"the streamer of {self._printer_id} cannot be started: {error}") from error

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See the port. A streamer that is gone is found or started again, with growing pauses."""
        pause = FIRST_PAUSE
        end = asyncio.Event()
        self._watching.add(end)
        try:
            while not self._closed:
                try:
                    client = await self._at_hand()
                except Unreachable as error:
                    yield Snapshot(Phase.OFFLINE, self._epoch, message=str(error))
                    await _first(end.wait(), asyncio.sleep(pause * (1 + self._jitter())))
                    pause = min(pause * 2, LAST_PAUSE)
                    continue
                pause = FIRST_PAUSE
                while not client.broken and not self._closed:
                    news = client.news
                    yield self._snapshot(client)
                    await _first(news.wait(), end.wait(), asyncio.sleep(self._resync))
                if client.broken and not self._closed:
                    yield Snapshot(Phase.OFFLINE, self._epoch, message="the streamer is gone")
        finally:
            self._watching.discard(end)

    def _snapshot(self, client: Client) -> Snapshot:
        state = client.state
        if self._seen != (client, state["epoch"]):
            self._seen = client, state["epoch"]
            self._epoch += 1
        phase = _PHASES.get(state["phase"], Phase.ERROR)
        if phase is Phase.IDLE and state["ended"] == "succeeded":
            phase = Phase.FINISHED
        if phase is Phase.PRINTING and state["prompt"]:
            phase = Phase.PAUSED
        foreign = state["phase"] == Doing.FOREIGN
        own = phase in _OF_A_PRINT and not foreign
        wire = state["wire"]
        return Snapshot(
            phase=phase,
            epoch=self._epoch,
            token=state["token"] if own else None,
            file=state["token"] if own else ("a print of its own card" if foreign else None),
            progress=state["sent"] / wire if wire else (1.0 if phase is Phase.FINISHED else None),
            position=state["sent"],
            temperatures={_heater(name): Temperature(*heat) for name, heat in state["heat"].items()},
            message=state["message"],
            question=_question(state["prompt"]) if own else None,
            wire=_wire(state["tally"]) if own else None,
            concerns={Concern.BAD_CABLE: state["cable"]} if state["cable"] else {},
        )

    async def upload(self, file: Path, token: str, progress: Progress) -> RemoteFile:
        """See the port. "Remote" is the machine's own folder, where the print lies framed for the wire."""
        self._need(await self._at_hand())
        try:
            size = (await asyncio.to_thread(file.stat)).st_size
        except OSError as error:
            raise Refused(f"{file} cannot be read: {error.strerror}") from error
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "drivers.gcode.spool", str(file), str(self._folder), token),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        try:
            async for line in process.stdout:
                news = json.loads(line)
                if "refused" in news:
                    raise Refused(news["refused"])
                progress(news["read"], news["size"])
            if await process.wait() != 0:
                raise Refused(f"{file.name} could not be spooled", retryable=True)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return RemoteFile(token, token, size)

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:  # noqa: ARG002 - one place only
        """See the port."""
        await self._ask("start", remote.token)

    async def pause(self, token: str) -> None:
        """See the port."""
        await self._ask("hold", token)

    async def resume(self, token: str) -> None:
        """See the port."""
        await self._ask("resume", token)

    async def answer(self, token: str, choice: int) -> None:
        """See the port."""
        await self._ask("answer", token, choice=choice)

    async def cancel(self, token: str) -> None:
        """See the port."""
        await self._ask("cancel", token)

    async def outcome(self, token: str) -> Outcome | None:
        """See the port. The streamer's journal is the machine's history."""
        ending = await self._ask("outcome", token)
        return Outcome(ending) if ending else None

    async def remove(self, remote: RemoteFile) -> None:
        """See the port."""
        client = await self._at_hand()
        if client.state.get("token") == remote.token and client.state.get("line") is not None:
            raise Busy(f"{remote.token} is being printed")
        await asyncio.to_thread(remove, self._folder, remote.token)

    async def close(self) -> None:
        """See the port. The streamer stays."""
        self._closed = True
        for end in self._watching:
            end.set()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, do: str, token: str, **words: Any) -> Any:
        try:
            client = await self._at_hand()
            return await client.ask(do, token=token, **words)
        except Declined as error:
            if error.kind == "away":
                raise Unreachable(str(error)) from error
            raise _REFUSALS.get(error.kind, Refused)(str(error)) from error
        except Disconnected as error:
            raise Unreachable(str(error)) from error


async def _dismissed(client: Client) -> bool:
    """Whether a streamer with other settings went; one that prints stays, and is asked again another day."""
    try:
        await client.ask("quit")
    except Declined:
        return False
    return await client.gone(DISMISS_SECONDS)


def _question(prompt: Mapping[str, Any] | None) -> Question | None:
    return Question(prompt["text"], tuple(prompt["choices"])) if prompt else None


def _wire(tally: Mapping[str, Any]) -> Wire:
    return Wire(tally["lines"], tally["resends"], tally["starved"])


def _heater(name: str) -> str:
    if name.startswith("T"):
        return "tool" + (name[1:] or "0")
    return {"B": "bed", "C": "chamber"}.get(name[:1], name)


async def _first(*works: Any) -> None:
    """Until the first of these is done."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
