"""A farm of serial printers on one machine that is busy with other things: who starves, with our scheduling and without.

Run: PYTHONPATH=. .venv/bin/python tests/bench/serial/bench_farm.py [--printers 10 20 40] [--seconds 6]

Every printer asks for 250 lines a second (4 ms segments, native USB, 1 ms latency) and has a streamer process of its own. Beside
them two processes slice (nice 10) and one serves. The virtual boards need processors too, which real ones do not: they are ranked
above the streamers, and their share is told, so that it can be seen where the machine and not the streamer is at its end.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.gcode.client import Client, Disconnected
from drivers.gcode.settings import Settings
from tests.bench.serial.measuring import Boards, Moves, Row, Streamer, memory, ranks, spent, spooled

SEGMENT = 0.004
ROW = Row("farm", 0.001, 16, 1024, usb=True, segment=SEGMENT)
BOARDS_TOGETHER = 10
SLICING = "while True: sum(each * each for each in range(10_000))"
SERVING = "import time\nwhile True:\n    sum(each * each for each in range(40_000))\n    time.sleep(0.01)"


@dataclass(frozen=True)
class Printed:
    """What a number of printers came to; processor time as a share of one processor."""

    boards: list[dict[str, Any]]
    streamers: float
    virtual: float
    pss: float


def load() -> list[subprocess.Popen[bytes]]:
    slicing = ["nice", "-n", "10", sys.executable, "-c", SLICING]
    return [subprocess.Popen(slicing), subprocess.Popen(slicing), subprocess.Popen([sys.executable, "-c", SERVING])]


async def farm(printers: int, seconds: float, *, hurried: bool) -> Printed:
    moves = Moves.of(int((seconds + 20) / SEGMENT), SEGMENT)
    with tempfile.TemporaryDirectory(prefix="bench-farm-") as place:
        first = Path(place) / "0"
        first.mkdir()
        await spooled(moves.write(Path(place) / "moves.gcode"), first)
        boards = [
            await Boards.start(ROW, len(moves.payloads), ports=min(BOARDS_TOGETHER, printers - begun), seed=begun)
            for begun in range(0, printers, BOARDS_TOGETHER)
        ]
        streamers = []
        for number, path in enumerate(path for each in boards for path in each.paths):
            folder = Path(place) / str(number)
            if number:
                shutil.copytree(first, folder, copy_function=os.link, ignore=lambda _, names: {*names} - {"bench.frames"})
                shutil.copy(first / "bench.index", folder)
                shutil.copy(first / "bench.json", folder)
            settings = Settings(path, 250_000, window=ROW.slots, rx_buffer=ROW.rx)
            streamers.append(await Streamer.start(folder, settings, hurried=hurried))
        await asyncio.gather(*(each.ready() for each in streamers))
        busy = load()
        try:
            for each in streamers:
                await each.print()
            for group in boards:
                assert await group.word("begun", 30)
            before = [spent(each.pid) for each in streamers], [spent(each.pid) for each in boards]
            begun = time.monotonic()
            await asyncio.sleep(seconds)
            after = [spent(each.pid) for each in streamers], [spent(each.pid) for each in boards]
            lasted = time.monotonic() - begun
            pss = sum(memory(each.pid)[1] for each in streamers)
            found = [each for group in boards for each in await group.end()]
        finally:
            for process in busy:
                process.kill()
                process.wait()
            for each in streamers:
                await each.end()
        for each in found:
            assert each["sha256"] == moves.digest(each["moves"]), "a board did not carry out the file"
    used = [(sum(late) - sum(early)) / lasted for early, late in zip(before, after, strict=True)]
    return Printed(found, used[0], used[1], pss / printers)


async def one_streamer() -> None:
    """What a streamer costs before it does anything."""
    boards = await Boards.start(ROW, 1000)
    try:
        times = []
        for _ in range(5):
            with tempfile.TemporaryDirectory(prefix="bench-farm-") as place:
                begun = time.monotonic()
                streamer = await Streamer.start(Path(place), Settings(boards.paths[0], 250_000))
                while True:
                    try:
                        client = await Client.connect(Path(place))
                        break
                    except Disconnected:
                        await asyncio.sleep(0.002)
                times.append((time.monotonic() - begun, spent(streamer.pid)))
                await client.close()
                await streamer.ready()
                resident, proportional = memory(streamer.pid)
                await streamer.end()
    finally:
        await boards.end()
    quickest, cpu = min(times)
    print(
        f"a streamer: at its socket after {quickest:.2f} s ({cpu:.2f} s of processor time); {resident:.1f} MB resident,"
        f" {proportional:.1f} MB of its own and its share of what is shared"
    )


def tell(printers: int, hurried: bool, seconds: float, printed: Printed) -> None:
    boards = printed.boards
    starved = sum(each["starved_seconds"] for each in boards)
    print(
        f"{printers:8d} {'first' if hurried else 'ordinary':>9} {sum(each['rate'] for each in boards):8.0f}"
        f" {printers / SEGMENT:7.0f} {sum(each['starved_times'] for each in boards):8d}x {starved:9.2f} s"
        f" {starved / (printers * seconds):7.2%} {max(each['longest_gap'] for each in boards) * 1000:6.0f} ms"
        f" {printed.streamers:9.0%} {printed.virtual:7.0%} {printed.pss:6.1f} MB {os.getloadavg()[0]:6.1f}"
    )


async def main(chosen: argparse.Namespace) -> None:
    print(
        f"{os.cpu_count()} cores; processes may {'' if ranks() else 'NOT '}be put before others here; load {os.getloadavg()[0]:.1f}"
    )
    await one_streamer()
    print("printers  streamer  lines/s  wanted   starved     in sum  of time longest streamers  boards  PSS each   load")
    for printers in chosen.printers:
        for hurried in (True, False):
            tell(printers, hurried, chosen.seconds, await farm(printers, chosen.seconds, hurried=hurried))


if __name__ == "__main__":
    wants = argparse.ArgumentParser(description=__doc__)
    wants.add_argument("--printers", type=int, nargs="*", default=[10, 20, 40])
    wants.add_argument("--seconds", type=float, default=6.0)
    asyncio.run(main(wants.parse_args()))
