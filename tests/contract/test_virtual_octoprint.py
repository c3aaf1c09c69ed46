"""The virtual OctoPrint is what it says: the driver passes its suite on it, and the real one answers the same script alike."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from drivers.conformance import CASES, NotApplicable, run
from drivers.octoprint.driver import OctoPrintDriver
from drivers.virtual.octoprint import VirtualOctoPrint
from tests.contract.real_octoprint import API_KEY, VIEWER_KEY, running_octoprint
from tests.plain_http import NO_TLS

PATIENCE = 15.0
SPEED = 4.0  # short prints take half a second, long ones outlast every case


class VirtualHarness:
    """The driver suite's view of one virtual printer."""

    patience = PATIENCE

    def __init__(self, printer: VirtualOctoPrint, folder: Path) -> None:
        self._printer, self._folder = printer, folder

    def driver(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._printer.url, self._printer.api_key, resync=0.5)

    def stranger(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._printer.url, "0" * 32, resync=0.5)

    def gcode(self, seconds: float) -> Path:
        file = self._folder / f"{seconds:.0f}.gcode"
        estimate = f"; estimated printing time (normal mode) = {seconds:.0f}s\n"
        file.write_bytes(estimate.encode() + b"G1 X1\n" * 5000)
        return file

    async def start_foreign(self) -> None:
        self._printer.start_foreign()

    async def cut(self) -> None:
        await self._printer.go_offline()

    async def restore(self) -> None:
        await self._printer.come_back()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_octoprint_driver_conforms_on_it(name: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with VirtualOctoPrint(speed=SPEED) as printer:
            try:
                await run(name, VirtualHarness(printer, tmp_path))
            except NotApplicable as reason:
                pytest.skip(str(reason))

    asyncio.run(go())


# --- the same script on both ---

TOLD_AT_ANY_TIME = {
    "MetadataStatisticsUpdated",  # written by another thread: somewhere between the end of a print and 0.1 s later
    "ConnectionsAutorefreshed",  # whenever the host's serial ports are looked through
    *("ClientOpened", "ClientClosed", "ClientAuthed", "UserLoggedIn", "UserLoggedOut", "ConnectivityChanged", "SettingsUpdated"),
}
OF_THE_MACHINE = {"hash", "session", "needs", "permissions", "resource", "download", "ports", "logs", "free", "total"}
MOVES = b"G90\nM82\n" + b"".join(b"G1 X%d F6000\n" % (10 * step) for step in range(1, 150))


def shape(value: Any, key: str = "") -> Any:
    """What may be compared: every key, every word, the kind of every number."""
    if key in OF_THE_MACHINE:
        return key
    if isinstance(value, dict):
        return {name: shape(inner, name) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return sorted((shape(inner) for inner in value), key=repr)
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else value


@dataclass
class Transcript:
    """What one server answered and told."""

    answers: dict[str, Any] = field(default_factory=dict)
    events: dict[str, list[str]] = field(default_factory=dict)
    payloads: dict[str, set[str]] = field(default_factory=dict)
    messages: dict[str, set[str]] = field(default_factory=dict)


class Visitor:
    """Goes through the script at one server and writes the transcript."""

    def __init__(self, client: httpx.AsyncClient, viewer_key: str) -> None:
        self.client, self.viewer_key = client, viewer_key
        self.transcript = Transcript()
        self._told: list[str] = []
        self._news = asyncio.Event()

    async def ask(self, name: str, method: str, path: str, **request: Any) -> None:
        answer = await self.client.request(method, path, **request)
        body = answer.json() if answer.content else None
        location = answer.headers.get("location", "").partition("/api/")[2]
        told = (answer.status_code, answer.headers["content-type"].partition(";")[0], location, shape(body))
        self.transcript.answers[name] = told

    async def upload(self, name: str, file: str, content: bytes = MOVES, **fields: str) -> None:
        await self.ask(name, "POST", "/api/files/local", files={"file": (file, content)}, data=fields)

    async def command(self, name: str, path: str, **body: Any) -> None:
        await self.ask(name, "POST", path, json=body)

    async def job(self, name: str, **body: Any) -> None:
        await self.command(name, "/api/job", **body)

    async def state(self, words: str) -> None:
        """Wait for the state in `words`, as /api/job shows it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if (await self.client.get("/api/job")).json()["state"] == words:
                    return
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def chapter(self, name: str, last: str, statistics: int, anywhere: str = "") -> AsyncIterator[None]:
        """Write down the events of the block, which ends when `last`, `anywhere` and all statistics were told.

        `anywhere` is told by a thread of its own: it must come, before, after or between the others.
        """
        self._told.clear()
        yield
        async with asyncio.timeout(PATIENCE):
            awaited = {last, anywhere} - {""}
            while not awaited.issubset(self._told) or self._told.count("MetadataStatisticsUpdated") < statistics:
                self._news.clear()
                await self._news.wait()
        self.transcript.events[name] = [event for event in self._told if event not in TOLD_AT_ANY_TIME | {anywhere}]

    async def listen(self) -> None:
        login = (await self.client.post("/api/login", json={"passive": True})).json()
        address = str(self.client.base_url).replace("http", "ws", 1).rstrip("/")
        async with websockets.connect(f"{address}/sockjs/websocket") as socket:
            await socket.send(json.dumps({"subscribe": {"state": {"logs": False}, "events": True, "plugins": False}}))
            await socket.send(json.dumps({"auth": f"{login['name']}:{login['session']}"}))
            self._news.set()
            async for message in socket:
                for kind, content in json.loads(message).items():
                    self.transcript.messages.setdefault(kind, set()).update(content or ())
                    if kind == "event":
                        self._hear(content["type"], content["payload"])

    def _hear(self, kind: str, payload: dict[str, Any] | None) -> None:
        self._told.append(payload["state_id"] if payload and kind == "PrinterStateChanged" else kind)
        if kind not in TOLD_AT_ANY_TIME | {"Error"}:  # some errors come with a link to an explanation
            said = set(payload or ()) - ({"reason"} if kind == "PrintCancelled" else set())  # the real one adds it now and then
            self.transcript.payloads.setdefault(kind, set()).update(said)
        self._news.set()


async def look_around(to: Visitor) -> None:
    await to.ask("version", "GET", "/api/version")
    await to.ask("job of a fresh server", "GET", "/api/job")
    await to.ask("printer at rest", "GET", "/api/printer")
    await to.ask("printer without sd", "GET", "/api/printer?exclude=sd,temperature")
    await to.ask("connection", "GET", "/api/connection")
    await to.ask("no files", "GET", "/api/files")
    await to.job("start with nothing selected", command="start")
    for command in ("cancel", "restart", "pause", "bogus"):
        await to.job(f"{command} at rest", command=command, action="pause")
    await to.ask("a command without its content type", "POST", "/api/job", content=b'{"command": "start"}')
    await to.ask("a broken command", "POST", "/api/job", content=b"{", headers={"content-type": "application/json"})
    await to.ask("an unknown page", "GET", "/api/nothing")
    for key, who in (("wrong", "wrong key"), (to.viewer_key, "viewer")):
        for method, path in (
            ("GET", "/api/job"),
            ("POST", "/api/job"),
            ("POST", "/api/login"),
            ("DELETE", "/api/files/local/a.gcode"),
        ):
            body = {"json": {"command": "cancel", "passive": True}} if method == "POST" else {}
            if (who, path) not in (("viewer", "/api/login"), ("viewer", "/api/files/local/a.gcode")):
                await to.ask(f"{who}: {method} {path}", method, path, headers={"X-Api-Key": key}, **body)


async def upload_files(to: Visitor) -> None:
    await to.upload("upload", "a.gcode", path="farmd", userdata='{"token": "t-1"}')
    await to.upload("upload selected", "other.gcode", select="true")
    await to.ask("job selected", "GET", "/api/job")
    await to.upload("upload again, not to overwrite", "other.gcode", noOverwrite="true")
    await to.upload("upload elsewhere under another name", "x.gcode", filename="y.gcode", path="/abs/z")
    for name in ("../../etc/x.gcode", "x.txt", "x.stl", "äö weird name (1) #2 & x?.gcode", ".hidden.gcode", "con.gcode"):
        await to.upload(f"upload {name}", name)
    await to.upload("upload out of the storage", "x.gcode", path="../out")
    await to.upload("upload with broken userdata", "x.gcode", userdata="{")
    await to.ask("upload of nothing", "POST", "/api/files/local", files={"else": (None, "x")})
    await to.ask("make a folder", "POST", "/api/files/local", files={"foldername": (None, "empty")})
    await to.ask("delete a folder", "DELETE", "/api/files/local/empty")
    await to.ask("file never printed", "GET", "/api/files/local/farmd/a.gcode")
    await to.ask("folder", "GET", "/api/files/local/farmd")
    await to.ask("all files", "GET", "/api/files?recursive=true")
    await to.ask("missing file", "GET", "/api/files/local/farmd/none.gcode")
    await to.command("start a missing file", "/api/files/local/farmd/none.gcode", command="select", print=True)
    await to.command("bogus command on a file", "/api/files/local/farmd/a.gcode", command="bogus")
    await to.ask("delete a missing file", "DELETE", "/api/files/local/farmd/none.gcode")


async def print_to_the_end(to: Visitor) -> None:
    async with to.chapter("start", "PRINTING", 0):
        await to.command("start", "/api/files/local/farmd/a.gcode", command="select", print=True)
    await to.state("Printing")
    await to.command("start on busy", "/api/files/local/other.gcode", command="select", print=True)
    await to.job("start again", command="start")
    await to.ask("delete while printing", "DELETE", "/api/files/local/farmd/a.gcode")
    await to.ask("delete its folder while printing", "DELETE", "/api/files/local/farmd")
    await to.upload("overwrite while printing", "a.gcode", path="farmd")
    await to.upload("upload and print on busy", "busy.gcode", print="true")
    await to.job("resume while printing", command="pause", action="resume")
    await to.job("an unknown action", command="pause", action="bogus")
    async with to.chapter("pause", "PAUSED", 0):
        await to.job("pause", command="pause", action="pause")
    await to.state("Paused")
    await to.job("pause again", command="pause", action="pause")
    await to.ask("job paused", "GET", "/api/job")
    await to.ask("printer paused", "GET", "/api/printer?exclude=temperature")
    await to.job("start paused", command="start")
    await to.ask("delete paused", "DELETE", "/api/files/local/farmd/a.gcode")
    async with to.chapter("resume", "PRINTING", 0):
        await to.job("resume", command="pause", action="resume")
    async with to.chapter("finish", "OPERATIONAL", 1):
        pass
    await to.state("Operational")
    await to.ask("job finished", "GET", "/api/job")
    await to.ask("file printed", "GET", "/api/files/local/farmd/a.gcode")


async def cancel_a_print(to: Visitor) -> None:
    await to.command("start anew", "/api/files/local/farmd/a.gcode", command="select", print=True)
    await to.state("Printing")
    async with to.chapter("cancel", "OPERATIONAL", 1, anywhere="PrintFailed"):
        await to.job("cancel", command="cancel")
    await to.state("Operational")
    await to.job("cancel again", command="cancel")
    await to.ask("job cancelled", "GET", "/api/job")
    await to.ask("file cancelled", "GET", "/api/files/local/farmd/a.gcode")
    await to.upload("the same bytes again", "a.gcode", path="farmd")
    await to.ask("file with its history", "GET", "/api/files/local/farmd/a.gcode")
    await to.upload("other bytes", "a.gcode", MOVES + b"G1 X1\n", path="farmd")
    await to.ask("file without its history", "GET", "/api/files/local/farmd/a.gcode")
    await to.ask("delete what is selected", "DELETE", "/api/files/local/farmd/a.gcode")
    await to.ask("job with nothing left", "GET", "/api/job")


async def lose_the_machine(to: Visitor) -> None:
    for fault in ("drop_connection", "trigger_fatal_error_marlin", "maxtemp_error", "action_disconnect"):
        await to.command(f"start before {fault}", "/api/files/local/other.gcode", command="select", print=True)
        await to.state("Printing")
        async with to.chapter(fault, "OFFLINE", 1, anywhere="PrintFailed"):
            await to.command(fault, "/api/printer/command", command=f"!!DEBUG:{fault}")
        await to.state("Offline" if fault == "action_disconnect" else "Offline after error")
        await to.ask(f"job after {fault}", "GET", "/api/job")
        await to.ask(f"printer after {fault}", "GET", "/api/printer")
        await to.ask(f"connection after {fault}", "GET", "/api/connection")
        await to.ask(f"file after {fault}", "GET", "/api/files/local/other.gcode")
        if fault == "drop_connection":
            await to.command("start offline", "/api/files/local/other.gcode", command="select", print=True)
            await to.job("cancel offline", command="cancel")
            await to.upload("upload and print offline", "offline.gcode", print="true")
            await to.command("connect to nowhere", "/api/connection", command="connect", port="NOWHERE")
        async with to.chapter(f"connect after {fault}", "UpdatedFiles", 0):
            await to.command("connect", "/api/connection", command="connect", port="VIRTUAL", baudrate=115200)
        await to.state("Operational")


async def transcribe(url: str, api_key: str, viewer_key: str) -> Transcript:
    async with httpx.AsyncClient(
        base_url=url, headers={"X-Api-Key": api_key}, timeout=10, trust_env=False, verify=NO_TLS
    ) as client:
        visitor = Visitor(client, viewer_key)
        await visitor.state("Operational")
        await look_around(visitor)
        listening = asyncio.create_task(visitor.listen())
        async with asyncio.timeout(PATIENCE):
            await visitor._news.wait()
        try:
            for part in (upload_files, print_to_the_end, cancel_a_print, lose_the_machine):
                await part(visitor)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
        return visitor.transcript


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Transcript, Transcript]:
    """What the virtual and the real one made of the script."""

    async def virtual() -> Transcript:
        async with VirtualOctoPrint() as printer:
            return await transcribe(printer.url, printer.api_key, printer.viewer_key)

    with running_octoprint(tmp_path_factory.mktemp("octoprint")) as real:
        return asyncio.run(virtual()), asyncio.run(transcribe(real.url, API_KEY, VIEWER_KEY))


def differences(virtual: dict[str, Any], real: dict[str, Any], same: Callable[[Any, Any], bool] = lambda a, b: a == b) -> list[str]:
    assert len(real) > 3
    names = list(dict.fromkeys([*real, *virtual]))
    wrong = [name for name in names if not same(virtual.get(name), real.get(name))]
    return [f"{name}\n  virtual {virtual.get(name)}\n  real    {real.get(name)}" for name in wrong]


@pytest.mark.octoprint
def test_every_answer_is_the_real_ones(both: tuple[Transcript, Transcript]) -> None:
    virtual, real = both
    wrong = differences(virtual.answers, real.answers)
    assert not wrong, "\n".join(wrong)


@pytest.mark.octoprint
def test_messages_have_the_real_ones_keys(both: tuple[Transcript, Transcript]) -> None:
    virtual, real = both
    wrong = differences(virtual.messages, real.messages)
    assert not wrong, "\n".join(wrong)


@pytest.mark.octoprint
def test_events_come_in_the_real_order(both: tuple[Transcript, Transcript]) -> None:
    virtual, real = both
    wrong = differences(virtual.events, real.events)
    assert not wrong, "\n".join(wrong)


@pytest.mark.octoprint
def test_events_say_what_the_real_ones_say(both: tuple[Transcript, Transcript]) -> None:
    virtual, real = both
    wrong = differences(virtual.payloads, real.payloads)
    assert not wrong, "\n".join(wrong)
