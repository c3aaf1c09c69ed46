"""Triangles out of an STL file, binary or text. The normals and attributes in it are not believed and not read."""

import mmap
import re
from array import array
from pathlib import Path

import numpy as np

from farmd.pipeline.readers import STL_FACET_BYTES, STL_HEADER_BYTES, Corners, check_triangle_count, refuse

_NUMBERS = rb"\s+(\S+)\s+(\S+)\s+(\S+)\s+"
_FACET = re.compile(
    rb"facet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop\s+" + (rb"vertex" + _NUMBERS) * 3 + rb"endloop\s+endfacet\b",
    re.IGNORECASE,
)
_FACET_START = re.compile(rb"^[ \t]*facet\b", re.IGNORECASE | re.MULTILINE)
_END = re.compile(rb"^[ \t]*endsolid\b", re.IGNORECASE | re.MULTILINE)
_TAIL_BYTES = 4096
_AGAIN = "The file was cut short or edited: export the part again, best as binary STL."


def read_binary(source: Path) -> Corners:
    """The facets of a binary STL whose length is known to fit its count. Raises `ModelRejected` beyond the cap."""
    count = (source.stat().st_size - STL_HEADER_BYTES) // STL_FACET_BYTES
    check_triangle_count(count)
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    with source.open("rb") as stream:
        stream.seek(STL_HEADER_BYTES)
        return np.fromfile(stream, record, count)["corners"]


def read_ascii(source: Path) -> Corners:
    """The facets of a text STL, of all its solids together. Raises `ModelRejected` when the text is not whole."""
    values = array("d")
    with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for number, facet in enumerate(_FACET.finditer(text), start=1):
            check_triangle_count(number)
            try:
                values.extend(map(float, facet.groups()))
            except ValueError:
                raise _not_a_number(number, facet.groups()) from None
        read, begun = len(values) // 9, sum(1 for _ in _FACET_START.finditer(text))
        ended = _END.search(text, max(0, len(text) - _TAIL_BYTES)) is not None
    if read < begun:
        raise refuse("truncated", f"Only {read:,} of the {begun:,} facets begun in the text are whole triangles.", _AGAIN)
    if not ended:
        raise refuse("truncated", f"The text stops after {read:,} facets without its last line, endsolid.", _AGAIN)
    return np.frombuffer(values, np.float64).reshape(-1, 3, 3)


def _not_a_number(number: int, words: tuple[bytes, ...]) -> Exception:
    shown = " ".join(word[:24].decode("ascii", "replace") for word in words[:3])
    return refuse(
        "malformed_number",
        f"Facet {number:,} holds a corner that is no number, near {shown!r}.",
        "Export with a decimal point instead of a comma, best as binary STL.",
    )
