"""What a stranger's file is, told by its bytes, and its triangles.

Runs in the model reader's child process only. The file's name, extension and claims are never believed: a length must
fit a count, a count must fit a cap, and nothing is allocated because a header says so.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from farmd.domain.model import Defect, ModelFormat, ModelRejected, Notice

FILE_CAP_BYTES = 200_000_000
TRIANGLE_CAP = 3_000_000
STL_HEADER_BYTES, STL_FACET_BYTES = 84, 50
HEAD_BYTES = 4096

Corners = npt.NDArray[np.floating]  # n x 3 x 3, in millimetres

_EXPORT = "Export the part from your CAD program as STL (binary) or 3MF and upload that file."
_UNPACK = "Unpack it and upload the STL or 3MF file inside."
_KNOWN = (
    (re.compile(rb"ISO-10303-21"), "a STEP file", _EXPORT),
    (re.compile(rb".{72}S {6}1", re.DOTALL), "an IGES file", _EXPORT),
    (re.compile(rb"\xd0\xcf\x11\xe0"), "a SolidWorks or other OLE document", _EXPORT),
    (re.compile(rb"BLENDER"), "a Blender project", "Export it with File > Export > STL and upload that file."),
    (re.compile(rb"glTF|\s*\{"), "a glTF or JSON file", _EXPORT),
    (re.compile(rb"ply\r?\n|OFF\s"), "a PLY or OFF mesh", _EXPORT),
    (re.compile(rb"(?s)\s*<\?xml.{0,600}<amf"), "an AMF file", _EXPORT),
    (re.compile(rb"(?i)\s*<(!doctype html|html)"), "a web page", "Download the model itself, not the page showing it."),
    (re.compile(rb"%PDF|\x89PNG|\xff\xd8\xff|GIF8"), "a picture or a PDF", _EXPORT),
    (re.compile(rb"\x1f\x8b|7z\xbc\xaf|Rar!|BZh|\xfd7zXZ"), "a compressed archive", _UNPACK),
    (
        re.compile(rb"(?im)GCDE|\s*;\s*(generated|flavor|thumbnail|header_block)|\A(?s:.)*?^(G28|G90|G1 [XYZEF]|M10[49] S)"),
        "G-code, which is already sliced for one printer",
        "Upload the model it was sliced from.",
    ),
    (re.compile(rb"(?m)\A(?s:.)*?^(v|vn|vt) +-?\d"), "an OBJ file", _EXPORT),
)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """The triangles of a file as it holds them: not yet checked, welded or moved."""

    format: ModelFormat
    corners: Corners
    notices: tuple[Notice, ...] = ()


def refuse(code: str, detail: str, cure: str) -> ModelRejected:
    """The rejection for a file that cannot be judged any further."""
    return ModelRejected((Defect(code, detail, cure),))


def recognise(source: Path) -> ModelFormat:
    """Tell what the file is by its bytes. Raises `ModelRejected` for everything that is no STL or 3MF."""
    size = source.stat().st_size
    if size > FILE_CAP_BYTES:
        raise refuse(
            "file_too_big",
            f"The file has {size / 1e6:.0f} MB; the limit is {FILE_CAP_BYTES / 1e6:.0f} MB.",
            "Export it with a coarser resolution (a chord tolerance of 0.05 mm is finer than any printer).",
        )
    with source.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if not head.strip(b"\0 \t\r\n"):
        raise refuse("empty_file", f"The file is empty ({size} bytes).", "Export the part again and upload the new file.")
    # Many a binary STL begins with "solid", so the length decides before the text does.
    if _promised_bytes(head) == size:
        return "stl"
    if head.startswith(b"PK"):
        return "3mf"
    if re.match(rb"(\xef\xbb\xbf)?\s*solid\b", head, re.IGNORECASE) and b"\0" not in head:
        return "stl-ascii"
    for pattern, name, cure in _KNOWN:
        if pattern.match(head):
            raise refuse("wrong_format", f"The file is {name}, not an STL or 3MF model.", cure)
    raise _unrecognised(head, size)


def check_triangle_count(count: int) -> None:
    """Raises `ModelRejected` beyond the cap; called before anything is allocated for the triangles."""
    if count > TRIANGLE_CAP:
        raise refuse(
            "too_many_triangles",
            f"The model has {count:,} triangles; the limit is {TRIANGLE_CAP:,}.",
            "Export it with a coarser resolution, or reduce it (for example Blender's Decimate).",
        )


def _promised_bytes(head: bytes) -> int | None:
    """How long a binary STL would be by its own count."""
    if len(head) < STL_HEADER_BYTES:
        return None
    (count,) = struct.unpack_from("<I", head, 80)
    return STL_HEADER_BYTES + STL_FACET_BYTES * int(count)


def _unrecognised(head: bytes, size: int) -> ModelRejected:
    promised = _promised_bytes(head)
    if promised is None or not _begins_like_facets(head):
        return refuse("unknown_format", f"The file's {size:,} bytes are not an STL or 3MF model.", _EXPORT)
    held, claimed = (size - STL_HEADER_BYTES) // STL_FACET_BYTES, (promised - STL_HEADER_BYTES) // STL_FACET_BYTES
    detail = f"The file's header promises {claimed:,} triangles, its {size:,} bytes hold {held:,}."
    if promised > size:
        return refuse("truncated", detail, "The file was cut short: export or copy it again and upload the new file.")
    return refuse("trailing_bytes", detail, "The file is damaged or holds foreign data: export it again.")


def _begins_like_facets(head: bytes) -> bool:
    """Whether the first facets are numbers a part could have, which bytes of another kind never are."""
    count = min(4, (len(head) - STL_HEADER_BYTES) // STL_FACET_BYTES)
    if count < 1:
        return not any(head[STL_HEADER_BYTES:])
    record = np.dtype([("values", "<f4", 12), ("attribute", "<u2")])
    values = np.abs(np.frombuffer(head, record, count, STL_HEADER_BYTES)["values"].astype(np.float64))
    return bool(((values == 0) | ((values > 1e-20) & (values < 1e7))).all())
