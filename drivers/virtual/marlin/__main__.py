"""Virtual boards as a process of their own, for benches and for trying a host by hand.

It prints the name of every port and, when it is told to end, what each board did as JSON. It must print nothing else.
"""

import argparse
import asyncio
import json
import selectors
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from drivers.virtual.marlin.board import Board
from drivers.virtual.marlin.faults import parse
from drivers.virtual.marlin.firmware import Firmware
from drivers.virtual.marlin.noise import Odds
from drivers.virtual.marlin.port import Port
from drivers.virtual.marlin.record import Record


def arguments() -> argparse.Namespace:
    wants = argparse.ArgumentParser(prog="python -m drivers.virtual.marlin", description=__doc__)
    wants.add_argument("--ports", type=int, default=1, help="how many boards")
    wants.add_argument("--dir", type=Path, help="where their names appear; else a new folder")
    wants.add_argument("--speed", type=float, default=1.0, help="how much faster than the clock")
    wants.add_argument("--latency-ms", type=float, default=0.0, help="added one way, in both directions")
    wants.add_argument("--seed", type=int, default=0, help="of the first board's noise; the others follow")
    wants.add_argument("--fault", action="append", default=[], help="reset@12.5, lose-ok@#500, unplug@30+5; may be repeated")
    wants.add_argument("--baud", type=int, default=250_000)
    wants.add_argument("--native-usb", action="store_true", help="no byte clock, no lost bytes")
    wants.add_argument("--rx-buffer", type=int, default=128, help="bytes")
    wants.add_argument("--command-slots", type=int, default=4, help="lines")
    wants.add_argument("--planner-blocks", type=int, default=16)
    wants.add_argument("--boot-seconds", type=float, default=1.0)
    wants.add_argument("--max-feedrate", type=float, default=300.0, help="mm/s")
    wants.add_argument("--advanced-ok", action="store_true")
    wants.add_argument("--no-emergency-parser", action="store_true")
    wants.add_argument("--reset-on-open", action="store_true")
    wants.add_argument("--cold-extrusion", action="store_true", help="filament moves at any temperature")
    for chance in ("garble-in", "garble-out", "drop-in", "drop-out", "lose-ok", "double-ok"):
        wants.add_argument(f"--{chance}", type=float, default=0.0, help="chance for each byte or ok")
    return wants.parse_args()


def make(chosen: argparse.Namespace, number: int, folder: Path) -> Port:
    board = Board(
        baud=chosen.baud,
        native_usb=chosen.native_usb,
        rx_buffer=chosen.rx_buffer,
        command_slots=chosen.command_slots,
        planner_blocks=chosen.planner_blocks,
        boot_seconds=chosen.boot_seconds,
        max_feedrate=chosen.max_feedrate,
        advanced_ok=chosen.advanced_ok,
        emergency_parser=not chosen.no_emergency_parser,
        reset_on_open=chosen.reset_on_open,
        cold_extrusion=chosen.cold_extrusion,
    )
    odds = Odds(chosen.garble_in, chosen.garble_out, chosen.drop_in, chosen.drop_out, chosen.lose_ok, chosen.double_ok)
    script = [parse(text) for text in chosen.fault]
    firmware = Firmware(board, seed=chosen.seed + number, odds=odds, script=script, record=Record(keep=False))
    return Port(firmware, folder / f"ttyVIRT{number}", speed=chosen.speed, latency=chosen.latency_ms / 1000)


def summary(port: Port) -> dict[str, Any]:
    """What one board did; lengths in mm, times in seconds of the board."""
    firmware, record, core = port.firmware, port.firmware.record, port.firmware.core
    return {
        "port": str(port.path),
        "executed": record.count,
        "sha256": record.digest(),
        "numbered": record.numbered_count,
        "numbered_sha256": record.numbered_digest(),
        "moves": core.planner.moves,
        "starved_seconds": round(core.planner.starved_seconds, 6),
        "starved_times": core.planner.starved_times,
        "resends": firmware.resends,
        "rx_dropped": firmware.dropped,
        "boots": firmware.boots,
        "state": firmware.state.value,
        "position": [round(at, 4) for at in firmware.position()],
        "nozzle_target": core.nozzle.target,
        "bed_target": core.bed.target,
    }


async def serve(chosen: argparse.Namespace, folder: Path) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    ports = [make(chosen, number, folder) for number in range(chosen.ports)]
    try:
        for port in ports:
            port.open()
            sys.stdout.write(f"{port.path}\n")
        sys.stdout.flush()
        await end.wait()
    finally:
        for port in ports:
            port.close()
    json.dump([summary(port) for port in ports], sys.stdout)
    sys.stdout.write("\n")


def main() -> None:
    chosen = arguments()
    if chosen.dir is not None:
        chosen.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="virtual-marlin-") as folder, asyncio.Runner(loop_factory=_precise_loop) as runner:
        runner.run(serve(chosen, chosen.dir or Path(folder)))


def _precise_loop() -> asyncio.AbstractEventLoop:
    """epoll rounds every wait up to whole milliseconds, which is the length of a line; select does not."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


if __name__ == "__main__":
    main()
