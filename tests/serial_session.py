"""One serial session and one virtual board at the two ends of a wire, in a time that only moves when something happens.

    bench = SerialBench(tmp_path, seed=1)
    bench.until(lambda: bench.session.phase is Phase.READY)

Nothing here is random or late by itself: the same seed and script give the same run.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from drivers.gcode.framing import code, payload
from drivers.gcode.protocol import Link
from drivers.gcode.session import Ending, News, Phase, Session
from drivers.gcode.spool import OURS, Spool, spool
from drivers.gcode.window import Window
from drivers.virtual.marlin import Board, Fault, Firmware, Odds

LATENCY = 0.001


class SerialBench:
    """`session` and `firmware`, `now` in seconds. `news` is everything the session told so far."""

    def __init__(
        self,
        folder: Path,
        board: Board | None = None,
        *,
        seed: int = 0,
        odds: Odds | None = None,
        script: Iterable[Fault] = (),
        window: int | None = None,
    ) -> None:
        self.folder = folder
        self.firmware = Firmware(board or Board(), seed=seed, odds=odds, script=script)
        self.board = self.firmware.board
        self.session = Session(lambda: Link(Window(window, self.board.rx_buffer), self.board.byte_seconds))
        self.now = 0.0
        self.news: list[News] = []
        self._to_host: list[tuple[float, bytes]] = []
        self._to_board: list[tuple[float, bytes]] = []
        self._open = False
        self._connect()

    def _connect(self) -> None:
        self._open = True
        self.firmware.open_port(self.now)
        self.session.opened(self.now)
        self._collect()

    def _collect(self) -> None:
        if data := self.session.take():
            self._to_board.append((self.now + LATENCY, data))
        if data := self.firmware.take():
            self._to_host.append((self.now + LATENCY, data))
        self.news += self.session.news
        self.session.news.clear()

    def step(self) -> None:
        """Go on to the next moment at which something happens."""
        times = [moment for moment, _ in (*self._to_host[:1], *self._to_board[:1])]
        times += [at for at in (self.firmware.next_event(), self.session.deadline()) if at is not None]
        self.now = max(self.now, min(times, default=self.now + 1))
        self.firmware.advance(self.now)
        if self._open and not self.firmware.plugged:
            self._open = False
            self._to_board.clear()
            self._to_host.clear()
            self.session.lost(self.now, "the port was lost: hung up")
        elif not self._open and self.firmware.plugged:
            self._connect()
        if self._open:
            while self._to_board and self._to_board[0][0] <= self.now:
                self.firmware.receive(self._to_board.pop(0)[1], self.now)
            self._collect()
            while self._to_host and self._to_host[0][0] <= self.now:
                self.session.receive(self._to_host.pop(0)[1], self.now)
        due = self.session.deadline()
        if due is not None and due <= self.now:
            self.session.tick(self.now)
        self._collect()

    def until(self, condition: Callable[[], bool], seconds: float = 3600.0) -> None:
        """Until it holds; AssertionError after so many seconds of the board's time."""
        end = self.now + seconds
        while not condition():
            assert self.now < end, f"not within {seconds} s: {self.session.phase}, {self.session.message}, {self.news[-5:]}"
            self.step()

    def spool(self, lines: Iterable[bytes], token: str = "att-1") -> Spool:
        """A print of these lines."""
        file = self.folder / f"{token}.gcode"
        file.write_bytes(b"\n".join(lines) + b"\n")
        for _ in spool(file, self.folder, token):
            pass
        return Spool(self.folder, token)

    def ready(self) -> "SerialBench":
        """Wait until the machine was greeted."""
        self.until(lambda: self.session.phase is Phase.READY, 120)
        return self

    def print(self, lines: Iterable[bytes], token: str = "att-1") -> None:
        """Begin a print."""
        job = self.spool(lines, token)
        refusal = self.session.why_not(job)
        assert refusal is None, refusal
        self.session.print(job, self.now)
        self._collect()

    def ending(self, seconds: float = 36_000.0) -> Ending:
        """How the print ends."""
        self.until(lambda: self.session.job is None, seconds)
        ended = self.session.ended
        assert ended is not None
        return ended

    def touch(self) -> None:
        """After a wish: what the session wants to write goes out."""
        self._collect()


def commands(lines: Iterable[bytes]) -> list[bytes]:
    """What a printer is meant to carry out of a file."""
    payloads = (payload(line) for line in lines)
    return [each for each in payloads if each and code(each) not in OURS]
