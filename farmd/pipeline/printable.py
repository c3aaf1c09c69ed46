"""What of a model a nozzle can make: its skin, and the height up to which it is wide enough to be printed at all.

Slicers leave out, without a word, what is thinner than a line of plastic. A sharp tip may be left out; half a model may
not. The G-code gate needs to know the one from the other, so it is measured on the mesh, by no slicer's account.
"""

import numpy as np
import numpy.typing as npt

from farmd.pipeline.mesh import Mesh

MOST_LEVELS = 500

Triples = npt.NDArray[np.float64]


def skin_area(mesh: Mesh) -> float:
    """The area of the surface in mm2."""
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def printable_height(mesh: Mesh, width: float, step: float) -> float:
    """The height in mm of the highest layer, `step` thick, whose section is at least `width` wide on the whole."""
    heights = mesh.vertices[:, 2].astype(np.float64)
    corners = heights[mesh.triangles]
    low, high = corners.min(axis=1), corners.max(axis=1)
    top = float(heights.max())
    for number in range(min(MOST_LEVELS, int(top / step) + 1)):
        level = top - (number + 0.5) * step
        crossed = mesh.triangles[(low < level) & (high >= level)]
        area, rim = _section(mesh.vertices[crossed].astype(np.float64), level)
        # Four areas over the rim is the diameter of a disc, the side of a square, and of many equal tips that of one.
        if rim > 0 and 4 * area / rim >= width:
            return top - number * step
    return 0.0


def _section(triangles: Triples, level: float) -> tuple[float, float]:
    """Area (mm2) and rim (mm) of the cut at `level` through triangles that all cross it."""
    if len(triangles) == 0:
        return 0.0, 0.0
    above = triangles[:, :, 2] >= level
    lone_above = above.sum(axis=1) == 1
    lone = np.where(lone_above, above.argmax(axis=1), above.argmin(axis=1))
    rows = np.arange(len(triangles))
    a, b, c = (triangles[rows, (lone + turn) % 3] for turn in range(3))
    start, end = _cut(a, b, level), _cut(a, c, level)
    crosses = (start[:, 0] * end[:, 1] - end[:, 0] * start[:, 1]) * np.where(lone_above, 1, -1)
    return float(abs(crosses.sum()) / 2), float(np.linalg.norm(end - start, axis=1).sum())


def _cut(lone: Triples, other: Triples, level: float) -> Triples:
    share = (level - lone[:, 2]) / (other[:, 2] - lone[:, 2])
    return lone[:, :2] + (other[:, :2] - lone[:, :2]) * share[:, None]
