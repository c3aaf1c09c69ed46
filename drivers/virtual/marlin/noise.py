"""Chance on the line: bytes that arrive wrong or not at all, answers that are lost or doubled.

All of it is drawn from one seed and depends only on what was sent, so two runs over the same bytes have the same faults.
How long a gap is gets drawn, not every byte: a line without faults must cost nothing.
"""

import random
from dataclasses import dataclass
from math import inf, log

from drivers.virtual.marlin.faults import Kind


@dataclass(frozen=True, slots=True)
class Odds:
    """Chances for each byte (garbled or dropped, towards the printer or the host) and for each `ok` (lost or doubled)."""

    garble_in: float = 0.0
    garble_out: float = 0.0
    drop_in: float = 0.0
    drop_out: float = 0.0
    lose_ok: float = 0.0
    double_ok: float = 0.0


class Gaps:
    """The moments at which something with a given chance happens, counted in trials."""

    def __init__(self, chance: float, chances: random.Random) -> None:
        self._chance, self._chances = chance, chances
        self._left = self._draw()

    @property
    def possible(self) -> bool:
        return self._chance > 0

    def hits(self, trials: int) -> list[int]:
        """Which of the next `trials` it happens at."""
        found: list[int] = []
        at = self._left
        while at < trials:
            found.append(int(at))
            at += 1 + self._draw()
        self._left = at - trials
        return found

    def _draw(self) -> float:
        if self._chance <= 0:
            return inf
        return int(log(1 - self._chances.random()) / log(1 - self._chance)) if self._chance < 1 else 0


class Noise:
    """What the line does to what passes over it, by chance and by order."""

    def __init__(self, odds: Odds, seed: int) -> None:
        self._chances = random.Random(seed)
        self._in = Gaps(odds.garble_in, self._chances), Gaps(odds.drop_in, self._chances)
        self._out = Gaps(odds.garble_out, self._chances), Gaps(odds.drop_out, self._chances)
        self._lose, self._double = Gaps(odds.lose_ok, self._chances), Gaps(odds.double_ok, self._chances)
        self._quiet_in, self._quiet_out = (not (a.possible or b.possible) for a, b in (self._in, self._out))
        self._ordered: dict[Kind, int] = {}

    def spoil(self, kind: Kind) -> None:
        """The next of its kind goes wrong: a piece towards the printer, a line towards the host, an ok."""
        self._ordered[kind] = self._ordered.get(kind, 0) + 1

    def towards_printer(self, data: bytes) -> bytes:
        if self._ordered:
            if self._due(Kind.DROP_IN):
                return b""
            if data and self._due(Kind.GARBLE_IN):
                return self._flip(data)
        return data if self._quiet_in else self._disturb(data, *self._in)

    def towards_host(self, data: bytes) -> bytes:
        if self._ordered and self._due(Kind.GARBLE_OUT):
            return self._flip(data)
        return data if self._quiet_out else self._disturb(data, *self._out)

    def oks(self) -> int:
        """How many copies of the next `ok` go out: mostly one."""
        if self._ordered:
            if self._due(Kind.LOSE_OK):
                return 0
            if self._due(Kind.DOUBLE_OK):
                return 2
        if self._lose.possible and self._lose.hits(1):
            return 0
        return 2 if self._double.possible and self._double.hits(1) else 1

    def _due(self, kind: Kind) -> bool:
        left = self._ordered.pop(kind, 0)
        if left > 1:
            self._ordered[kind] = left - 1
        return left > 0

    def _flip(self, data: bytes) -> bytes:
        """One bit of one byte goes over, of any but the line's end: without that the line would only be late."""
        changed = bytearray(data)
        changed[self._chances.randrange(max(1, len(data.rstrip(b"\r\n"))))] ^= 1 << self._chances.randrange(7)
        return bytes(changed)

    def _disturb(self, data: bytes, garble: Gaps, drop: Gaps) -> bytes:
        wrong, gone = garble.hits(len(data)), drop.hits(len(data))
        if not wrong and not gone:
            return data
        changed = bytearray(data)
        for at in wrong:
            changed[at] ^= 1 << self._chances.randrange(8)
        for at in reversed(gone):
            del changed[at]
        return bytes(changed)
