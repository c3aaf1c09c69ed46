"""Our serial streamer beside the other programs that stream G-code: the same virtual board, the same file, the same wire.

Run: PYTHONPATH=. .venv/bin/python tests/bench/serial/bench_throughput.py [--seconds 5] [--only usb] [--ours]

A virtual board paces bytes, has a receive buffer, command slots and a planner, and runs in a process of its own. `L` is latency
added to a round trip, half each way. `limit` is what a host that takes no time would reach: 25 000 bytes a second on the wire, and
no more lines on their way than the board's buffer and slots hold. Every run is checked: the moves carried out are the file's.
`(bare)` is no host but a full window and a count of oks, to tell the board's lateness from a host's. "resends" are the lines that
the board refused; ours asks it six times on purpose which line it wants.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from drivers.gcode.streamer import PRIORITY, Settings
from tests.bench.serial.measuring import ROOT, TOKEN, Boards, Moves, Row, Streamer, ranked, ranks, spent, spooled

HOSTS = Path(__file__).parent
PEERS = {
    "printrun": (ROOT / ".venv-peers/printrun/bin/python", HOSTS / "host_printrun.py"),
    "marlin-host": (ROOT / ".venv-peers/marlin-host/bin/python", HOSTS / "host_marlin_host.py"),
    "octoprint": (ROOT / ".venv-octoprint/bin/python", HOSTS / "host_octoprint.py"),
}
BARE = "(bare)"
BAUD = 250_000
USB_LINES = 8000
"""Lines a second of native USB that a file is made for: about what the virtual board itself can do."""
BEGIN_SECONDS = 15.0

ROWS = [
    Row("250k L=0"),
    Row("250k L=1ms", 0.001),
    Row("250k L=5ms", 0.005),
    Row("250k L=5ms rx1024/16", 0.005, 16, 1024),
    Row("usb L=0 rx1024/16", 0.0, 16, 1024, usb=True),
    Row("usb L=1ms rx1024/16", 0.001, 16, 1024, usb=True),
]
OURS_ALONE = [
    Row("250k L=5ms, lines of 42 bytes", 0.005, line=42),
    Row("250k L=1ms rx1024/16", 0.001, 16, 1024),
]
SEGMENTS = [Row("2 ms segments, L=1ms", 0.001, segment=0.002)]
LOST_OKS = [Row("0.2 % lost oks, L=1ms", 0.001, odds={"lose_ok": 0.002}, seed=1)]
NOISE = [Row("noise 1e-4/byte, L=1ms", 0.001, odds={"garble_in": 0.0001}, seed=3)]


@dataclass(frozen=True)
class Run:
    """One host on one board. `cpu` in ms for 1000 lines."""

    host: str
    rate: float
    share: float
    cpu: float
    exact: bool
    whole: bool
    starved_seconds: float
    starved_times: int
    resends: int
    since_last: float
    longest_gap: float


async def ours(row: Row, file: Path, folder: Path, boards: Boards, seconds: float) -> tuple[float, bool]:
    """Processor seconds between begin and end and whether it came to the end."""
    streamer = await Streamer.start(folder, Settings(boards.paths[0], BAUD, window=row.slots, rx_buffer=row.rx))
    try:
        await spooled(file, folder)
        client = await streamer.ready()
        await streamer.print()
        assert await boards.word("begun", BEGIN_SECONDS)
        before = spent(streamer.pid)
        whole = await boards.word("all", seconds)
        used = spent(streamer.pid) - before
        if whole:
            await client.until(lambda state: bool(state["ended"]), 10)
            assert (client.state["token"], client.state["ended"]) == (TOKEN, "succeeded"), client.state
        return used, whole
    finally:
        await streamer.end()


def command(name: str, row: Row, file: Path, port: str) -> list[str]:
    if name == BARE:
        return [sys.executable, "-m", "tests.bench.serial.host_bare", port, str(file), str(row.slots), str(row.rx)]
    python, script = PEERS[name]
    return [str(python), str(script), port, str(BAUD), str(file)]


async def peer(name: str, row: Row, file: Path, boards: Boards, seconds: float) -> tuple[float, bool]:
    """The same of another program."""
    words = ranked(command(name, row, file, boards.paths[0]), PRIORITY)
    process = await asyncio.create_subprocess_exec(*words, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        if not await boards.word("begun", BEGIN_SECONDS):
            return 0.0, False
        before = spent(process.pid)
        whole = await boards.word("all", seconds)
        used = spent(process.pid) - before if process.returncode is None else 0.0
        return used, whole
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(host: str, row: Row, moves: Moves, limit: float, seconds: float) -> Run:
    with tempfile.TemporaryDirectory(prefix="bench-serial-") as place:
        file = moves.write(Path(place) / "moves.gcode")
        boards = await Boards.start(row, len(moves.payloads), seed=row.seed)
        try:
            if host == "farmd":
                used, whole = await ours(row, file, Path(place) / "streamer", boards, seconds)
            else:
                used, whole = await peer(host, row, file, boards, seconds)
        finally:
            found = (await boards.end())[0]
    done, still = found["moves"], found["since_last"] or 0.0
    rate = found["rate"]
    if not whole and still > 1 and rate:  # it has stopped for good, and that is part of its rate
        rate = (done - 1) / (found["seconds"] + still)
    return Run(
        host,
        rate,
        rate / limit,
        used / max(done, 1) * 1e6,
        exact=found["sha256"] == moves.digest(done),
        whole=whole,
        starved_seconds=found["starved_seconds"],
        starved_times=found["starved_times"],
        resends=found["resends"],
        since_last=still,
        longest_gap=found["longest_gap"],
    )


def tell(row: Row, limit: float, runs: Sequence[Run]) -> None:
    words = "none" if limit == float("inf") else f"{limit:.0f} lines/s"
    print(f"\n{row.name}: limit {words}; one line at a time {row.limit([39] * 500, slots=1):.0f}; load {os.getloadavg()[0]:.1f}")
    print(f"  {'':12} {'lines/s':>8} {'of limit':>8} {'cpu ms/1000':>11} {'starved':>16} {'resends':>7} {'longest gap':>11}  moves")
    for each in runs:
        share = f"{each.share:8.1%}" if each.share else f"{'-':>8}"
        starved = f"{each.starved_seconds:7.3f} s {each.starved_times:5d}x" if row.segment > 1e-4 else f"{'-':>16}"
        end = "" if each.whole or each.since_last < 1 else f"; stood still for the last {each.since_last:.1f} s"
        print(
            f"  {each.host:12} {each.rate:8.0f} {share} {each.cpu:11.1f} {starved} {each.resends:7d} {each.longest_gap:9.3f} s"
            f"  {'exact' if each.exact else 'NOT THE FILE'}{end}"
        )
    best = [each for each in runs if each.host not in ("farmd", BARE)]
    if best and runs[0].host == "farmd":
        quick, cheap = max(best, key=lambda each: each.rate), min(best, key=lambda each: each.cpu or float("inf"))
        print(
            f"  farmd: {runs[0].rate / max(quick.rate, 1):.1f}x the lines of {quick.host}, "
            f"{runs[0].cpu / max(cheap.cpu, 0.1):.2f} of the processor time of {cheap.host}"
        )


async def measure(rows: Sequence[Row], hosts: Sequence[str], seconds: float, cap: float) -> None:
    """Everybody on each row; a file lasts `seconds` at the limit, and whoever is slower is stopped after `cap`."""
    for row in rows:
        rate = min(row.limit(Moves.of(500, row.segment, row.line).sizes()), USB_LINES)
        moves = Moves.of(int(rate * seconds), row.segment, row.line)
        limit = row.limit(moves.sizes())
        tell(row, limit, [await run(host, row, moves, limit, cap) for host in hosts])


async def learning(seconds: float) -> None:
    """With nothing set: how long it takes until as many lines are on their way as this wire is worth."""
    for row in (Row("250k L=5ms", 0.005), Row("usb L=1ms rx1024/16", 0.001, 16, 1024, usb=True)):
        moves = Moves.of(60_000, row.segment)
        with tempfile.TemporaryDirectory(prefix="bench-serial-") as place:
            folder = Path(place) / "streamer"
            boards = await Boards.start(row, len(moves.payloads))
            streamer = await Streamer.start(folder, Settings(boards.paths[0], BAUD, rx_buffer=row.rx))
            try:
                await spooled(moves.write(Path(place) / "moves.gcode"), folder)
                client = await streamer.ready()
                await streamer.print()
                await boards.word("begun", BEGIN_SECONDS)
                loop = asyncio.get_running_loop()
                begun = loop.time()
                told = [f"{client.state['window']} at the beginning"]
                while loop.time() < begun + seconds:
                    await asyncio.sleep(0.5)
                    state = await client.ask("state")
                    told.append(f"{state['window']} after {loop.time() - begun:.1f} s and {state['line']} lines")
            finally:
                await streamer.end()
                await boards.end()
        kept = [told[0], *(each for before, each in pairwise(told) if each.split()[0] != before.split()[0])]
        print(f"\nlearned, {row.name}: lines on their way: " + "; ".join(kept))


def arguments() -> argparse.Namespace:
    wants = argparse.ArgumentParser(description=__doc__)
    wants.add_argument("--seconds", type=float, default=1.5, help="of streaming at the limit, each run")
    wants.add_argument("--only", default="", help="rows whose name has this in it")
    wants.add_argument("--ours", action="store_true", help="no peers")
    return wants.parse_args()


async def main(chosen: argparse.Namespace) -> None:
    hosts, proper = ["farmd", BARE], ["farmd"]
    for name, (python, _) in PEERS.items():
        if python.exists() and not chosen.ours:
            hosts.append(name)
            proper.append(name)
        elif not chosen.ours:
            print(f"{name} is left out: it is not installed")
    print(f"boards and hosts {'above' if ranks() else 'AMONG'} everything ordinary; {os.cpu_count()} cores")

    def wanted(rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if chosen.only in row.name]

    seconds = chosen.seconds
    await measure(wanted(ROWS), hosts, seconds, seconds * 1.5)
    await measure(wanted(OURS_ALONE), hosts[:2], seconds, seconds * 1.5)
    await measure(wanted(SEGMENTS), proper, seconds, seconds * 1.5)
    await measure(wanted(NOISE), proper, seconds * 1.5, seconds * 2)
    await measure(wanted(LOST_OKS), proper, seconds * 1.5, seconds * 3.5)
    if not chosen.only or chosen.only == "learned":
        await learning(seconds * 3)


if __name__ == "__main__":
    wishes = arguments()
    if not wishes.ours:
        subprocess.run([HOSTS / "peer_environments.sh"], check=False)
    asyncio.run(main(wishes))
