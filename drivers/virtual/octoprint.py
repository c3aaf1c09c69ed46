"""A virtual OctoPrint: one server with one machine, on a real socket of this host.

Everything a farm can meet is a method here: a server that refuses or hangs, an answer that is lost, a machine that
drops its link, halts or loses power, a stranger's print. The bed judges: `crashes` counts the prints begun on top of a
part. A printer without a `basedir` leaves nothing behind when it stops.
"""

import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.virtual.history import PrintRecord
from drivers.virtual.machine import Machine, Timing
from drivers.virtual.people import People
from drivers.virtual.server import Server, Settings
from drivers.virtual.states import text

FOREIGN_FILE = "by-hand.gcode"
SERIAL_ERROR = "SerialTimeoutException: "


class VirtualOctoPrint:
    """Start it inside the event loop it shall live in; also an async context manager.

    `host` is an IPv4 address or a name of one; `port` 0 takes a free one. `speed` divides every print's duration; without a
    slicer's estimate a file takes `seconds_per_command` for each of its lines. `ejects`: the end of each print clears the
    bed. `basedir` keeps files, their histories and the bed over the life of this object. `wall` is the clock its dates
    come from.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        speed: float = 1.0,
        seconds_per_command: float = 0.01,
        ejects: bool = False,
        basedir: Path | None = None,
        timing: Timing | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.api_key = api_key or secrets.token_hex(16)
        self.viewer_key = secrets.token_hex(16)  # may look, never touch
        self._settings = Settings(host, speed, seconds_per_command, ejects, timing or Timing(), wall)
        self._port, self._basedir = port, basedir
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._server: Server | None = None

    # --- its life ---

    async def start(self) -> None:
        """Serve, and link up with the machine. Raises `OSError` naming the address when the port is taken."""
        await self.stop()
        root = self._basedir
        if root is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="virtual-octoprint-")
            root = Path(self._scratch.name)
        people = People(self.api_key, self.viewer_key)
        server = Server(self._settings, people, root, self._port, remember_bed=self._basedir is not None)
        self._server = server
        opened = False
        try:
            await server.open()
            opened = True
        finally:
            if not opened:
                await self.stop()
        self._port = server.door.port

    async def stop(self) -> None:
        """Close the port and end everything; what happened can still be read. A second call does nothing."""
        if self._server is not None:
            await self._server.cut_power()
        self._sweep()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    # --- what it is and did ---

    @property
    def url(self) -> str:
        return f"http://{self._settings.host}:{self._port}"

    @property
    def machine(self) -> Machine:
        """The machine itself, for looking closer and for faults not named here."""
        return self._running.machine

    @property
    def state(self) -> str:
        """OctoPrint's words, without the lag of its API."""
        return text(self.machine.state, self.machine.error)

    @property
    def history(self) -> list[PrintRecord]:
        """Every print begun on this machine since `start`, oldest first."""
        return self.machine.history

    @property
    def bed_occupied(self) -> bool:
        return self.machine.bed.occupied

    @property
    def crashes(self) -> int:
        """Prints begun on top of a part."""
        return self.machine.bed.crashes

    def clear_bed(self) -> None:
        """An operator takes the part off."""
        self.machine.bed.clear()

    def start_foreign(self, seconds: float = 3600.0) -> str:
        """Somebody prints a file of their own at the machine, `seconds` long before `speed`; returns its path.

        Raises `RuntimeError` when the machine is not at rest.
        """
        if self.state != "Operational":
            raise RuntimeError(f"nobody can start a print by hand while the printer is {self.state}")
        server = self._running
        upload = server.store.incoming()
        upload.write(f"; estimated printing time (normal mode) = {round(seconds)}s\n".encode() + b"G1 X10 F6000\n" * 10_000)
        date = int(self._settings.wall())
        file = server.store.add(FOREIGN_FILE, FOREIGN_FILE, upload, user="somebody", userdata=None, date=date)
        server.machine.select(file, "somebody")
        server.machine.start("somebody")
        return file.path

    # --- the network ---

    async def go_offline(self) -> None:
        """Refuse connections and tear down those that are open; the print goes on."""
        await self._running.door.close()

    async def come_back(self) -> None:
        """Serve again on the same port."""
        self._running.push.awake.set()
        await self._running.door.open()

    async def hang(self) -> None:
        """Accept connections and requests and answer nothing; the print goes on."""
        self._running.push.awake.clear()
        await self._running.door.freeze()

    async def unhang(self) -> None:
        """Answer again; commands taken in while it hung are carried out now."""
        self._running.push.awake.set()
        await self._running.door.thaw()

    def set_delay(self, seconds: float) -> None:
        """Let every request wait this long before it is looked at."""
        self._running.faults.delay = seconds

    def lose_start_answer(self, times: int = 1) -> None:
        """The next `times` select-and-print calls are carried out; their caller sees the connection die."""
        self.lose_answer("POST", "/api/files/local/", times)

    def lose_answer(self, method: str, path_prefix: str, times: int = 1) -> None:
        """The same for any call; `path_prefix` is the beginning of the request path."""
        self._running.faults.lose_answer(method, path_prefix, times)

    # --- the machine ---

    def drop_link(self, error: str = SERIAL_ERROR) -> None:
        """The serial line breaks: "Offline after error", and a print at hand has failed."""
        self.machine.drop(error)

    def link_up(self) -> None:
        """Somebody presses Connect."""
        self.machine.connect()

    def firmware_error(self, words: str = "MAXTEMP triggered! - ok") -> None:
        """The firmware halts the machine with `words`."""
        self.machine.fatal(words)

    def freeze_machine(self) -> None:
        """The machine stops in mid-move without a word: still "Printing", its file position stands still."""
        self.machine.freeze()

    async def lose_power(self) -> None:
        """Server and machine go dark. The part stays on the bed; that a print was running is written nowhere."""
        await self._running.cut_power()

    async def restore_power(self) -> None:
        """Both come up: linked, idle, nothing selected. Does nothing while there is power."""
        await self._running.restore_power()

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise RuntimeError("this virtual printer was never started")
        return self._server

    def _sweep(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
