"""The pseudo terminal around a virtual board: real file descriptors, the board's time made fast."""

import asyncio
import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from drivers.virtual.fleet import run_marlins
from drivers.virtual.marlin import Board, Firmware, Kind
from drivers.virtual.marlin.port import Port
from farmd.fleet.virtual import printers_toml, virtual_marlins
from tests.serial_bench import framed
from tests.waiting import until

pytestmark = pytest.mark.slow  # real terminals, real time


class Host:
    """One end of a terminal, read without blocking the loop that the board lives in."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.heard = b""

    async def until(self, text: bytes, seconds: float = 10.0) -> bytes:
        """Everything heard up to and including `text`."""
        async with asyncio.timeout(seconds):
            while text not in self.heard:
                await readable(self.fd)
                self.heard += os.read(self.fd, 4096)
        said, found, self.heard = self.heard.partition(text)
        return said + found

    def close(self) -> None:
        os.close(self.fd)


async def readable(fd: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


def on_a_port(tmp_path, story, board=None, **kwargs):
    async def run():
        port = Port(Firmware(board), tmp_path / "ttyVIRT0", **kwargs)
        port.open()
        try:
            await story(port)
        finally:
            port.close()
        assert not port.path.is_symlink()

    asyncio.run(run())


def test_a_host_opens_it_by_name_and_is_answered(tmp_path):
    async def story(port):
        host = Host(port.path)
        os.write(host.fd, b"M105\n" + framed(1, "M117 a") + framed(2, "M118 b"))
        assert await host.until(b"b\nok\n") == b"ok T:21.30 /0.00 B:21.30 /0.00 @:0 B@:0\nok\nb\nok\n"
        host.close()

    on_a_port(tmp_path, story)


def test_what_is_said_to_nobody_is_lost_and_the_next_host_finds_the_board_as_it_was(tmp_path):
    async def story(port):
        host = Host(port.path)
        os.write(host.fd, b"M155 S1\n" + framed(1, "M117 a"))
        await host.until(b"ok\nok\n")
        host.close()
        await until(lambda: port.now > 200)
        host = Host(port.path)
        os.write(host.fd, framed(2, "M118 still here"))
        said = await host.until(b"still here\n")
        assert said.count(b"T:21.30") < 100
        host.close()

    on_a_port(tmp_path, story, speed=1000.0)


def test_a_pulled_cable_hangs_up_and_comes_back_under_the_same_name(tmp_path):
    async def story(port):
        host = Host(port.path)
        os.write(host.fd, b"M104 S200\n" + framed(1, "M117 a"))
        await host.until(b"ok\nok\n")
        port.firmware.strike(Kind.UNPLUG, port.now, 1.0)
        port.pump()
        await until(lambda: not port.path.exists())
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.write(host.fd, b"M105\n")
        assert os.read(host.fd, 10) == b""
        host.close()
        await until(port.path.exists)
        host = Host(port.path)
        os.write(host.fd, framed(2, "M118 back"))
        assert b"start" not in await host.until(b"back\nok\n")
        assert port.firmware.core.nozzle.target == 200
        host.close()

    on_a_port(tmp_path, story)


def test_opening_resets_a_board_that_is_wired_so(tmp_path):
    async def story(port):
        host = Host(port.path)
        assert (await host.until(b"SD card ok\n")).startswith(b"start\nMarlin")
        host.close()

    on_a_port(tmp_path, story, Board(reset_on_open=True, boot_seconds=0.2))


def test_latency_is_added_both_ways(tmp_path):
    async def story(port):
        host = Host(port.path)
        begun = time.monotonic()
        os.write(host.fd, b"M117 x\n")
        await host.until(b"ok\n")
        assert time.monotonic() - begun >= 0.2
        host.close()

    on_a_port(tmp_path, story, Board(native_usb=True), latency=0.1)


def test_native_usb_lets_a_greedy_host_wait_instead_of_losing_bytes(tmp_path):
    async def story(port):
        host = Host(port.path)
        left = b"G4 P300\n" + b"".join(framed(number, f"M117 {number:60}") for number in range(1, 1000))
        lines = 1000
        async with asyncio.timeout(20):
            while left or host.heard.count(b"ok\n") < lines:
                can_read, can_write, _ = select.select([host.fd], [host.fd] if left else [], [], 0)
                if can_write:
                    left = left[os.write(host.fd, left[:500]) :]
                if can_read:
                    host.heard += os.read(host.fd, 4096)
                await asyncio.sleep(0)
        assert port.firmware.dropped == port.firmware.resends == 0
        host.close()

    on_a_port(tmp_path, story, Board(native_usb=True, rx_buffer=1024))


def test_a_name_that_is_taken_is_an_error_and_one_left_behind_is_not(tmp_path):
    (tmp_path / "ttyVIRT1").write_text("mine")
    (tmp_path / "ttyVIRT0").symlink_to("/dev/pts/no-such")

    async def run():
        with pytest.raises(FileExistsError, match="ttyVIRT1"):
            async with run_marlins(2, folder=tmp_path):
                pass
        assert not (tmp_path / "ttyVIRT0").is_symlink()

    asyncio.run(run())


def test_a_fleet_of_them_is_told_as_printers(tmp_path):
    async def run():
        async with virtual_marlins(2, 10.0, tmp_path) as printers:
            assert (tmp_path / "ttyVIRT1").exists()
            return tomllib.loads(printers_toml(printers, "PLA", "#1a1a1a"))["printers"]

    first, second = asyncio.run(run())
    place = {"id": "marlin-01", "driver": "gcode", "port": str(tmp_path / "ttyVIRT0"), "baud": 250000}
    assert first == place | {
        "bed": [250, 210, 210],
        "nozzle": 0.4,
        "material": "PLA",
        "color": "#1a1a1a",
        "profile": "generic-0.4",
    }
    assert (second["id"], second["port"]) == ("marlin-02", str(tmp_path / "ttyVIRT1"))


def test_a_process_of_boards_tells_at_its_end_what_they_did(tmp_path):
    command = [sys.executable, "-m", "drivers.virtual.marlin", "--ports", "2", "--dir", str(tmp_path), "--native-usb"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        paths = [Path(process.stdout.readline().strip()) for _ in range(2)]

        async def talk():
            host = Host(paths[1])
            os.write(host.fd, framed(1, "G1 X1 F600") + b"M105\n" + framed(2, "G1 X2") + b"N9 x*1\n")
            await host.until(b"Resend: 3\nok\n")
            host.close()

        asyncio.run(talk())
        process.send_signal(signal.SIGTERM)
        idle, busy = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 0
    assert (idle["executed"], busy["executed"], busy["numbered"], busy["moves"], busy["resends"]) == (0, 3, 2, 2, 1)
    firmware = Firmware(Board(native_usb=True))
    firmware.receive(framed(1, "G1 X1 F600") + b"M105\n" + framed(2, "G1 X2"), 0.0)
    assert busy["sha256"] == firmware.record.digest()
    assert busy["numbered_sha256"] == firmware.record.numbered_digest()
