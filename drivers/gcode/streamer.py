"""The process that owns one serial machine: `python -m drivers.gcode.streamer FOLDER`.

It outlives the daemon: a print goes on while farmd restarts, and whoever comes back finds it by the socket in its folder. It
imports nothing of farmd and little besides, writes down what it does before it does it, and leaves no heater on when it ends.
"""

import asyncio
import fcntl
import gc
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.gcode import scripts
from drivers.gcode.control import Declined
from drivers.gcode.framing import LINE_CAP, payload
from drivers.gcode.journal import Journal
from drivers.gcode.port import Port, PortError, open_port, stable_name
from drivers.gcode.protocol import Link
from drivers.gcode.reception import Reception
from drivers.gcode.session import Ending, Phase, Session
from drivers.gcode.settings import Settings, read_settings
from drivers.gcode.spool import Spool
from drivers.gcode.window import Window

REOPEN_SECONDS = 1.0
POSITION_SECONDS, REST_SECONDS = 1.0, 4.0
ALONE_SECONDS = 600.0
"""A streamer that nobody looks after, and that prints nothing, ends after so long."""
PARTING_SECONDS = 8.0
PRIORITY = 10
"""Among the round-robin processes: above everything ordinary."""


class Streamer:
    """One machine, one port, one socket. `run` ends by a signal, or when it was alone for long."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self._journal = Journal(folder / "journal")
        self.session = Session(self._new_link, unsafe=self._journal.unsafe)
        self.epoch = 0
        self._cable = ""  # what is wrong with it, for the print at hand
        self._port: Port | None = None
        self._name = settings.port
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0  # the timer
        self._tell_at = 0.0  # when listeners hear again how things stand
        self._ending, self._ended = asyncio.Event(), asyncio.Event()
        self._reception = Reception(self)

    def _new_link(self) -> Link:
        settings = self.settings
        return Link(Window(settings.window, settings.rx_buffer), byte_seconds=10 / settings.baud)

    async def run(self) -> None:
        """Serve until there is nothing left to serve."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        self._forget_the_unended()
        gc.freeze()
        async with self._reception:
            keeping = asyncio.create_task(self._keep_open())
            try:
                await self._until_the_end()
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                await self._part()
        self._journal.close()

    async def _until_the_end(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(ALONE_SECONDS):
                    await self._ending.wait()
            if self._reception.alone_since < asyncio.get_running_loop().time() - ALONE_SECONDS and self.session.job is None:
                return

    def quit(self) -> None:
        """End soon."""
        self._ending.set()

    def _forget_the_unended(self) -> None:
        """The streamer before this one died in a print: it can only be called failed, and the machine be made safe."""
        if token := self._journal.unended:
            words = "its streamer died"
            self._journal.write(lasting=True, kind="ended", token=token, ending=str(Ending.FAILED), words=words, unsafe=True)

    # the port

    async def _keep_open(self) -> None:
        """Open the port, and open it again whenever it was lost."""
        told = ""
        while True:
            if self._port is None:
                try:
                    self._port = open_port(self._name, self.settings.baud, self._received, self._lost)
                except PortError as error:
                    self.session.message = str(error)
                    if told != str(error):
                        told = str(error)
                        self._reception.tell()
                else:
                    told, self._name = "", stable_name(self._name)
                    self.epoch += 1
                    self.session.opened(self._now())
                    self._pump()
            await asyncio.sleep(REOPEN_SECONDS)

    def _received(self, data: bytes) -> None:
        now = self._now()
        self.session.receive(data, now)
        self._pump(now)

    def _lost(self, words: str) -> None:
        self._port = None
        self.session.lost(self._now(), words)
        self._pump()

    def _due(self) -> None:
        self._timer = None
        self.session.tick(self._now())
        self._pump()

    def _pump(self, now: float | None = None) -> None:
        """Write down what is new, write what is to be written, arm the clock, and tell. Called for every line of a print."""
        session = self.session
        news = bool(session.news)
        if news:
            self._write_down()
        data = session.take()
        if data and self._port is not None:
            self._port.write(data, session.link.leisure)
        self._arm()
        if now is None:
            now = self._now()
        if news or now >= self._tell_at:
            self._tell_at = now + (POSITION_SECONDS if session.job else REST_SECONDS)
            if session.job:
                self._journal.write(kind="line", token=session.token, line=session.line)
            self._reception.tell()

    def _arm(self) -> None:
        """The clock may ring early, never late: then it is set anew, which costs less than to set it at every reply."""
        due = self.session.deadline()
        if due is None:
            return
        if self._timer is not None:
            if self._rings_at <= due:
                return
            self._timer.cancel()
        self._rings_at = due
        self._timer = asyncio.get_running_loop().call_at(due, self._due)

    def _write_down(self) -> None:
        news, self.session.news = self.session.news, []
        for each in news:
            self._journal.write(lasting=each.kind in ("ended", "safe"), **asdict(each))
            if each.kind == "cable":
                self._cable = each.words
            if each.ending is not None:
                self._ended.set()

    @staticmethod
    def _now() -> float:
        return time.monotonic()  # the loop's time; to ask the loop costs a system call

    async def _part(self) -> None:
        """Let go of the machine. A print is not left to itself: it is stopped, and the heaters are off when this returns."""
        if self._port is None:
            return
        if self.session.job is not None:
            self._ended.clear()
            self.session.cancel(self._now())
            self._pump()
            with suppress(TimeoutError):
                async with asyncio.timeout(PARTING_SECONDS):
                    await self._ended.wait()
            if self.session.job is not None:
                self._port.write(b"\n".join([*scripts.make_safe(self.session.job.facts.tools), b""]))
        self._port.close()

    # wishes

    def start(self, token: str) -> None:
        """Print the spooled file of `token`. Raises `Declined`."""
        session = self.session
        self._need_the_machine()
        if session.job is not None or session.phase in (Phase.FOREIGN, Phase.BUSY, Phase.STOPPING):
            raise Declined(
                "busy", f"the machine prints {session.token}" if session.job else "the machine is busy with something else"
            )
        try:
            job = Spool(self.folder, token)
        except (OSError, ValueError, TypeError) as error:
            raise Declined("refused", f"there is no file {token} to print") from error
        words = session.why_not(job)
        if not words and not self._journal.write(lasting=True, kind="started", token=token):
            self._journal.write(lasting=True, kind="ended", token=token, ending=str(Ending.FAILED), words="it was not begun")
            words = f"{self.folder} cannot be written to: is the disk full?"
        if words:
            job.close()
            raise Declined("refused", words)
        self._cable, self._tell_at = "", 0.0
        session.print(job, self._now())
        self._pump()

    def _need_the_machine(self) -> None:
        if self.session.away:
            raise Declined("away", self.session.message or f"{self._name} is not open")

    def hold(self, token: str) -> None:
        """Hold the print of `token`. Raises `Declined`."""
        self._need_the_machine()
        self._wish(token, self.session.hold)

    def resume(self, token: str) -> None:
        """Go on with the print of `token`. Raises `Declined`."""
        self._need_the_machine()
        self._wish(token, self.session.resume)

    def cancel(self, token: str) -> None:
        """Stop the print of `token`; nothing happens when nothing prints. While the machine is away, the wish is kept and refused
        as "away": nobody can say that it was heard. Raises `Declined`."""
        if self.session.job is not None or self.session.phase is Phase.FOREIGN:
            self._wish(token, self.session.cancel)
        self._need_the_machine()

    def _wish(self, token: str, wish: Any) -> None:
        session = self.session
        if session.phase is Phase.FOREIGN or (session.job is not None and session.token != token):
            raise Declined("not_ours", f"{session.token if session.job else 'another print'} is on the machine")
        words = wish(self._now())
        self._pump()
        if words:
            raise Declined("refused", words)

    def answer(self, token: str, choice: int) -> None:
        """Answer what the machine asks in the print of `token`. Raises `Declined`."""
        self._need_the_machine()
        self._wish(token, lambda now: self.session.answer(choice, now))

    def say(self, line: str) -> None:
        """Send one command while the machine rests. Raises `Declined`."""
        command = payload(line.encode("latin-1", "replace"))
        if not command or len(command) > LINE_CAP:
            raise Declined("refused", "that is no command")
        if words := self.session.say(command, self._now()):
            raise Declined("busy", words)
        self._pump()

    def outcome(self, token: str) -> str | None:
        """How the print of `token` ended, if it did."""
        return self._journal.endings.get(token)

    def state(self) -> dict[str, Any]:
        """Everything there is to know at this moment."""
        session, link = self.session, self.session.link
        job, prompt = session.job, session.prompt
        return {
            "phase": str(Phase.AWAY if session.away else session.phase),
            "epoch": self.epoch,
            "token": session.token if job or session.ended else None,
            "ended": session.ended and str(session.ended),
            "message": session.message,
            "cable": self._cable or None,
            "prompt": prompt and {"text": prompt.text, "choices": list(prompt.choices)},
            "pid": os.getpid(),
            "firmware": session.machine.firmware,
            "able": session.machine.able,
            "heat": {heater: [heat.actual, heat.target] for heater, heat in session.machine.heat.items()},
            "line": session.line if job else None,
            "lines": job.last if job else None,
            "sent": job.sent(session.line) if job else None,
            "wire": job.facts.wire if job else None,
            "window": link.window.lines,
            "tally": link.tally.figures(),
        }


def script() -> int:
    """The command `farmd-stream FOLDER`."""
    return main(Path(sys.argv[1]))


def hurry() -> None:
    """Ask to be served before others, as the unit does; where that is not allowed, the print goes on with what there is.
    FARMD_STREAM_PRIORITY=0 leaves it among the others, so that the difference can be measured."""
    if os.environ.get("FARMD_STREAM_PRIORITY") == "0":
        return
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))


def main(folder: Path) -> int:
    """Run the one streamer of `folder`; ends at once, with 0, when there is one already."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    try:
        settings = read_settings(folder)
    except (OSError, ValueError, TypeError) as error:
        sys.stderr.write(f"streamer: {folder}/settings.json cannot be read: {error}\n")
        return 2
    hurry()
    asyncio.run(Streamer(folder, settings).run())
    return 0


if __name__ == "__main__":
    sys.exit(script())
