"""kill -9 of the daemon while a serial machine prints: the streamer goes on, the machine gets every line once and without a pause,
and the next daemon finds the print and finishes the order.

The machine is a virtual Marlin behind a pseudo terminal, in a process of its own; it keeps what it executed.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from drivers.gcode import scripts
from drivers.gcode.client import Client
from tests.daemon_process import DaemonProcess, wait_for
from tests.shop import SHAPES, Shop

pytestmark = [pytest.mark.slicer, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PRINTER = """
[[printers]]
id = "marlin-01"
driver = "gcode"
port = "{port}"
baud = 250000
material = "PLA"
color = "#1a1a1a"
bed = [250, 210, 210]
profile = "generic-0.4"
"""
SPEED = 12


class Board:
    """The virtual machine's process."""

    def __init__(self, folder: Path) -> None:
        argv = [sys.executable, "-m", "drivers.virtual.marlin", "--dir", str(folder), "--speed", str(SPEED), "--native-usb"]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()

    def summary(self) -> dict[str, Any]:
        """What it did; it ends with this."""
        self._process.terminate()
        told, _ = self._process.communicate(timeout=10)
        return dict(json.loads(told)[0])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def scene(folder: Path) -> Iterator[tuple[Board, DaemonProcess, Shop]]:
    board = Board(folder / "ports")
    farm = DaemonProcess(folder, PRINTER.format(port=board.port), installed=True)
    try:
        shop = Shop(farm, farm.make_key("shop", "admin"))
        farm.start()
        shop.sell("nut", (SHAPES / "M3_hex_nut.stl").read_bytes())
        yield board, farm, shop
    finally:
        farm.kill()
        end_streamers(folder)
        board.close()


