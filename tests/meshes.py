"""Geometry files for the tests: the models of `tests.models` as validation would leave them."""

import numpy as np

from farmd.pipeline.mesh import Mesh
from tests.models import Facets


def welded(facets: Facets) -> Mesh:
    """Equal corners made one, the lowest corner moved to the origin."""
    corners, index = np.unique(facets.reshape(-1, 3), axis=0, return_inverse=True)
    return Mesh((corners - corners.min(axis=0)).astype(np.float32), index.reshape(-1, 3).astype(np.uint32))


def signed_volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.triangles[:, corner]].astype(float) for corner in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)
