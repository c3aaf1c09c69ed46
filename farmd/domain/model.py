"""What is known about a customer's model: its size, its defects, and how its owner can mend them.

Pure. A `Defect` refuses a model and always names a cure; a `Notice` lets it pass and says what was seen or mended. The
codes are part of the API: shops translate and count by them, so a code never changes its meaning.
"""

from dataclasses import dataclass
from typing import Literal, Self

ModelFormat = Literal["stl", "stl-ascii", "3mf"]

FIT_SLACK_MM = 0.01  # less than any machine can place; more than the rounding of any exporter


@dataclass(frozen=True, slots=True)
class Defect:
    """One reason a model cannot be printed: a stable snake_case code, what was found in figures, and what to do."""

    code: str
    detail: str
    cure: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a model's owner may want to know although it is accepted, such as a mended winding."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Size:
    """Extents in millimetres along the axes of the printer."""

    x: float
    y: float
    z: float

    def __str__(self) -> str:
        return " x ".join(_figure(length) for length in (self.x, self.y, self.z)) + " mm"

    @property
    def longest(self) -> float:
        return max(self.x, self.y, self.z)

    def turned(self) -> Self:
        """The same part turned by a quarter about Z."""
        return type(self)(self.y, self.x, self.z)

    def fits(self, room: "Size") -> bool:
        """Whether a part of this size fits into `room` as it stands or turned by a quarter about Z."""
        return any(
            size.x <= room.x + FIT_SLACK_MM and size.y <= room.y + FIT_SLACK_MM and size.z <= room.z + FIT_SLACK_MM
            for size in (self, self.turned())
        )


@dataclass(frozen=True, slots=True)
class ModelReport:
    """An accepted model. `triangles`, `size` and `volume_mm3` are those of the geometry file the farm goes on with.

    `volume_mm3` counts plastic shared by overlapping bodies once, up to 200 bodies and a million triangles; beyond that
    each body is counted whole. `geometry_sha256` is that of the geometry file.
    """

    format: ModelFormat
    triangles: int
    size: Size
    volume_mm3: float
    bodies: int
    watertight: bool
    geometry_sha256: str
    warnings: tuple[Notice, ...] = ()


def too_complex(cause: str) -> Defect:
    """The defect of a model that cannot be read within the limits; `cause` names the limit or the way it ended."""
    return Defect(
        "too_complex",
        f"Reading the model took more memory or time than any printable part needs ({cause}).",
        "Export it with a coarser resolution, as binary STL, and without hidden or repeated parts.",
    )


class ModelRejected(Exception):
    """A model cannot be printed. `defects` holds every reason that could be told, the first to mend first."""

    def __init__(self, defects: tuple[Defect, ...]) -> None:
        super().__init__("; ".join(defect.detail for defect in defects))
        self.defects = defects


def _figure(length: float) -> str:
    """A length as people write it: two decimals, or three significant digits when it is tiny."""
    return f"{length:.3g}" if length < 1 else f"{length:.2f}".rstrip("0").rstrip(".")
