"""The two directions of a serial line: when each byte arrives, and which of them find no room.

Time is an argument; nothing is done before it is asked for. The receiver must never be generous: a byte that comes while
the ring is full is gone, as on the real chip, unless the board has native USB, which makes its host wait instead.
"""

from collections import deque
from math import inf

_NEARLY = 1e-3  # of a byte: arrival times are sums, and the last bit of a float may not cost a byte


class Receiver:
    """`line_at` is when the next line end is there to be read, infinity when none is on its way.

    While its owner reads, bytes go on into the line being put together and the ring stays empty; only bytes that come
    between `hold` and `release` have to fit into it.
    """

    def __init__(self, byte_seconds: float, ring: int) -> None:
        self.line_at = inf
        self.dropped = 0
        self._byte = byte_seconds
        self._room = ring - 1  # one place tells a full ring from an empty one
        self._coming: deque[tuple[float, bytes]] = deque()
        self._busy_until = 0.0
        self._held, self._at = b"", 0
        self._holding = False

    def feed(self, data: bytes, now: float) -> float:
        """The host sends; bytes that follow others wait for them on the wire. Returns when the first begins to come."""
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        start = self._busy_until if self._busy_until > now else now
        self._busy_until = start + len(data) * self._byte
        self._coming.append((start, data))
        if self.line_at == inf:
            self._look()
        return start

    def waiting(self) -> int:
        """Bytes sent and not yet read."""
        return len(self._held) - self._at + sum(len(data) for _, data in self._coming)

    def take(self, now: float) -> bytes:
        """The line that ends at `line_at`, without its end. Only to be called when that moment has come."""
        end = self._held.find(b"\n", self._at)
        if end < 0:
            self._pull(now, limited=False)
            end = self._held.find(b"\n", self._at)
        line = self._held[self._at : end]
        self._at = end + 1
        self._look()
        return line

    def hold(self, now: float) -> None:
        """The owner stops reading: from now on the ring has to hold what comes."""
        self._pull(now, limited=self._holding)
        self._holding = True

    def release(self, now: float) -> None:
        """The owner reads again."""
        if self._holding:
            self._pull(now, limited=True)
            self._holding = False
            self._look()

    def clear(self, now: float) -> None:
        """Throw away what has arrived by now."""
        self._pull(now, limited=False)
        self._held, self._at = b"", 0
        self._look()

    def cut(self) -> None:
        """The cable is pulled: what is on the wire is lost, what had arrived stays."""
        self._coming.clear()
        self._busy_until = 0.0
        self._look()

    def _pull(self, now: float, *, limited: bool) -> None:
        """Let arrive what has arrived."""
        coming, byte = self._coming, self._byte
        fresh = []
        while coming:
            start, data = coming[0]
            if start + len(data) * byte <= now + byte * _NEARLY:
                fresh.append(data)
                coming.popleft()
                continue
            count = int((now - start) / byte + _NEARLY) if now > start else 0
            if count > 0:
                fresh.append(data[:count])
                coming[0] = (start + count * byte, data[count:])
            break
        if fresh:
            arrived = b"".join(fresh) if len(fresh) > 1 else fresh[0]
            kept = self._held[self._at :] if self._at < len(self._held) else b""
            if limited and byte and len(kept) + len(arrived) > self._room:
                room = max(0, self._room - len(kept))
                self.dropped += len(arrived) - room
                arrived = arrived[:room]
            self._held, self._at = kept + arrived if kept else arrived, 0

    def _look(self) -> None:
        if self._at < len(self._held) and self._held.find(b"\n", self._at) >= 0:
            self.line_at = 0.0
            return
        for start, data in self._coming:
            end = data.find(b"\n")
            if end >= 0:
                self.line_at = start + (end + 1) * self._byte
                return
        self.line_at = inf


class Sender:
    """A message is taken whole, when its last byte has left; `idle_at` is when everything has."""

    def __init__(self, byte_seconds: float) -> None:
        self.idle_at = 0.0
        self._byte = byte_seconds
        self._leaving: deque[tuple[float, bytes]] = deque()

    def send(self, data: bytes, now: float) -> None:
        start = self.idle_at if self.idle_at > now else now
        self.idle_at = start + len(data) * self._byte
        self._leaving.append((self.idle_at, data))

    @property
    def next_at(self) -> float:
        return self._leaving[0][0] if self._leaving else inf

    def take(self, now: float) -> bytes:
        leaving = self._leaving
        gone = []
        while leaving and leaving[0][0] <= now:
            gone.append(leaving.popleft()[1])
        return b"".join(gone)

    def cut(self) -> None:
        """Nobody is at the other end any more."""
        self._leaving.clear()
        self.idle_at = 0.0
