"""The separate bodies of a closed surface: which are plastic, which are cavities, which overlap, and how much they hold.

Runs in the model reader's child process. Several bodies and overlaps are an owner's right and only ever noted; a body
wound inside out is turned, because a slicer would print nothing of it.
"""

from dataclasses import dataclass, field

import manifold3d
import numpy as np
import numpy.typing as npt

from farmd.domain.model import Notice
from farmd.pipeline import topology
from farmd.pipeline.mesh import Triangles, Vertices

# Uniting more takes longer than the answer is worth, and a sound model must not run into the limits for it.
UNITED_CAP, UNITED_TRIANGLES_CAP = 200, 1_000_000
OVERLAP_SHARE = 1e-4

Owners = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Solids:
    """All triangles, wound outwards; `bodies` counts those of plastic, `volume_mm3` the plastic, overlaps once."""

    triangles: Triangles
    bodies: int
    volume_mm3: float
    notices: list[Notice] = field(default_factory=list)


def sort_bodies(vertices: Vertices, triangles: Triangles) -> Solids:
    """Turn what is inside out and measure. The surface must be closed and consistently wound."""
    label = topology.bodies(triangles, len(vertices))
    shares = topology.signed_volumes(vertices, triangles)
    turned = np.full(int(label.max()) + 1, bool(shares.sum() < 0))
    volumes = np.bincount(label, shares).astype(np.float64)
    volumes[turned] *= -1
    owner = _owners(vertices, triangles, label, volumes)
    stray = (volumes < 0) & (owner == np.arange(len(volumes)))  # inside out and inside nothing
    turned ^= stray
    volumes[stray] *= -1
    triangles = np.where(turned[label][:, None], triangles[:, ::-1], triangles)
    notices = []
    if turned.any():
        notices.append(Notice("inverted", "The surface was inside out (normals facing inwards) and has been turned."))
    bodies = len(np.unique(owner))
    volume = float(volumes.sum())
    if bodies > 1:
        notices.append(Notice("several_bodies", f"The model consists of {bodies:,} separate bodies."))
        united = _united_volume(vertices, triangles, owner[label])
        if united is not None and volume - united > OVERLAP_SHARE * volume:
            detail = f"Bodies overlap by {volume - united:,.0f} mm3; the shared plastic is printed and counted once."
            notices.append(Notice("overlapping_bodies", detail))
            volume = united
    return Solids(triangles, bodies, volume, notices)


def _owners(vertices: Vertices, triangles: Triangles, label: Owners, volumes: topology.Volumes) -> Owners:
    """For every body itself, or for a cavity the smallest body around it."""
    owner = np.arange(len(volumes))
    if not (volumes < 0).any():
        return owner
    lowest, highest = np.full((len(volumes), 3), np.inf), np.full((len(volumes), 3), -np.inf)
    corners = vertices[triangles]
    np.minimum.at(lowest, label, corners.min(axis=1))
    np.maximum.at(highest, label, corners.max(axis=1))
    solid = np.flatnonzero(volumes > 0)
    for cavity in np.flatnonzero(volumes < 0):
        around = (lowest[solid] < lowest[cavity]).all(axis=1) & (highest[solid] > highest[cavity]).all(axis=1)
        if around.any():
            candidates = solid[around]
            owner[cavity] = candidates[volumes[candidates].argmin()]
    return owner


def _united_volume(vertices: Vertices, triangles: Triangles, owner: Owners) -> float | None:
    """The volume of all bodies together, overlaps once; None when they are too many or do not let themselves be united."""
    names = np.unique(owner)
    if len(names) > UNITED_CAP or len(triangles) > UNITED_TRIANGLES_CAP:
        return None
    parts = []
    for name in names:
        part = manifold3d.Manifold(manifold3d.Mesh(*topology.compact(vertices, triangles[owner == name])))
        if part.status() != manifold3d.Error.NoError:
            return None
        parts.append(part)
    united = manifold3d.Manifold.batch_boolean(parts, manifold3d.OpType.Add)
    return float(united.volume()) if united.status() == manifold3d.Error.NoError else None
