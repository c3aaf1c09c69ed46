"""The plate as the slicer reads it: a 3MF of our own writing, one object and one build item per copy.

Geometry and positions, and not a byte of what a customer sent: a 3MF may carry slicer settings, and one of them runs
programs (CVE-2023-47268). Equal plates are equal bytes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from numpy.typing import NDArray

from farmd.domain.model import Size
from farmd.domain.slicing import Placement
from farmd.pipeline.mesh import Mesh

PART_NAME = "part"

_ROWS_AT_ONCE = 4096
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_plate(path: Path, mesh: Mesh, size: Size, placements: Sequence[Placement]) -> None:
    """Write a 3MF of one object and one build item per placement. `mesh` has its min corner at the origin, in mm."""
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(ZipInfo("[Content_Types].xml", _ZIP_EPOCH), _CONTENT_TYPES)
        archive.writestr(ZipInfo("_rels/.rels", _ZIP_EPOCH), _RELATIONS)
        model = ZipInfo("3D/3dmodel.model", _ZIP_EPOCH)
        model.compress_type = ZIP_DEFLATED
        with archive.open(model, "w", force_zip64=True) as stream:
            _write_model(stream, mesh, size, placements)


def _write_model(stream: IO[bytes], mesh: Mesh, size: Size, placements: Sequence[Placement]) -> None:
    stream.write(_MODEL_HEAD)
    for chunk in _rows(mesh.vertices, '<vertex x="%.9g" y="%.9g" z="%.9g"/>\n'):
        stream.write(chunk)
    stream.write(b"</vertices><triangles>\n")
    for chunk in _rows(mesh.triangles, '<triangle v1="%d" v2="%d" v3="%d"/>\n'):
        stream.write(chunk)
    stream.write(b"</triangles></mesh></object></resources><build>\n")
    for spot in placements:
        stream.write(f'<item objectid="1" transform="{_transform(size, spot)}"/>\n'.encode())
    stream.write(b"</build></model>\n")


def _rows(table: NDArray[Any], row: str) -> Iterator[bytes]:
    """Rows as text, thousands at a time: one C-level format per chunk is what makes large meshes quick."""
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table[start : start + _ROWS_AT_ONCE]
        yield ((row * len(part)) % tuple(part.ravel().tolist())).encode()


def _transform(size: Size, spot: Placement) -> str:
    """3MF's row-vector matrix: a turn about Z, then the move that brings the footprint's corner to the placement."""
    if spot.rotation_deg == 90:
        return f"0 1 0 -1 0 0 0 0 1 {spot.x + size.y:.9g} {spot.y:.9g} 0"
    return f"1 0 0 0 1 0 0 0 1 {spot.x:.9g} {spot.y:.9g} 0"


_CONTENT_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>\n'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Target="/3D/3dmodel.model" Id="rel0" '
    'Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>\n'
)
_MODEL_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<model unit="millimeter" xml:lang="en-US" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
    'xmlns:slic3rpe="http://schemas.slic3r.org/3mf/2017/06">'
    # Without this PrusaSlicer takes every copy for an object of its own and slices each one anew.
    '<metadata name="slic3rpe:Version3mf">1</metadata>'
    f'<resources><object id="1" name="{PART_NAME}" type="model"><mesh><vertices>\n'
).encode()
