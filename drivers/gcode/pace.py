"""How quickly a printer takes lines, how long it can do without the next ones, and when it is asked how far it is.

Pure. To be woken for every single line costs more than the line does, on both sides of the wire. Where the lines on their way
last much longer than an answer takes, a few are answered together. It must never cost a print a moment: where the wire or a
small buffer is what limits it, there is no leisure at all.
"""

FIRST_GUESS = 0.005
"""Seconds of a round trip before one was measured."""
SHARE = 0.25
"""Of what the lines on their way last, beyond two round trips: so much may pass before the next answer is read."""
MOST, LEAST = 0.01, 0.001
"""Seconds: what a person's wish or a complaint may wait, and what is worth waiting for."""
FEW = 8
"""Lines on their way that are answered one by one."""
FORGET = 1 / 16
ROUND, ROUND_LEAST, NEVER = 400, 50, 1 << 62
"""Lines after which the printer is asked how far it is: ordinarily, and where oks get lost."""


class Pace:
    """Of one conversation. `round_trip` is the shortest that was measured of late, in seconds."""

    __slots__ = ("_before", "_lines", "_measured", "_seconds", "round_trip")

    def __init__(self) -> None:
        self.round_trip, self._measured = FIRST_GUESS, False
        self._before: float | None = None
        self._lines = self._seconds = 0.0

    def alone(self, seconds: float) -> None:
        """A line that was alone on its way was answered after so long."""
        self.round_trip = min(self.round_trip * 1.1, seconds) if self._measured else seconds
        self._measured = True

    def took(self, lines: int, now: float) -> None:
        """`lines` were taken since the last call; the sums fade, so that answers in bursts do not look quicker than they are."""
        if lines:
            if self._before is not None:
                self._seconds += (now - self._before - self._seconds) * FORGET
                self._lines += (lines - self._lines) * FORGET
            self._before = now

    def leisure(self, on_its_way: int) -> float:
        """Seconds that the next answer may wait while so many lines are on their way; 0 for not at all."""
        if on_its_way < FEW or not self._lines:
            return 0.0
        lasts = on_its_way * self._seconds / self._lines
        wait = SHARE * (lasts - 2 * self.round_trip)
        return 0.0 if wait < LEAST else min(wait, MOST)


class Rounds:
    """When the printer is asked although nothing is suspected: every lost ok keeps a place of the window for good, and the print
    would stand still once all are taken. More often where oks do get lost."""

    __slots__ = ("_every", "_next")

    def __init__(self) -> None:
        self._every = ROUND
        self.begin(0)

    def begin(self, line: int) -> None:
        """`line` goes out next, after one that was asked about, or at the start of a print."""
        self._next = line + self._every

    def due(self, line: int) -> bool:
        """Whether to ask before `line`."""
        return line >= self._next

    def needless(self) -> None:
        """Every ok names its line: a lost one is noticed at once."""
        self._next = NEVER

    def answered(self, lost: int) -> None:
        """So many oks turned out to be lost."""
        self._every = max(self._every // 4, ROUND_LEAST) if lost else min(self._every * 2, ROUND)