def end_streamers(folder: Path) -> None:
    """Streamers outlive their daemon; a test's must not outlive the test."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                entry.name.isdigit()
                and str(folder).encode() in (words := (entry / "cmdline").read_bytes())
                and b"streamer" in words
            ):
                os.kill(int(entry.name), signal.SIGKILL)


@pytest.fixture
def farm_at_work(tmp_path):
    if shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")
    with scene(tmp_path) as things:
        yield things


def pay(shop: Shop, **quantities: int) -> str:
    order = shop.order(**quantities)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    return order


def journal(folder: Path) -> list[dict[str, Any]]:
    """What the streamer wrote down."""
    file = folder / "files" / "machines" / "marlin-01" / "journal"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def expected(folder: Path, *tokens: str) -> str:
    """The digest of every numbered command a machine carries out for these prints alone, each by its own streamer: its greeting
    and its goodbye included."""
    commands: list[bytes] = []
    for token in tokens:
        frames = (folder / "files" / "machines" / "marlin-01" / f"{token}.frames").read_bytes().splitlines()
        printed = (frame.split(b" ", 1)[1].rsplit(b"*", 1)[0] for frame in frames)
        commands += [*scripts.GREETING, *printed, *scripts.heaters_off(())]
    return hashlib.sha256(b"\n".join(commands)).hexdigest()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_print_survives_the_daemon(farm_at_work, tmp_path, end):
    board, farm, shop = farm_at_work
    order = pay(shop, nut=2)
    shop.until(order, "printing", 60)
    wait_for(lambda: any(entry.get("line", 0) > 20 for entry in journal(tmp_path)), 60)
    if end == signal.SIGKILL:
        farm.kill()
    else:
        assert farm.stop() < 5
    before = journal(tmp_path)[-1]
    assert before["kind"] == "line"
    wait_for(lambda: journal(tmp_path)[-1]["line"] > before["line"], 20)  # without any daemon
    farm.start()
    shop.until(order, "ready", 120)
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}
    assert len(shop.attempts(order)) == 1
    starts = [entry["token"] for entry in journal(tmp_path) if entry["kind"] == "started"]
    assert starts == [before["token"]]
    did = board.summary()
    assert did["numbered_sha256"] == expected(tmp_path, before["token"])
    assert (did["nozzle_target"], did["bed_target"], did["rx_dropped"]) == (0, 0, 0)


@pytest.mark.parametrize("ended", [False, True], ids=["it prints still", "it has ended"])
def test_a_print_survives_the_loss_of_the_store(farm_at_work, tmp_path, ended):
    """The backup knows the print at its very beginning; the streamer's folder, which no backup holds and no restore touches, tells
    the rest."""
    board, farm, shop = farm_at_work
    order = pay(shop, nut=2)
    wait_for(lambda: shop.view(order)["jobs"][0]["state"] == "QUEUED", 60)
    shop.ok("POST", "/api/printers/marlin-01/clear-bed", {})
    wait_for(lambda: shop.attempts(order), 30)
    assert farm.cli("backup", str(tmp_path / "kept.tar.gz")).returncode == 0
    shop.until(order, "printing", 60)
    if ended:
        wait_for(lambda: shop.attempts(order)[0]["state"] == "SUCCEEDED", 120)
    else:
        wait_for(lambda: any(entry.get("line", 0) > 20 for entry in journal(tmp_path)), 60)
    farm.kill()
    for path in tmp_path.glob("farmd.db*"):
        path.unlink()
    done = farm.cli("restore", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 0, done.stderr
    farm.start()
    shop.until(order, "ready", 120)
    assert [attempt["state"] for attempt in shop.attempts(order)] == ["SUCCEEDED"]
    starts = [entry["token"] for entry in journal(tmp_path) if entry["kind"] == "started"]
    assert len(starts) == 1
    assert board.summary()["numbered_sha256"] == expected(tmp_path, *starts)


def install(site: Path, release: str) -> None:
    """The program as a package manager would put it there."""
    shutil.rmtree(site, ignore_errors=True)
    for package in ("farmd", "drivers", "config"):
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / "farmd.dist-info"
    metadata.mkdir()
    known = distribution("farmd")
    for name in ("METADATA", "entry_points.txt"):
        text = known.read_text(name) or ""
        (metadata / name).write_text(re.sub(r"^Version: .*$", f"Version: {release}", text, flags=re.M))


def streamer(folder: Path) -> int:
    """The process id of the one streamer."""
    machine = folder / "files" / "machines" / "marlin-01"

    async def ask() -> int:
        client = await Client.connect(machine)
        state = await client.ask("state")
        await client.close()
        return int(state["pid"])

    return asyncio.run(ask())


def test_a_print_survives_an_upgrade_of_the_package(tmp_path, monkeypatch):
    """The files of the program are gone and others are there, in mid-print; the next print is streamed by the new program."""
    if shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")
    site = tmp_path / "site"
    install(site, "1.0")
    monkeypatch.setenv("PYTHONPATH", str(site))
    with scene(tmp_path) as (board, farm, shop):
        order = pay(shop, nut=2)
        shop.until(order, "printing", 60)
        wait_for(lambda: any(entry.get("line", 0) > 20 for entry in journal(tmp_path)), 60)
        old = streamer(tmp_path)
        farm.stop()
        install(site, "2.0")
        before = journal(tmp_path)[-1]
        assert before["kind"] == "line"
        wait_for(lambda: journal(tmp_path)[-1]["line"] > before["line"], 20)  # on files that are not there any more
        farm.start()
        shop.until(order, "ready", 120)
        assert "its streamer died" not in [entry.get("words") for entry in journal(tmp_path)]
        starts = [entry["token"] for entry in journal(tmp_path) if entry["kind"] == "started"]
        assert len(starts) == 1
        shop.ok("POST", "/api/printers/marlin-01/clear-bed", {})
        other = pay(shop, nut=1)
        shop.until(other, "printing", 60)
        assert streamer(tmp_path) != old
        shop.until(other, "ready", 120)
        did = board.summary()
        second = next(entry["token"] for entry in journal(tmp_path) if entry["kind"] == "started" and entry["token"] != starts[0])
        assert did["numbered_sha256"] == expected(tmp_path, starts[0], second)
        assert (did["nozzle_target"], did["bed_target"], did["rx_dropped"]) == (0, 0, 0)


def test_a_cancel_leaves_a_cold_machine(farm_at_work):
    board, _, shop = farm_at_work
    order = pay(shop, nut=2)
    shop.until(order, "printing", 60)
    shop.ok("POST", f"/api/orders/{order}/cancel", {"reason": "no"})
    wait_for(lambda: shop.ok("GET", "/api/printers/marlin-01")["phase"] == "idle", 60)
    assert shop.view(order)["status"] == "cancelled"
    wait_for(lambda: shop.attempts(order)[0]["state"] == "CANCELLED", 20)
    did = board.summary()
    assert (did["nozzle_target"], did["bed_target"]) == (0, 0)
