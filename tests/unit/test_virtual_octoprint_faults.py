"""What goes wrong with a virtual OctoPrint on demand, seen by a client over real sockets."""

import asyncio
import json
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from drivers.virtual.fleet import run_fleet
from drivers.virtual.history import Outcome
from drivers.virtual.machine import Timing
from drivers.virtual.octoprint import VirtualOctoPrint
from tests.plain_http import NO_TLS

pytestmark = pytest.mark.slow

PATIENCE = 30.0
LONG = b"; estimated printing time (normal mode) = 10m 0s\n" + b"G1 X1\n" * 50_000
BRIEF = b"G1 X1\n" * 5
START = {"command": "select", "print": True}


class Client:
    """One person with a key at one printer."""

    def __init__(self, printer: VirtualOctoPrint, http: httpx.AsyncClient) -> None:
        self.printer, self.http = printer, http

    async def upload(self, content: bytes = LONG, name: str = "a.gcode") -> None:
        answer = await self.http.post("/api/files/local", files={"file": (name, content)}, data={"path": "farmd"})
        assert answer.status_code == 201, answer.text

    async def start(self, name: str = "a.gcode") -> int:
        return (await self.http.post(f"/api/files/local/farmd/{name}", json=START)).status_code

    async def job(self) -> Any:
        return (await self.http.get("/api/job")).json()

    async def prints(self, name: str = "a.gcode") -> Any:
        return (await self.http.get(f"/api/files/local/farmd/{name}")).json().get("prints")

    async def until(self, state: str) -> Any:
        """The job as soon as it shows `state`."""
        async with asyncio.timeout(PATIENCE):
            while True:
                job = await self.job()
                if job["state"] == state:
                    return job
                await asyncio.sleep(0.01)


