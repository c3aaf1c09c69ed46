"""The virtual boards of the serial benches, in a process of their own: `python -m tests.bench.serial.virtual_board JSON`.

They are the boards of `drivers.virtual.marlin`; added is a clock on every executed move. It prints the ports' names, then `begun`
and `all` when the moves of a file began and were all taken (of the last board), and at SIGTERM what came of it, as JSON.
"""

import asyncio
import hashlib
import json
import selectors
import signal
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

from drivers.virtual.marlin import Board, Firmware, Odds
from drivers.virtual.marlin.port import Port
from drivers.virtual.marlin.record import Record

WARM_UP = 50
"""Moves that do not count for the steady rate."""


def tell(words: str) -> None:
    sys.stdout.write(f"{words} {time.monotonic():.6f}\n")
    sys.stdout.flush()


class Clocked(Record):
    """Every move of the file, and when it was carried out."""

    def __init__(self, expected: int, *, tells: bool) -> None:
        super().__init__(keep=False)
        self.times = array("d")
        self._moves = hashlib.sha256()
        self._expected, self._tells = expected, tells

    def add(self, payload: bytes, number: int | None) -> None:
        self.count += 1
        if not payload.startswith(b"G1 X"):
            return
        self.times.append(time.monotonic())
        self._moves.update(payload + b"\n")
        if self._tells and len(self.times) in (WARM_UP, self._expected):
            tell("begun" if len(self.times) == WARM_UP else "all")

    def figures(self) -> dict[str, Any]:
        times = self.times
        gaps = [after - before for before, after in zip(times[WARM_UP:], times[WARM_UP + 1 :], strict=False)]
        return {
            "moves": len(times),
            "sha256": self._moves.hexdigest(),
            "seconds": times[-1] - times[WARM_UP] if len(times) > WARM_UP else 0.0,
            "rate": len(gaps) / (times[-1] - times[WARM_UP]) if gaps else 0.0,
            "longest_gap": max(gaps, default=0.0),
            "since_last": time.monotonic() - times[-1] if times else None,
        }


def make(wishes: dict[str, Any], number: int, folder: Path) -> Port:
    board = Board(cold_extrusion=True, boot_seconds=0.1, **wishes["board"])
    record = Clocked(wishes["moves"], tells=number == wishes["ports"] - 1)
    firmware = Firmware(board, seed=wishes["seed"] + number, odds=Odds(**wishes["odds"]), record=record)
    return Port(firmware, folder / f"ttyVIRT{number}", latency=wishes["one_way"])


async def serve(wishes: dict[str, Any], folder: Path) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    asyncio.get_running_loop().add_reader(sys.stdin, end.set)  # whoever wanted the boards is gone
    ports = [make(wishes, number, folder) for number in range(wishes["ports"])]
    for port in ports:
        port.open()
        sys.stdout.write(f"{port.path}\n")
    sys.stdout.flush()
    await end.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)
    found = []
    for port in ports:
        record, planner = port.firmware.record, port.firmware.core.planner
        assert isinstance(record, Clocked)
        found.append(
            record.figures()
            | {
                "starved_seconds": planner.starved_seconds,
                "starved_times": planner.starved_times,
                "resends": port.firmware.resends,
                "dropped": port.firmware.dropped,
            }
        )
        port.close()
    sys.stdout.write(json.dumps(found) + "\n")


def main() -> None:
    wishes = json.loads(sys.argv[1])
    # epoll rounds every wait up to whole milliseconds, which is the length of a line; select does not
    with (
        tempfile.TemporaryDirectory(prefix="bench-boards-") as folder,
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner,
    ):
        runner.run(serve(wishes, Path(folder)))


if __name__ == "__main__":
    main()
