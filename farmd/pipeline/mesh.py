"""The geometry file: the only form in which a customer's model travels on from validation to slicing.

A closed surface in millimetres: corners welded, wound outwards, lowest corner at the origin. The same mesh always makes
the same bytes, because their sha256 is a cache key. The file holds numbers and nothing else: no name, metadata or
setting of the customer's file may ever survive into it.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

MAGIC = b"farmdmesh1"
_HEADER = struct.Struct("<10s6xQQ")

Vertices = npt.NDArray[np.float32]
Triangles = npt.NDArray[np.uint32]


class MeshError(Exception):
    """A geometry file is damaged or none at all; validating the customer's model again makes a new one."""


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """`vertices`: float32, N x 3, millimetres. `triangles`: uint32, M x 3, indices into them, wound outwards."""

    vertices: Vertices
    triangles: Triangles

    def save(self, path: Path) -> None:
        """Write the geometry file and hand it to the disk; a crash leaves the old file or the whole new one."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as stream:
            stream.write(_HEADER.pack(MAGIC, len(self.vertices), len(self.triangles)))
            stream.write(np.ascontiguousarray(self.vertices, "<f4").data)
            stream.write(np.ascontiguousarray(self.triangles, "<u4").data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def load_mesh(path: Path) -> Mesh:
    """Read a geometry file. Raises `MeshError` when its bytes are not one, `FileNotFoundError` when it is gone."""
    with path.open("rb") as stream:
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size or not header.startswith(MAGIC):
            raise MeshError(f"{path.name} is not a geometry file: validate the model again")
        _, vertex_count, triangle_count = _HEADER.unpack(header)
        promised = _HEADER.size + 12 * (vertex_count + triangle_count)
        held = os.fstat(stream.fileno()).st_size
        if held != promised:
            raise MeshError(f"{path.name} has {held} bytes instead of {promised}: validate the model again")
        vertices = np.frombuffer(stream.read(12 * vertex_count), "<f4").reshape(-1, 3)
        triangles = np.frombuffer(stream.read(12 * triangle_count), "<u4").reshape(-1, 3)
    if triangle_count and int(triangles.max()) >= vertex_count:
        raise MeshError(f"{path.name} names a corner it does not have: validate the model again")
    return Mesh(vertices, triangles)
