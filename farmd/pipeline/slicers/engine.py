"""The port every slicer stands behind: say what you are, turn one plate file into G-code, or say why not.

An engine keeps no state between plates and decides nothing: what is sliced, with which settings and where each part
stands has been settled before it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """Name and version of the installed slicer; part of every cache key."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Figures:
    """The slicer's own estimate for a whole plate."""

    seconds: int
    filament_grams: float
    filament_mm: float


class Engine(Protocol):
    """One installed slicer."""

    async def probe(self) -> EngineVersion | None:
        """What is installed; None when there is none (it may be installed while farmd runs)."""

    async def slice(self, plate: Path, settings: Path, gcode: Path, on_stage: Callable[[float], None]) -> Figures:
        """Slice `plate` with the flat profile `settings` into `gcode`; `on_stage` hears progress from 0 to 1.

        Everything is written beside `gcode`. Raises SliceRejected, SlicerUnavailable or SlicerFailed; the slicer is
        dead when this returns, raises or is cancelled.
        """
