"""The words of slicing: what is asked of a slicer, what comes back, and the three ways it can fail.

Pure data between the pipeline and everybody else. The three failures are kept apart because the cure differs: a
rejected model needs a person, an absent slicer needs patience, a failed run needs another try.
"""

from dataclasses import dataclass

from farmd.domain.machines import MACHINES, Machine
from farmd.domain.model import Size


@dataclass(frozen=True, slots=True)
class PrinterClass:
    """Printers that may share a sliced file: same profile, same bed (mm), same nozzle (mm), and the same model where they print
    nothing but files made for it (`machine`, a name in `domain.machines`; None: plain G-code)."""

    profile: str
    bed: Size
    nozzle: float
    machine: str | None = None

    @property
    def key(self) -> str:
        """Stable name of the class, equal for equal printers: `generic-0.4/250x210x210/0.4`, `bambu-a1-0.4/256x256x256/0.4/A1`."""
        plain = f"{self.profile}/{self.bed.x:g}x{self.bed.y:g}x{self.bed.z:g}/{self.nozzle:g}"
        return f"{plain}/{self.machine}" if self.machine else plain

    @property
    def made_for(self) -> Machine | None:
        """The model its files are made for; None where they are plain G-code."""
        return MACHINES[self.machine] if self.machine else None


@dataclass(frozen=True, slots=True)
class SliceOptions:
    """What a customer chose. `infill` is in percent; `color` is metadata in the file and never changes a toolpath."""

    quality: str = "standard"
    infill: int = 15
    material: str = "PLA"
    color: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.infill <= 100:
            raise ValueError(f"infill is {self.infill} %: choose 0 to 100")


@dataclass(frozen=True, slots=True)
class Placement:
    """One copy on the bed: its footprint's front-left corner in mm, once turned about Z by 0 or 90 degrees."""

    x: float
    y: float
    rotation_deg: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """The slicer's own figures for a whole plate."""

    seconds: int
    filament_grams: float
    filament_mm: float
    height_mm: float


@dataclass(frozen=True, slots=True)
class Extent:
    """Where plastic is laid on the bed, in mm; the intro line is not counted."""

    min_x: float
    min_y: float
    max_x: float
    max_y: float
    max_z: float


@dataclass(frozen=True, slots=True)
class Artifact:
    """A sliced plate, named by everything that went into it. `sha256` and `bytes` are those of the file, whose name is its key
    and `suffix`."""

    key: str
    estimate: Estimate
    copies: int
    sha256: str
    bytes: int
    bbox: Extent
    engine: str
    suffix: str = ".gcode"


class SliceRejected(Exception):
    """This model with these options can never be printed so: the same input, the same answer. Never retried."""

    def __init__(self, code: str, detail: str, cure: str) -> None:
        super().__init__(f"{detail}. {cure}")
        self.code = code
        self.detail = detail
        self.cure = cure


class GateRefused(SliceRejected):
    """The slicer was content, but the G-code is not what was ordered or not safe to run."""


class SlicerUnavailable(Exception):
    """There is no slicer to run. Jobs wait; nothing is wrong with them."""


class SlicerFailed(Exception):
    """This run came to nothing (out of time, killed, disk full), which says little about the model: try again."""
