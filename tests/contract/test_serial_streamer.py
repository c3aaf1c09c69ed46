"""The streamer process itself, on a virtual board: killed in a hot print, without room on its disk, and asked by many at once."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.contract import Phase, Refused, RemoteFile, Snapshot, Unreachable
from drivers.gcode.client import Client
from drivers.gcode.driver import GcodeDriver
from drivers.gcode.once import dismiss
from drivers.gcode.settings import Settings
from drivers.gcode.spool import Spool, remove, spool
from drivers.virtual.marlin import Board, Firmware, Kind
from drivers.virtual.marlin.port import Port

SPEED = 10.0
HOT = b"M140 S60\nM104 S200\nM190 S60\nM109 S200\n" + b"G1 X10 F1200\nG1 X20 F1200\n" * 400
SECONDS = 20.0


class Scene:
    """One board, and the folder of its streamer."""

    def __init__(self, port: Port, folder: Path) -> None:
        self.port, self.folder = port, folder / "machine"
        self._part = folder / "part.gcode"
        self.driver = GcodeDriver("marlin-01", self.folder, Settings(str(port.path), 250_000), resync=0.5)

    @property
    def hot(self) -> bool:
        core = self.port.firmware.core
        return core.nozzle.target > 0 or core.bed.target > 0

    async def uploaded(self, gcode: bytes, token: str) -> RemoteFile:
        self._part.write_bytes(gcode)
        await self.driver.connect()
        return await self.driver.upload(self._part, token, lambda _read, _size: None)

    async def seen(self, condition: Callable[[Snapshot], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            async for snapshot in self.driver.snapshots():
                if condition(snapshot):
                    return

    async def streamer(self) -> int:
        """Its process."""
        client = await Client.connect(self.folder)
        pid = (await client.ask("state"))["pid"]
        await client.close()
        return int(pid)

    async def kill_the_streamer(self) -> None:
        client = await Client.connect(self.folder)
        os.kill(await self.streamer(), signal.SIGKILL)
        assert await client.gone(SECONDS)
        await client.close()


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    port = Port(Firmware(Board(cold_extrusion=True)), folder / "ttyVIRT0", speed=SPEED)
    port.open()
    at = Scene(port, folder)
    try:
        yield at
    finally:
        await at.driver.close()
        await dismiss(at.folder)
        port.close()


def test_a_machine_left_hot_is_made_safe_however_often_its_streamer_dies(tmp_path: Path) -> None:
    async def go() -> None:
        async with scene(tmp_path) as at:
            await at.driver.start(await at.uploaded(HOT, "att-1"))
            await at.seen(lambda snapshot: any(heat.target for heat in snapshot.temperatures.values()))
            assert at.hot
            at.port.firmware.strike(Kind.UNPLUG, at.port.now)
            at.port.pump()
            await at.kill_the_streamer()
            with pytest.raises(Unreachable):
                await at.driver.connect()  # by a second streamer, which cannot reach the machine
            await at.kill_the_streamer()
            assert at.hot
            at.port.firmware.plug(at.port.now)
            at.port.pump()
            await at.seen(lambda snapshot: snapshot.phase is Phase.IDLE)
            assert not at.hot
            assert str(await at.driver.outcome("att-1")) == "failed"

    asyncio.run(go())


def test_nothing_is_begun_that_cannot_be_written_down(tmp_path: Path) -> None:
    async def go() -> None:
        async with scene(tmp_path) as at:
            remote = await at.uploaded(b"M140 S40\nG28\n", "att-1")
            await at.seen(lambda snapshot: snapshot.phase is Phase.IDLE)
            streamer, room = await at.streamer(), (at.folder / "journal").stat().st_size
            _, most = resource.prlimit(streamer, resource.RLIMIT_FSIZE)
            resource.prlimit(streamer, resource.RLIMIT_FSIZE, (room, most))
            with pytest.raises(Refused, match="disk full"):
                await at.driver.start(remote)
            assert b"M140 S40" not in at.port.firmware.record.numbered
            resource.prlimit(streamer, resource.RLIMIT_FSIZE, (most, most))
            await at.driver.start(remote)
            await at.seen(lambda snapshot: snapshot.phase is Phase.FINISHED)
            assert b"M140 S40" in at.port.firmware.record.numbered
        journal = (at.folder / "journal").read_text().splitlines()
        kinds = [entry["kind"] for entry in map(json.loads, journal) if entry["token"]]
        assert [kind for kind in kinds if kind != "line"] == ["started", "ended", "started", "ended"]

    asyncio.run(go())


def test_everybody_who_waits_hears_the_news(tmp_path: Path) -> None:
    async def go() -> None:
        async with scene(tmp_path) as at:
            remote = await at.uploaded(b"G4 P500\n", "att-1")
            client = await Client.connect(at.folder)
            await client.ask("subscribe")
            waiting = [asyncio.create_task(client.until(lambda state: bool(state["ended"]), SECONDS)) for _ in range(3)]
            await at.driver.start(remote)
            assert await asyncio.gather(*waiting) == [True] * 3
            assert not await client.until(lambda state: state["phase"] == "held", 0.01)
            await client.close()
            assert client.broken

    asyncio.run(go())


def test_a_connection_and_an_opened_port_each_begin_an_epoch(tmp_path: Path) -> None:
    async def go() -> None:
        async with scene(tmp_path) as at:
            epochs: list[int] = []
            told: list[int] = []
            async with asyncio.timeout(SECONDS):
                async for snapshot in at.driver.snapshots():
                    told.append(snapshot.epoch)
                    if snapshot.phase is Phase.IDLE and snapshot.epoch not in epochs:
                        epochs.append(snapshot.epoch)
                        if len(epochs) == 3:
                            break
                        if len(epochs) == 2:
                            await at.kill_the_streamer()
                        else:
                            at.port.firmware.strike(Kind.UNPLUG, at.port.now, 0.5)
                            at.port.pump()
            assert told == sorted(told)
            assert len(set(epochs)) == 3

    asyncio.run(go())


def test_two_who_spool_one_print_do_not_spoil_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.gcode.spool.REPORT_BYTES", 100)
    part = tmp_path / "part.gcode"
    part.write_bytes(b"G1 X1 F1200\n" * 300)
    first, second = spool(part, tmp_path, "att-1"), spool(part, tmp_path, "att-1")
    next(first)
    for _ in second:
        next(first, None)
    second.close()
    for _ in first:
        pass
    job = Spool(tmp_path, "att-1")
    assert job.last == 301
    job.close()
    assert {file.name for file in tmp_path.glob("att-1.*")} == {"att-1.frames", "att-1.index", "att-1.json"}
    remove(tmp_path, "att-1")
    assert not list(tmp_path.glob("att-1.*"))
