"""What is brought over a wire: framed lines with consecutive numbers. A print on disk is one (`spool.Spool`), a script another."""

from typing import Protocol

from drivers.gcode.framing import frame


class Source(Protocol):
    """Framed lines with consecutive numbers up to `last`."""

    last: int

    def size(self, number: int) -> int:
        """Bytes of one line with its newline."""

    def lines(self, first: int, last: int) -> bytes:
        """The bytes of lines `first` to `last`, both included."""


class Script:
    """A few commands as a source: numbered from 1."""

    def __init__(self, commands: list[bytes]) -> None:
        self._frames = [frame(number, command) for number, command in enumerate(commands, 1)]
        self.last = len(commands)

    def size(self, number: int) -> int:
        """See `Source`."""
        return len(self._frames[number - 1])

    def lines(self, first: int, last: int) -> bytes:
        """See `Source`."""
        return b"".join(self._frames[first - 1 : last])
