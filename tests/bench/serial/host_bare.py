"""The least that can be called a host: `python host_bare.py PORT FILE WINDOW RX_BUFFER`. A full window, a count of oks, no more.

It shows what the virtual board lets anybody reach, and what the bare waiting, reading and writing costs. No printer may be left
to it: it knows no errors. The bench stops it.
"""

import os
import select
import sys
import time
import tty
from collections import deque
from pathlib import Path

from drivers.gcode.framing import frame


def main(port: str, file: str, window: int, room: int) -> None:
    fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    lines = [frame(number, line) for number, line in enumerate(Path(file).read_bytes().splitlines(), 1)]
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    time.sleep(0.5)  # until the board has seen that somebody is there
    os.write(fd, frame(0, b"M110 N0"))
    heard = b""
    while b"ok" not in heard:  # it sets the count when it is carried out: a line behind it would be counted twice
        heard += os.read(fd, 4096)
    flying: deque[int] = deque()
    following, taken = 0, 0
    while taken < len(lines):
        first = following
        while following < len(lines) and len(flying) < window and sum(flying) + len(lines[following]) < room:
            flying.append(len(lines[following]))
            following += 1
        if following > first:
            os.write(fd, b"".join(lines[first:following]))
        poll.poll()
        for _ in range(os.read(fd, 65_536).count(b"ok")):
            flying.popleft()
            taken += 1
    time.sleep(3600)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
