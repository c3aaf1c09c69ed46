"""Triangles out of a 3MF, in millimetres and in place: units, build items, components and transforms honoured.

Only the model parts are taken from the customer's package, into a minimal one of our own that lib3mf then reads.
Settings, scripts, thumbnails and whatever else came along (a slicer's config may name programs to run) stay behind.
"""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lib3mf
import numpy as np
import numpy.typing as npt

from farmd.pipeline.readers import Corners, refuse
from farmd.pipeline.readers_xml import Outline, outline_part, root_part
from farmd.pipeline.readers_zip import Package, admit, open_archive

MILLIMETRES = {0: 0.001, 1: 1.0, 2: 10.0, 3: 25.4, 4: 304.8, 5: 1000.0}  # by lib3mf.ModelUnit
SETTINGS_CAP_BYTES = 8_000_000
_EXPORT = "Export the part as STL, or as a plain 3MF, and upload that file."
_MODEL = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">%s</Relationships>'
)
_CONTENT_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
# Slicers keep cut-outs and modifier volumes as ordinary meshes and say only here that they are none.
_VOLUME_SETTINGS = ("Metadata/Slic3r_PE_model.config", "Metadata/model_settings.config")
_NOT_SOLID = re.compile(rb'"(ParameterModifier|NegativeVolume|SupportBlocker|SupportEnforcer|negative_part|modifier_part'
                        rb'|support_blocker|support_enforcer)"|key="modifier" value="1"')  # fmt: skip

Affine = npt.NDArray[np.float64]  # 4 x 3, applied to row vectors, as 3MF writes it


@dataclass(frozen=True, slots=True)
class _Placed:
    resource: Any
    place: Affine


def read_3mf(source: Path, workspace: Path) -> Corners:
    """The triangles of all that the 3MF's build would print. Raises `ModelRejected`; leaves a copy in `workspace`."""
    with open_archive(source) as archive:
        package = admit(archive)
        _refuse_special_volumes(package)
        plain = workspace / "plain.3mf"
        _write_plain(package, plain)
        sliced = any(name.endswith(".gcode") for name in package.names)
    corners = _corners(_load(plain))
    if not len(corners) and sliced:
        raise refuse("wrong_format", "The 3MF holds G-code but no model.", "Upload the model it was sliced from.")
    return corners


def _refuse_special_volumes(package: Package) -> None:
    for name in _VOLUME_SETTINGS:
        if name in package:
            settings = b"".join(package.chunks(name, SETTINGS_CAP_BYTES))
            if found := _NOT_SOLID.search(settings):
                kind = (found[1] or b"modifier").decode()
                raise refuse(
                    "modifier_volumes",
                    f"The project holds volumes that are not part of the model itself ({kind}).",
                    "Remove or apply the cut-outs, modifiers and support volumes, or export the result as STL.",
                )


def _write_plain(package: Package, plain: Path) -> None:
    """Copy the model parts, and nothing else, into a package of our own. Raises `ModelRejected` for hostile XML."""
    root = root_part(package)
    parts = [root, *(n for n in package.names if n != root and n.startswith("3D/") and n.lower().endswith(".model"))]
    outline = Outline()
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_STORED) as copy:
        copy.writestr("[Content_Types].xml", _CONTENT_TYPES)
        copy.writestr("_rels/.rels", _relations(["3D/3dmodel.model"]))
        # Our own names: the root keeps the usual one, and further parts keep theirs, for the root refers to them.
        copy.writestr("3D/_rels/3dmodel.model.rels", _relations(parts[1:]))
        for part in parts:
            with copy.open("3D/3dmodel.model" if part == root else part, "w", force_zip64=True) as entry:
                for chunk in outline_part(package, part, outline):
                    entry.write(chunk)
    outline.refuse_explosion()


def _relations(parts: list[str]) -> str:
    entries = (f'<Relationship Target="/{part}" Id="rel{n}" Type="{_MODEL}"/>' for n, part in enumerate(parts))
    return _RELATIONS % "".join(entries)


def _load(plain: Path) -> Any:
    model = lib3mf.get_wrapper().CreateModel()
    try:
        model.QueryReader("3mf").ReadFromFile(str(plain))
    except lib3mf.ELib3MFException as error:
        reason = str(error).rpartition(": ")[2]
        raise refuse("unreadable_3mf", f"The 3MF does not follow its specification: {reason}.", _EXPORT) from None
    return model


def _corners(model: Any) -> Corners:
    parts = []
    items = model.GetBuildItems()
    while items.MoveNext():
        item = items.GetCurrent()
        place = _affine(item.GetObjectTransform()) if item.HasObjectTransform() else np.eye(4, 3)
        parts += [_triangles(leaf) for leaf in _leaves(item.GetObjectResource(), place)]
    if not parts:
        return np.empty((0, 3, 3))
    return np.concatenate(parts) * MILLIMETRES[int(model.GetUnit())]


def _leaves(resource: Any, place: Affine) -> list[_Placed]:
    """The meshes below a build item, each with its place. The outline has bounded both depth and number before."""
    if resource.IsMeshObject():
        return [_Placed(resource, place)] if resource.GetType() == lib3mf.ObjectType.Model else []
    if not resource.IsComponentsObject():
        raise refuse("unsupported_object", "The 3MF holds an object that is not made of triangles.", _EXPORT)
    found: list[_Placed] = []
    for number in range(resource.GetComponentCount()):
        component = resource.GetComponent(number)
        inner = _affine(component.GetTransform()) if component.HasTransform() else np.eye(4, 3)
        found += _leaves(component.GetObjectResource(), _within(inner, place))
    return found


def _triangles(leaf: _Placed) -> Corners:
    mesh, place = leaf.resource, leaf.place
    if mesh.BeamLattice().GetBeamCount():
        raise refuse("unsupported_object", "The 3MF holds a beam lattice, which is not made of triangles.", _EXPORT)
    vertices = np.frombuffer(b"".join(mesh.GetVertices()), "<f4").reshape(-1, 3).astype(np.float64)
    index = np.frombuffer(b"".join(mesh.GetTriangleIndices()), "<u4").reshape(-1, 3)
    if len(index) and int(index.max()) >= len(vertices):
        raise refuse("unreadable_3mf", "A triangle of the 3MF names a corner that does not exist.", _EXPORT)
    corners: Corners = (vertices @ place[:3] + place[3])[index]
    # A mirroring transform turns the surface inside out; the specification wants it read as still wound outwards.
    return corners[:, ::-1] if np.linalg.det(place[:3]) < 0 else corners


def _affine(transform: Any) -> Affine:
    return np.array([list(row) for row in transform.Fields], np.float64)


def _within(inner: Affine, outer: Affine) -> Affine:
    combined = inner @ outer[:3]
    combined[3] += outer[3]
    return combined
