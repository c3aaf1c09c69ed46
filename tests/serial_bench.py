"""A virtual board on a test's bench: a host that types lines and one that streams a file, both in virtual time."""

from functools import reduce
from operator import xor

from drivers.virtual.marlin import Board, Firmware


def framed(number: int, payload: str) -> bytes:
    line = f"N{number} {payload}".encode()
    return line + b"*%d\n" % reduce(xor, line)


class Bench:
    """`said` is every line of the board with the moment at which its last byte had left it."""

    def __init__(self, board: Board | None = None, **kwargs) -> None:
        self.firmware = Firmware(board or Board(), **kwargs)
        self.core = self.firmware.core
        self.now = 0.0
        self.said: list[tuple[float, str]] = []

    def send(self, *lines: bytes | str) -> None:
        """Begin to send these lines now; nothing is waited for."""
        data = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        self.firmware.receive(data, self.now)
        self._collect()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass; returns what is said meanwhile."""
        end, before = self.now + seconds, len(self.said)
        while (at := self.firmware.next_event()) is not None and at <= end:
            self.now = max(self.now, at)
            self.firmware.advance(self.now)
            self._collect()
        self.now = end
        self.firmware.advance(end)
        self._collect()
        return [text for _, text in self.said[before:]]

    def ask(self, *lines: bytes | str, seconds: float = 1.0) -> list[str]:
        before = len(self.said)
        self.send(*lines)
        self.wait(seconds)
        return [text for _, text in self.said[before:]]

    def when(self, text: str) -> float:
        """The moment of the last line that begins so."""
        return next(at for at, said in reversed(self.said) if said.startswith(text))

    def _collect(self) -> None:
        self.said += [(self.now, line.decode("latin-1")) for line in self.firmware.take().split(b"\n")[:-1]]


def stream(bench: Bench, payloads: list[str], *, window: int = 127, lines: int = 4, patience: float = 60.0) -> None:
    """Send a file to a board with advanced oks, with numbers from 1 on, as much at a time as the window lets through.

    After a resend it waits for silence and goes back; after a silence with lines in flight it sends a number that cannot be
    the next, so that the board tells where it is. Raises `TimeoutError` when nothing moves for `patience` seconds.
    """
    frames = [framed(number, payload) for number, payload in enumerate(payloads, start=1)]
    done = following = 0
    heard, moved, probed = len(bench.said), bench.now, bench.now
    while done < len(frames):
        size = sum(len(frame) for frame in frames[done:following])
        while following < len(frames) and following - done < lines and size + len(frames[following]) <= window:
            bench.send(frames[following])
            size += len(frames[following])
            following += 1
        at = bench.firmware.next_event()
        bench.wait(min(1.0, max(0.0, at - bench.now)) if at is not None else 1.0)
        fresh = [text for _, text in bench.said[heard:]]
        if any(text.startswith("Resend: ") for text in fresh):
            bench.wait(0.05)
            fresh = [text for _, text in bench.said[heard:]]
            done = following = int([text for text in fresh if text.startswith("Resend: ")][-1][8:]) - 1
            moved = probed = bench.now
        for text in fresh:
            if text.startswith("ok N") and done < (number := int(text[4:].split()[0])) <= following:
                done, moved, probed = number, bench.now, bench.now
        heard += len(fresh)
        if bench.now - moved > patience:
            raise TimeoutError(f"{done} of {len(frames)} lines after {bench.now:.0f} s")
        if bench.now - probed > 3.0:
            bench.send(b"\n", framed(following + 5_000, "M105"))  # the end of whatever half a line is left there
            probed = bench.now
