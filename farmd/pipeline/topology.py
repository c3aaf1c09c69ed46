"""How a heap of triangles hangs together: welding, edges, bodies, volume. Plain numpy on whole arrays.

Used by the model reader's child process only. Nothing here may loop in Python over triangles: a model has up to three
million of them, and a stranger chose them.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from farmd.pipeline.mesh import Triangles, Vertices

Facets = npt.NDArray[np.float32]  # n x 3 x 3: the corners of n triangles
Labels = npt.NDArray[np.int64]
Volumes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The edges that do not join exactly as many triangles one way round as the other, by their two corners."""

    open: npt.NDArray[np.int64]  # n x 2: an odd number of triangles meet here
    twisted: npt.NDArray[np.int64]  # n x 2: an even number, wound against each other
    crowded: int  # edges where more than two triangles meet

    @property
    def sound(self) -> bool:
        return not len(self.open) and not len(self.twisted)


def weld(facets: Facets) -> tuple[Vertices, Triangles]:
    """Join corners that are equal to the last bit. Vertices keep the order in which they first appear."""
    points = np.ascontiguousarray(facets.reshape(-1, 3)) + np.float32(0)  # adding zero turns -0.0 into 0.0
    bits = points.view(np.uint32).astype(np.uint64)
    keys = (bits[:, 0] * 0x9E3779B97F4A7C15) ^ (bits[:, 1] * 0xC2B2AE3D27D4EB4F) ^ (bits[:, 2] * 0x165667B19E3779F9)
    _, first, index = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(points[first][index], points):  # two different corners share a key: take the slow road
        _, first, index = np.unique(points, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return points[first[order]], rank[index].reshape(-1, 3).astype(np.uint32)


def without_collapsed(triangles: Triangles) -> Triangles:
    """Drop triangles with two corners in one place; their edges cancel out, so none is opened by that."""
    a, b, c = triangles.T
    kept: Triangles = triangles[(a != b) & (b != c) & (c != a)]
    return kept


def compact(vertices: Vertices, triangles: Triangles) -> tuple[Vertices, Triangles]:
    """Drop vertices no triangle uses."""
    used, index = np.unique(triangles, return_inverse=True)
    return vertices[used], index.reshape(-1, 3).astype(np.uint32)


def slivers(vertices: Vertices, triangles: Triangles) -> int:
    """How many triangles have three different corners in one line."""
    a, b, c = (vertices[column].astype(np.float64) for column in triangles.T)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    longest = np.maximum(np.maximum(_squared(b - a), _squared(c - b)), _squared(a - c))
    return int(np.count_nonzero(area <= 1e-7 * longest))


def edges(triangles: Triangles, vertex_count: int) -> Edges:
    """Count every edge's triangles and the way round each of them walks it."""
    start = triangles.astype(np.uint64)
    end = np.roll(start, -1, axis=1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    keys = np.sort((((low * np.uint64(vertex_count)) + high) * np.uint64(2) + (start > end)).ravel())
    lines = keys >> np.uint64(1)
    if _all_paired(keys, lines):
        nothing = np.empty((0, 2), np.int64)
        return Edges(nothing, nothing, 0)
    names, first, counts = np.unique(lines, return_index=True, return_counts=True)
    backward = np.add.reduceat((keys & np.uint64(1)).astype(np.int64), first)
    odd = counts % 2 == 1
    twisted = ~odd & (2 * backward != counts)
    return Edges(_ends(names[odd], vertex_count), _ends(names[twisted], vertex_count), int(np.count_nonzero(counts > 2)))


def without_copies(triangles: Triangles) -> Triangles:
    """Drop triangles that repeat an earlier one with the same corners the same way round."""
    lead = np.argmin(triangles, axis=1)
    turned = triangles[np.arange(len(triangles))[:, None], (lead[:, None] + np.arange(3)) % 3]
    _, first = np.unique(turned, axis=0, return_index=True)
    return triangles[np.sort(first)]


def components(pairs: npt.NDArray[np.integer], vertex_count: int) -> Labels:
    """Label every vertex with the lowest vertex it is joined to by `pairs` (n x 2), directly or through others."""
    labels = np.arange(vertex_count, dtype=np.int64)
    a, b = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
    while True:
        at_a, at_b = labels[a], labels[b]
        differ = at_a != at_b
        if not differ.any():
            return labels
        a, b, at_a, at_b = a[differ], b[differ], at_a[differ], at_b[differ]
        np.minimum.at(labels, np.maximum(at_a, at_b), np.minimum(at_a, at_b))
        while not np.array_equal(hop := labels[labels], labels):
            labels = hop


def join_near(vertices: Vertices, among: npt.NDArray[np.int64], reach: float) -> Labels:
    """Label every vertex with itself, or with another of `among` about `reach` away (at most 2 * sqrt(3) times that)."""
    places = vertices[among].astype(np.float64) / (2 * reach)
    pairs = []
    # Two points within reach share a cell in at least one of these grids, wherever the borders of the others fall.
    for shift in product((0.0, 0.5), repeat=3):
        _, first, cell = np.unique(np.floor(places + shift), axis=0, return_index=True, return_inverse=True)
        pairs.append(np.stack([among, among[first[cell]]], axis=1))
    return components(np.concatenate(pairs), len(vertices))


def bodies(triangles: Triangles, vertex_count: int) -> Labels:
    """Number the connected pieces of a surface from 0 and say for every triangle which one it belongs to."""
    joined = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    labels = components(joined, vertex_count)[triangles[:, 0]]
    return np.unique(labels, return_inverse=True)[1]


def signed_volumes(vertices: Vertices, triangles: Triangles) -> Volumes:
    """The signed volume below every triangle; over a closed surface they sum to what it encloses, negative inside out."""
    centre = vertices.mean(axis=0, dtype=np.float64)
    a, b, c = (vertices[column] - centre for column in triangles.T)
    volumes: Volumes = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
    return volumes


def _all_paired(keys: npt.NDArray[np.uint64], lines: npt.NDArray[np.uint64]) -> bool:
    """The common case, in a third of the time: every edge is walked once each way."""
    if len(keys) % 2:
        return False
    return bool((lines[::2] == lines[1::2]).all() and (keys[::2] != keys[1::2]).all() and (lines[1:-1:2] != lines[2::2]).all())


def _ends(names: npt.NDArray[np.uint64], vertex_count: int) -> npt.NDArray[np.int64]:
    return np.stack(np.divmod(names, np.uint64(vertex_count)), axis=1).astype(np.int64)


def _squared(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors)
    return squares
