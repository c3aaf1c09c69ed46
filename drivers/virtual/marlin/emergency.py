"""The emergency parser: commands that work the moment their last byte arrives, whatever the queue is waiting for.

It reads the same bytes as the line reader and takes none away, so each of these commands is executed in its turn as well.
It must never look at line numbers or checksums; the real one does not.
"""

import re

_URGENT = re.compile(rb"[ ]*(?:N[-\d ]*)?M[ ]*(108|112|410|524|876[ ]*S[ ]*(\d))")
_MAYBE = re.compile(rb"M *(?:108|112|410|524|876)")
_LONGEST = 512  # an unfinished line is not kept beyond this


class EmergencyParser:
    def __init__(self) -> None:
        self._tail = b""

    def scan(self, data: bytes) -> list[tuple[int, bytes]]:
        """(bytes of `data` up to the line's end, command) for every urgent command that these bytes complete; an M876 comes
        as `M876 S<n>`."""
        if not self._tail and b"M" not in data and data[-1:] == b"\n":
            return []
        tail, end = self._tail, data.rfind(b"\n") + 1
        self._tail = data[end:][-_LONGEST:] if end else (tail + data)[-_LONGEST:]
        if not end or not _MAYBE.search(tail + data[:end]):
            return []
        found, at = [], 0
        for line in data[:end].split(b"\n")[:-1]:
            at += len(line) + 1
            if match := _URGENT.match(tail + line):
                found.append((at, b"M876 S" + match[2] if match[2] else b"M" + match[1]))
            tail = b""
        return found

    def reset(self) -> None:
        self._tail = b""
