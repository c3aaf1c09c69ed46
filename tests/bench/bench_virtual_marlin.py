"""How much processor time one line costs the virtual Marlin, without any wire: moves as a slicer writes them, in virtual time.
The host in it is as small as it can be and is part of the figure.

Run: PYTHONPATH=. .venv/bin/python tests/bench/bench_virtual_marlin.py
"""

import random
import time
from functools import reduce
from operator import xor

from drivers.virtual.marlin import Board, Firmware

LINES = 50_000
WINDOW_BYTES, WINDOW_LINES = 127, 4


def moves(count: int) -> list[bytes]:
    """A curve in segments of a quarter of a millimetre, 1.25 ms each."""
    chance = random.Random(1)
    x = y = 100.0
    text = ["M302 P1", "G92 E0"]
    for number in range(count):
        x, y = x + chance.uniform(-0.25, 0.25), y + chance.uniform(-0.25, 0.25)
        text.append(f"G1 X{x:.3f} Y{y:.3f} E{number * 0.02:.5f} F12000")
    return [framed(number, line.encode()) for number, line in enumerate(text, start=1)]


def framed(number: int, payload: bytes) -> bytes:
    line = b"N%d " % number + payload
    return line + b"*%d\n" % reduce(xor, line)


def stream(firmware: Firmware, lines: list[bytes], window_bytes: int, window_lines: int) -> float:
    """Send as much as the window lets through; returns the seconds of the board's time."""
    now, following, oks = 0.0, 0, 0
    flying: list[int] = []
    in_flight = 0
    while oks < len(lines):
        while following < len(lines) and len(flying) < window_lines and in_flight + len(lines[following]) <= window_bytes:
            firmware.receive(lines[following], now)
            flying.append(len(lines[following]))
            in_flight += flying[-1]
            following += 1
        now = firmware.next_event() or now
        firmware.advance(now)
        for line in firmware.take().splitlines():
            if line == b"ok":
                oks += 1
                in_flight -= flying.pop(0)
    return now


def measure(name: str, board: Board, window_bytes: int, window_lines: int) -> None:
    lines = moves(LINES)
    firmware = Firmware(board)
    begun = time.process_time()
    virtual = stream(firmware, lines, window_bytes, window_lines)
    spent = time.process_time() - begun
    assert firmware.record.numbered_count == len(lines)
    each = f"{spent / len(lines) * 1e6:6.1f} us/line"
    print(f"{name:34} {each} {len(lines) / spent:9.0f} lines/s of CPU  ({virtual:.0f} s of printing)")


def main() -> None:
    measure("UART 250000, 127 bytes, 4 lines", Board(), WINDOW_BYTES, WINDOW_LINES)
    measure("UART 250000, one line", Board(), WINDOW_BYTES, 1)
    measure("native USB, 16 lines", Board(native_usb=True, rx_buffer=1024, command_slots=16), 1023, 16)


if __name__ == "__main__":
    main()