async def happens(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def visiting(printer: VirtualOctoPrint, **options: Any) -> AsyncIterator[Client]:
    headers = {"X-Api-Key": printer.api_key}
    async with httpx.AsyncClient(base_url=printer.url, headers=headers, trust_env=False, verify=NO_TLS, **options) as http:
        yield Client(printer, http)


def with_printer(test: Callable[[Client], Awaitable[None]], **options: Any) -> None:
    async def go() -> None:
        async with VirtualOctoPrint(**options) as printer, visiting(printer, timeout=PATIENCE) as client:
            await test(client)

    asyncio.run(go())


def test_offline_refuses_connections_and_the_print_goes_on() -> None:
    async def go(client: Client) -> None:
        await client.upload(BRIEF * 10)
        await client.start()
        url = client.printer.url
        await client.printer.go_offline()
        await client.printer.go_offline()
        with pytest.raises(httpx.ConnectError):
            await client.job()
        await happens(lambda: client.printer.state == "Operational")
        await client.printer.come_back()
        assert client.printer.url == url
        assert (await client.prints())["success"] == 1

    with_printer(go)


def test_a_command_sent_into_a_hanging_server_is_carried_out_later() -> None:
    """The trap of every timeout: the caller gave up, the print begins."""

    async def go(client: Client) -> None:
        printer = client.printer
        await client.upload()
        await printer.hang()
        async with visiting(printer, timeout=0.3) as impatient:
            with pytest.raises(httpx.ReadTimeout):
                await impatient.start()
            assert printer.history == []
        with pytest.raises(httpx.ReadTimeout):  # on the connection that was open before, too
            await client.http.get("/api/job", timeout=0.3)
        await printer.unhang()
        await client.until("Printing")
        assert [record.path for record in printer.history] == ["farmd/a.gcode"]

    with_printer(go)


def test_a_lost_answer_hides_a_start_that_happened() -> None:
    async def go(client: Client) -> None:
        await client.upload()
        client.printer.lose_start_answer()
        with pytest.raises(httpx.TransportError):
            await client.start()
        job = await client.until("Printing")
        assert job["job"]["file"]["path"] == "farmd/a.gcode"
        assert await client.start() == 409
        assert len(client.printer.history) == 1

    with_printer(go)


def test_answers_can_be_late() -> None:
    async def go(client: Client) -> None:
        client.printer.set_delay(5)
        with pytest.raises(httpx.ReadTimeout):
            await client.http.get("/api/version", timeout=0.2)
        client.printer.set_delay(0)
        assert (await client.http.get("/api/version")).status_code == 200

    with_printer(go)


def test_lost_power_leaves_the_part_and_no_entry() -> None:
    async def go(client: Client) -> None:
        printer = client.printer
        await client.upload()
        await client.start()
        await client.until("Printing")
        await printer.lose_power()
        with pytest.raises(httpx.ConnectError):
            await client.job()
        await printer.restore_power()
        job = await client.job()
        assert (job["state"], job["job"]["file"]["path"]) == ("Operational", None)
        assert await client.prints() is None
        assert printer.bed_occupied
        assert await client.start() == 204
        assert [record.outcome for record in printer.history] == [Outcome.LOST, Outcome.RUNNING]
        assert printer.crashes == 1

    with_printer(go)


def test_a_cleared_bed_takes_the_next_print() -> None:
    async def go(client: Client) -> None:
        await client.upload(BRIEF)
        for _ in range(2):
            assert await client.start() == 204
            await happens(lambda: client.printer.history[-1].outcome is Outcome.SUCCEEDED)
            await client.until("Operational")
            client.printer.clear_bed()
        assert (client.printer.crashes, client.printer.bed_occupied) == (0, False)

    with_printer(go)


def test_the_machines_faults_show_in_its_words() -> None:
    async def go(client: Client) -> None:
        printer = client.printer
        await client.upload()
        for fault, error in ((printer.drop_link, "SerialTimeoutException: "), (printer.firmware_error, "MAXTEMP triggered! - ok")):
            assert await client.start() == 204
            await client.until("Printing")
            fault()
            job = await client.until("Offline after error")
            assert (job["error"], job["job"]["file"]["path"]) == (error, None)
            assert (await client.http.get("/api/printer")).status_code == 409
            printer.link_up()
            await client.until("Operational")
        assert (await client.prints())["failure"] == 2

    with_printer(go)


def test_a_frozen_machine_stands_still_until_it_is_given_up() -> None:
    async def go(client: Client) -> None:
        await client.upload()
        await client.start()
        await client.until("Printing")
        client.printer.freeze_machine()
        first, second = await client.job(), await client.job()
        assert first["progress"]["filepos"] == second["progress"]["filepos"]
        assert "Too many consecutive timeouts" in (await client.until("Offline after error"))["error"]

    with_printer(go, timing=Timing(unanswered=0.5))


def test_a_strangers_print_names_the_stranger() -> None:
    async def go(client: Client) -> None:
        await client.upload()
        path = client.printer.start_foreign()
        job = await client.until("Printing")
        assert (job["job"]["user"], job["job"]["file"]["path"]) == ("somebody", path)
        assert await client.start() == 409
        with pytest.raises(RuntimeError, match="by hand"):
            client.printer.start_foreign()

    with_printer(go)


# --- the push socket ---


@asynccontextmanager
async def listening(client: Client, *messages: dict[str, Any]) -> AsyncIterator[websockets.ClientConnection]:
    login = (await client.http.post("/api/login", json={"passive": True})).json()
    async with websockets.connect(f"{client.printer.url.replace('http', 'ws')}/sockjs/websocket") as socket:
        assert "connected" in json.loads(await socket.recv())
        for message in (*messages, {"auth": f"{login['name']}:{login['session']}"}):
            await socket.send(json.dumps(message))
        yield socket


async def hear(socket: websockets.ClientConnection, kind: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        while True:
            message = json.loads(await socket.recv())
            if kind in message:
                return message[kind]


def test_a_listener_hears_history_then_what_changes() -> None:
    async def go(client: Client) -> None:
        async with listening(client) as socket:
            assert (await hear(socket, "history"))["state"]["text"] == "Operational"
            await hear(socket, "current")
            await client.upload()
            await client.start()
            async with asyncio.timeout(PATIENCE):
                while True:
                    current = await hear(socket, "current")
                    if current["state"]["flags"]["printing"] and current["progress"]["filepos"]:
                        break
            assert current["busyFiles"] == [{"origin": "local", "path": "farmd/a.gcode"}]

    with_printer(go)


def test_a_listener_may_want_only_some_events() -> None:
    async def go(client: Client) -> None:
        wish = {"subscribe": {"state": False, "events": ["PrintStarted"], "plugins": False}}
        async with listening(client, {"nonsense": 1}, {"subscribe": "broken"}, wish) as socket:
            assert "timelapse" in json.loads(await socket.recv())
            await client.upload()
            await client.start()
            message = json.loads(await socket.recv())
            assert message["event"]["type"] == "PrintStarted"

    with_printer(go)


@pytest.mark.parametrize("claim", ["farmd:a-key-is-no-session", "farmd:"])
def test_a_claim_without_a_session_is_stale(claim: str) -> None:
    async def go(client: Client) -> None:
        async with listening(client) as socket:
            await hear(socket, "history")
            await socket.send(json.dumps({"auth": claim}))
            assert await hear(socket, "reauthRequired") == {"reason": "stale"}

    with_printer(go)


def test_sessions_die_with_the_server_and_sockets_with_the_network() -> None:
    async def go(client: Client) -> None:
        printer = client.printer
        login = (await client.http.post("/api/login", json={"passive": True})).json()
        async with listening(client) as socket:
            await hear(socket, "history")
            await printer.lose_power()
            with pytest.raises(websockets.ConnectionClosed):
                await hear(socket, "nothing")
        await printer.restore_power()
        async with websockets.connect(f"{printer.url.replace('http', 'ws')}/sockjs/websocket") as socket:
            await socket.send(json.dumps({"auth": f"{login['name']}:{login['session']}"}))
            assert await hear(socket, "reauthRequired") == {"reason": "stale"}

    with_printer(go)


def test_a_hanging_server_pushes_nothing() -> None:
    async def go(client: Client) -> None:
        async with listening(client) as socket:
            await hear(socket, "current")
            await client.printer.hang()
            client.printer.start_foreign()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(hear(socket, "current"), 1)
            await client.printer.unhang()
            assert (await hear(socket, "current"))["state"]["text"] in ("Starting", "Printing")

    with_printer(go)


# --- its life ---


def test_a_large_upload_passes_through_without_being_held() -> None:
    chunk = b"G1 X10.000 Y10.000 E0.12345\n" * 2000
    chunks = 30_000_000 // len(chunk)

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.gcode"\r\n\r\n'
        for _ in range(chunks):
            yield chunk
        yield b"\r\n--x--\r\n"

    async def go(client: Client) -> None:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        tracemalloc.start()
        try:
            answer = await client.http.post("/api/files/local", content=body(), headers=headers)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert answer.status_code == 201
        assert (await client.http.get("/api/files/local/a.gcode")).json()["size"] == chunks * len(chunk)
        assert peak < 5_000_000, f"{peak} bytes were held at once"

    with_printer(go)


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def go(client: Client) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.gcode"\r\n\r\nG1 X1\n'
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = await client.http.post("/api/files/local", content=body, headers=headers)
        assert answer.status_code == 400
        assert list((tmp_path / "spool").iterdir()) == []
        assert (await client.http.get("/api/files")).json()["files"] == []

    with_printer(go, basedir=tmp_path)


def test_with_a_basedir_files_history_and_bed_outlive_the_printer(tmp_path: Path) -> None:
    async def first(client: Client) -> None:
        await client.upload(BRIEF)
        await client.start()
        await happens(lambda: client.printer.history[-1].outcome is Outcome.SUCCEEDED)
        await client.until("Operational")  # the file's history is written by then

    async def second(client: Client) -> None:
        assert (await client.prints())["success"] == 1
        assert client.printer.bed_occupied

    with_printer(first, basedir=tmp_path)
    with_printer(second, basedir=tmp_path)


def test_a_printer_stops_twice_and_starts_again_with_nothing() -> None:
    async def go() -> None:
        printer = VirtualOctoPrint()
        with pytest.raises(RuntimeError, match="never started"):
            _ = printer.history
        await printer.stop()
        await printer.start()
        printer.start_foreign()
        await printer.stop()
        await printer.stop()
        assert [record.outcome for record in printer.history] == [Outcome.LOST]
        url = printer.url
        await printer.start()
        assert (printer.url, printer.history, printer.bed_occupied) == (url, [], False)
        await printer.stop()

    asyncio.run(go())


@contextmanager
def taken_port() -> Iterator[int]:
    """A port somebody holds, the one below it free. Below the range the system hands out: nobody takes that one meanwhile."""
    for port in random.sample(range(20_000, 30_000), 1000):
        with socket.socket() as holder, socket.socket() as below:
            try:
                holder.bind(("127.0.0.1", port))
                below.bind(("127.0.0.1", port - 1))
            except OSError:
                continue
            below.close()
            holder.listen()
            yield port
            return
    pytest.fail("no two ports in a row are free")


def test_a_fleet_stands_on_ports_in_a_row_or_not_at_all() -> None:
    async def go() -> None:
        async with run_fleet(2) as printers:
            assert len({printer.url for printer in printers}) == 2
            assert [printer.api_key for printer in printers] == ["virtual-octoprint-01", "virtual-octoprint-02"]
        with taken_port() as taken:
            with pytest.raises(OSError, match=f"127.0.0.1:{taken}"):
                async with run_fleet(2, first_port=taken - 1):
                    pytest.fail("a fleet stood on a port that was taken")
            async with httpx.AsyncClient(trust_env=False, verify=NO_TLS) as http:
                with pytest.raises(httpx.ConnectError):
                    await http.get(f"http://127.0.0.1:{taken - 1}/api/version")

    asyncio.run(go())
