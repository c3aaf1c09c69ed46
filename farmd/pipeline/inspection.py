"""The judgement on a model's triangles: finite, of a likely size, closed, wound outwards, small enough for a printer.

Runs in the model reader's child process, after the reader and before anything is stored. Mends only what cannot change the
shape (winding, welding, repeated triangles) and says so; everything else is told to the owner, all of it at once.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from farmd.domain.model import Defect, ModelFormat, ModelRejected, Notice, Size
from farmd.pipeline import topology
from farmd.pipeline.mesh import Mesh, Triangles, Vertices
from farmd.pipeline.readers import Corners, refuse
from farmd.pipeline.solids import Solids, sort_bodies

SMALLEST_MM, LARGEST_MM, FLAT_MM = 3.0, 10_000.0, 0.05
OVERSIZE = 3  # times the bed: nobody means that
WELD_MM = 0.001  # exporters that write six digits leave gaps of this order
MENDED_EDGES_CAP = 200_000  # a heap of loose triangles is not worth the search
DEGENERATE_SHARE = 0.1
_UNIT_CURE = (
    "Export it in millimetres. STL files carry no unit: a part drawn in inches comes out 25.4 times too small, "
    "one drawn in metres 1000 times."
)
_REPAIR = "Repair it (Windows 3D Builder, Meshmixer or your slicer's repair function) and export it again."

Origin = npt.NDArray[np.float64]


class Inspection:
    """One model on the bench. `run` gives the mesh to go on with, or raises `ModelRejected` with every defect found."""

    def __init__(self, format_: ModelFormat, corners: Corners, bed_limit: Size | None) -> None:
        self.format = format_
        self.notices: list[Notice] = []
        self._corners = corners
        self._bed_limit = bed_limit
        self._defects: list[Defect] = []

    def run(self) -> tuple[Mesh, Size, Solids]:
        corners: Corners = self._finite()
        lowest = corners.min(axis=(0, 1)).astype(np.float64)
        size = Size(*(float(length) for length in corners.max(axis=(0, 1)) - lowest))
        self._defects += size_defects(size, self._bed_limit)
        # Beyond any printer the figures below lose their meaning, and without its other corners so does the surface.
        if len(corners) < len(self._corners) or size.longest > LARGEST_MM:
            raise ModelRejected(tuple(self._defects))
        self._corners = np.empty((0, 3, 3))
        vertices, triangles = self._welded((corners - lowest).astype(np.float32), lowest)
        if self._defects:
            raise ModelRejected(tuple(self._defects))
        solids = sort_bodies(vertices, triangles)
        self.notices += solids.notices
        if solids.volume_mm3 < FLAT_MM**3:
            raise refuse("no_volume", "The surface encloses nothing: its two sides cancel out.", _REPAIR)
        return Mesh(*topology.compact(vertices, solids.triangles)), size, solids

    def _finite(self) -> Corners:
        if not len(self._corners):
            raise refuse("no_faces", "The model holds no triangles.", "Export the solid body itself, not an empty scene.")
        finite = np.asarray(np.isfinite(self._corners).all(axis=(1, 2)))
        if finite.all():
            return self._corners
        broken = int(np.count_nonzero(~finite))
        detail = f"Coordinates that are no numbers in {broken:,} of {len(finite):,} triangles."
        self._defects.append(Defect("not_finite", detail, _REPAIR))
        if broken == len(finite):
            raise ModelRejected(tuple(self._defects))
        sound: Corners = self._corners[finite]
        return sound

    def _welded(self, facets: topology.Facets, lowest: Origin) -> tuple[Vertices, Triangles]:
        vertices, every = topology.weld(facets)
        triangles = topology.without_collapsed(every)
        useless = len(every) - len(triangles) + topology.slivers(vertices, triangles)
        if useless > DEGENERATE_SHARE * len(every):
            detail = f"Collapsed to a line or a point: {useless:,} of {len(every):,} triangles."
            self._defects.append(Defect("degenerate", detail, _REPAIR))
        elif useless:
            self.notices.append(Notice("degenerate_triangles", f"{_count(useless, 'triangle')} without area."))
        if not len(triangles):
            raise ModelRejected(tuple(self._defects))
        return vertices, self._closed(vertices, triangles, lowest)

    def _closed(self, vertices: Vertices, triangles: Triangles, lowest: Origin) -> Triangles:
        edges = topology.edges(triangles, len(vertices))
        if edges.crowded:
            once = topology.without_copies(triangles)
            if len(once) < len(triangles):
                copies = _count(len(triangles) - len(once), "repeated triangle")
                self.notices.append(Notice("repeated_triangles", f"{copies} left out."))
                triangles, edges = once, topology.edges(once, len(vertices))
        if edges.sound:
            return triangles
        if (mended := _joined(vertices, triangles, edges)) is not None:
            detail = f"Gaps of about {WELD_MM} mm along {_count(len(edges.open), 'open edge')} were closed."
            self.notices.append(Notice("gaps_closed", detail))
            return mended
        self._defects += edge_defects(edges, vertices, lowest)
        return triangles


def size_defects(size: Size, bed_limit: Size | None) -> Iterator[Defect]:
    """What the size alone says. `bed_limit` is the largest room any printer of the farm has."""
    if size.longest < SMALLEST_MM:
        detail = f"The model is {size}; less than {SMALLEST_MM:g} mm in every direction looks like a wrong unit."
        yield Defect("wrong_unit", detail, _UNIT_CURE)
    if min(size.x, size.y, size.z) < FLAT_MM:
        yield Defect("flat", f"The model is {size}: it has no thickness.", "Give the surface a thickness (0.8 mm or more).")
    if bed_limit is not None and not size.fits(bed_limit):
        detail = f"The model is {size}; the largest printer takes {bed_limit}."
        yield Defect("too_large", detail, "Turn it so that it lies flat, scale it down or cut it into parts.")
    limit = LARGEST_MM if bed_limit is None else min(LARGEST_MM, OVERSIZE * bed_limit.longest)
    if size.longest > limit:
        detail = f"The model is {size}; more than {limit:g} mm looks like a wrong unit."
        yield Defect("wrong_unit", detail, _UNIT_CURE)


def edge_defects(edges: topology.Edges, vertices: Vertices, lowest: Origin) -> Iterator[Defect]:
    """Holes and clashing windings, with the place of the largest in the coordinates of the customer's file."""
    if len(edges.open):
        holes, where = _largest(edges.open, vertices, lowest)
        place = f"around {where}" if holes == 1 else f"in {holes:,} places, most around {where}"
        detail = f"{_count(len(edges.open), 'open edge')} {place}: the surface is not closed."
        yield Defect("open_edges", detail, f"A printed part needs a closed surface. {_REPAIR}")
    if len(edges.twisted):
        _, where = _largest(edges.twisted, vertices, lowest)
        detail = f"{_count(len(edges.twisted), 'edge')} around {where} between triangles facing opposite ways."
        yield Defect("inconsistent_winding", detail, f"Unify the normals so that all face outwards. {_REPAIR}")


def _largest(pairs: npt.NDArray[np.int64], vertices: Vertices, lowest: Origin) -> tuple[int, str]:
    """How many separate groups the edges form, and the middle of the largest."""
    used, index = np.unique(pairs, return_inverse=True)
    labels = topology.components(index.reshape(-1, 2), len(used))
    names, counts = np.unique(labels, return_counts=True)
    middle = vertices[used[labels == names[counts.argmax()]]].mean(axis=0, dtype=np.float64) + lowest
    return len(names), "(" + ", ".join(f"{coordinate + 0.0:.4g}" for coordinate in middle.round(3)) + ")"


def _joined(vertices: Vertices, triangles: Triangles, edges: topology.Edges) -> Triangles | None:
    """Join the corners along open edges that lie within `WELD_MM`; None when that does not close the surface."""
    if len(edges.open) > MENDED_EDGES_CAP:
        return None
    labels = topology.join_near(vertices, np.unique(edges.open), WELD_MM).astype(np.uint32)
    joined = topology.without_collapsed(labels[triangles])
    return joined if len(joined) and topology.edges(joined, len(vertices)).sound else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
