"""`farmd stream`: one G-code file on one serial printer, without a daemon, with progress."""

import asyncio
import json
import signal
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from farmd.cli.complaint import Complaint
from farmd.fleet.serial_lines import Streamed, StreamFailed, stream_file


def play(file: Path, options: dict[str, Any], *, as_json: bool) -> int:
    """Print the file; 0 when it succeeded. Raises `Complaint`."""
    with tempfile.TemporaryDirectory(prefix="farmd-stream-") as folder:
        try:
            result = asyncio.run(_play(file, options, Path(folder), as_json=as_json))
        except StreamFailed as error:
            raise Complaint(str(error)) from None
    if as_json:
        print(json.dumps(asdict(result)))
    elif result.succeeded:
        print(f"printed: {result.lines} lines, {result.bytes} bytes in {result.seconds:.1f} s, {result.resends} resends")
    if not result.succeeded and not as_json:
        raise Complaint(f"the print did not succeed: {result.reason}")
    return 0 if result.succeeded else 1


async def _play(file: Path, options: dict[str, Any], folder: Path, *, as_json: bool) -> Streamed:
    cancelled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, cancelled.set)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        bar = progress.add_task("greeting", total=1.0)

        def told(state: dict[str, Any]) -> None:
            share = state["sent"] / state["wire"] if state["wire"] else None
            heat = ", ".join(f"{name} {actual:.0f}/{target:.0f}" for name, (actual, target) in state["heat"].items())
            progress.update(bar, completed=share, description=f"{state['phase']}  {heat}")

        return await stream_file(file, options, folder, told, cancelled)
