"""Serial machines beside the farm: one file printed without a daemon, and which machines this host has.

The command line's only way to them: it may not import a driver itself.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.contract import DriverError
from drivers.gcode.discover import Found, discover
from drivers.gcode.factory import settings_of
from drivers.gcode.once import Streamed, dismiss, stream

__all__ = ["Found", "StreamFailed", "Streamed", "discover", "end_streamers", "printer_block", "stream_file"]


class StreamFailed(Exception):
    """The print could not begin; the message says why and what to do."""


async def stream_file(
    file: Path, options: dict[str, Any], folder: Path, told: Callable[[dict[str, Any]], None], cancelled: asyncio.Event
) -> Streamed:
    """Print `file` on the port that `options` name (as in a `[[printers]]` block). Raises `StreamFailed`."""
    try:
        return await stream(file, settings_of(options), folder, told, cancelled)
    except (DriverError, ValueError) as error:
        raise StreamFailed(str(error)) from error


async def end_streamers(machines: Path) -> None:
    """End the streamers of a farm that is given up for good; their prints are stopped safely."""
    folders = await asyncio.to_thread(lambda: [*machines.glob("*/")])
    await asyncio.gather(*(dismiss(folder) for folder in folders))


def printer_block(found: Found, number: int) -> str:
    """The `[[printers]]` block of a machine that was found."""
    return (
        f'[[printers]]  # {found.firmware}\nid = "serial-{number:02d}"\n'
        f'driver = "gcode"\nport = "{found.port}"\nbaud = {found.baud}\n'
        'bed = [220, 220, 250]\nnozzle = 0.4\nmaterial = "PLA"\ncolor = "#1a1a1a"\nprofile = "generic-0.4"\n'
    )
