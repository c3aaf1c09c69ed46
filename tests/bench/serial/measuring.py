"""What the serial benches share: a file of moves, virtual boards in a process of their own, a streamer, and clocks on both.

Boards stand above hosts, and both above everything ordinary, because a real board has a processor to itself; every host gets the
same rank. Where that is not allowed, the figures are those of a machine that does something else too.
"""

import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from drivers.gcode.client import Client, Disconnected
from drivers.gcode.framing import frame
from drivers.gcode.launch import put_settings
from drivers.gcode.streamer import PRIORITY, Settings

ROOT = Path(__file__).resolve().parents[3]
OK_BYTES = 3
TOKEN = "bench"
READY_SECONDS, END_SECONDS = 40.0, 20.0


def ranks() -> bool:
    """Whether processes may be put above ordinary ones here."""
    return subprocess.run(["chrt", "-r", "1", "true"], check=False, capture_output=True).returncode == 0


def ranked(command: Sequence[str], rank: int) -> list[str]:
    return ["chrt", "-r", str(rank), *command] if rank and ranks() else list(command)


def spent(pid: int) -> float:
    """Seconds of processor time of a process so far, all its threads together."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)


def memory(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        found[name] = int(value.split()[0]) / 1024
    return found["Rss"], found["Pss"]


@dataclass(frozen=True)
class Moves:
    """A file of short moves of equal duration, as payloads whose lines are `size` bytes on the wire."""

    payloads: list[bytes]

    @classmethod
    def of(cls, count: int, seconds: float, size: int = 39) -> Self:
        speed = round(0.5 / seconds * 60)

        def at(number: int, step: float) -> float:
            there = number % 200
            return 50 + step * (there if there <= 100 else 200 - there)

        lines = []
        for each in range(1, count + 1):
            line = b"G1 X%.2f Y%.2f E" % (70 + at(each, 0.3), 70 + at(each, 0.4))
            line += b"%.9f" % (each * 0.01)
            while len(frame(each, line)) > size:
                line = line[:-1]
            lines.append(line)
        lines[0] += b" F%d" % speed
        return cls(lines)

    def sizes(self) -> list[int]:
        """Bytes of each line on the wire."""
        return [len(frame(number, payload)) for number, payload in enumerate(self.payloads, 1)]

    def digest(self, count: int) -> str:
        """Of the first so many."""
        return hashlib.sha256(b"".join(each + b"\n" for each in self.payloads[:count])).hexdigest()

    def write(self, file: Path) -> Path:
        file.write_bytes(b"\n".join(self.payloads) + b"\n")
        return file


@dataclass(frozen=True)
class Row:
    """A board and its wire. `latency` is added to a round trip, half of it each way."""

    name: str
    latency: float = 0.0
    slots: int = 4
    rx: int = 128
    usb: bool = False
    segment: float = 1e-5
    planner: int = 16
    line: int = 39
    odds: dict[str, float] = field(default_factory=dict)
    seed: int = 1

    @property
    def byte(self) -> float:
        return 0.0 if self.usb else 10 / 250_000

    def limit(self, sizes: Sequence[int], *, slots: int | None = None) -> float:
        """Lines a second of a host that takes no time at all. Each line takes its bytes on the wire; a line goes out as soon as it
        fits into the board's receive buffer and command slots beside those that have no ok yet; an ok has bytes and a way back."""
        slots = slots or self.slots
        half = self.latency / 2
        acknowledged: list[float] = []
        flying = first = 0
        wire = ended = at = moves_end = 0.0
        ends: list[float] = []
        for number, size in enumerate(sizes):
            while number - first >= slots or flying + size > self.rx - 1:
                at = max(at, acknowledged[first])
                flying -= sizes[first]
                first += 1
            flying += size
            wire = max(wire, at + half) + size * self.byte
            taken = max(wire, ends[number - self.planner + 1]) if number >= self.planner - 1 else wire
            moves_end = max(moves_end, taken) + self.segment
            ends.append(moves_end)
            ended = max(ended, taken) + OK_BYTES * self.byte
            acknowledged.append(ended + half)
        return len(sizes) / wire if wire else float("inf")


class Boards:
    """Virtual boards. `began` and `all` are the monotonic times at which the last one's moves began and were all taken."""

    def __init__(self, process: asyncio.subprocess.Process, paths: list[str]) -> None:
        self._process, self.paths = process, paths
        self.pid = process.pid

    @classmethod
    async def start(cls, row: Row, moves: int, *, ports: int = 1, seed: int = 1, rank: int = PRIORITY + 1) -> Self:
        wishes = {
            "board": {
                "native_usb": row.usb,
                "rx_buffer": row.rx,
                "command_slots": row.slots,
                "planner_blocks": row.planner,
                "max_feedrate": 1e9,
            },
            "one_way": row.latency / 2,
            "odds": row.odds,
            "moves": moves,
            "ports": ports,
            "seed": seed,
        }
        command = ranked([sys.executable, "-m", "tests.bench.serial.virtual_board", json.dumps(wishes)], rank)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
        assert process.stdout is not None
        return cls(process, [(await process.stdout.readline()).decode().strip() for _ in range(ports)])

    async def word(self, word: str, seconds: float) -> bool:
        """Wait for `begun` or `all`; False when it does not come in time."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            return False
        assert line.decode().startswith(word), line
        return True

    async def end(self) -> list[dict[str, Any]]:
        """Switch them off; gives what each did."""
        assert self._process.stdout is not None
        self._process.terminate()
        try:
            async with asyncio.timeout(END_SECONDS):
                text = await self._process.stdout.read()
        except TimeoutError:
            self._process.kill()  # it stands above everything ordinary, and must not stay
            raise
        finally:
            await self._process.wait()
        return json.loads(text.splitlines()[-1])


class Streamer:
    """Ours: the process that drives a machine, and the daemon's end of its socket."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.client: Client | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @classmethod
    async def start(cls, folder: Path, settings: Settings, *, hurried: bool = True) -> Self:
        put_settings(folder, settings)
        environment = os.environ | ({} if hurried else {"FARMD_STREAM_PRIORITY": "0"})
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "drivers.gcode.streamer", str(folder), cwd=ROOT, env=environment
        )
        return cls(process, folder)

    async def ready(self) -> Client:
        """Connected, and the machine greeted."""
        while self.client is None:
            try:
                self.client = await Client.connect(self.folder)
            except Disconnected:
                await asyncio.sleep(0.01)
        await self.client.ask("subscribe")
        if not await self.client.until(lambda state: state["phase"] == "ready", READY_SECONDS):
            raise AssertionError(f"the machine was not greeted: {self.client.state}")
        return self.client

    async def print(self) -> None:
        assert self.client is not None
        await self.client.ask("start", token=TOKEN)

    async def end(self) -> None:
        if self.client is not None:
            await self.client.close()
        self.process.kill()
        await self.process.wait()


async def spooled(file: Path, folder: Path) -> float:
    """Frame `file` for the streamer of `folder`; gives the processor time it took, which is part of every line's price."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "drivers.gcode.spool", str(file), str(folder), TOKEN, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    assert await process.wait() == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
