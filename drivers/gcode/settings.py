"""How a serial machine is reached: what its `[[printers]]` block says, and what its streamer reads from its folder.

Light on purpose: a configuration is checked without loading what drives a machine.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from drivers.gcode.window import RX_BUFFER


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach the machine. `window` lines may be on their way (None: learned), `rx_buffer` is its receive buffer in bytes."""

    port: str
    baud: int = 115_200
    window: int | None = None
    rx_buffer: int = RX_BUFFER


def read_settings(folder: Path) -> Settings:
    """What the folder says of its machine. Raises `ValueError` when that cannot be read."""
    kept = json.loads((folder / "settings.json").read_text())
    return Settings(**kept)
