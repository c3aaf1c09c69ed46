"""What a machine's screen shows of a plate: its bed from above, with the places of the parts in the colour of the filament.

Drawn with numpy and packed as PNG by hand: two colours and some rectangles need no library. Equal plates are equal bytes.
"""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farmd.domain.model import Size

Box = tuple[float, float, float, float]
"""Left, front, right, back, in mm on the bed."""
Colour = tuple[int, int, int]
Picture = NDArray[np.uint8]

BED: Colour = (48, 48, 52)
BORDER: Colour = (96, 96, 104)
GREY: Colour = (160, 160, 160)


def plate_picture(side: int, bed: Size, boxes: Sequence[Box], colour: Colour) -> bytes:
    """A PNG of `side` x `side` pixels."""
    canvas = _canvas(side, BED)
    canvas[0], canvas[-1], canvas[:, 0], canvas[:, -1] = BORDER, BORDER, BORDER, BORDER
    for box in boxes:
        canvas[_pixels(side, bed, box)] = colour
    return png(canvas)


def pick_picture(side: int, bed: Size, boxes: Sequence[Box]) -> bytes:
    """The same with each part in a colour of its own, by which a screen tells which of them a finger means."""
    canvas = _canvas(side, (0, 0, 0))
    for number, box in enumerate(boxes, 1):
        canvas[_pixels(side, bed, box)] = (number & 255, number >> 8 & 255, number >> 16 & 255)
    return png(canvas)


def colour_of(color: str) -> Colour:
    """`#rrggbb` as three bytes; grey for anything else."""
    try:
        value = bytes.fromhex(color.removeprefix("#"))
    except ValueError:
        return GREY
    return (value[0], value[1], value[2]) if len(value) == 3 else GREY


def png(pixels: Picture) -> bytes:
    """Rows x columns x 3 bytes as a PNG."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, which is none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _canvas(side: int, colour: Colour) -> Picture:
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[:] = colour
    return canvas


def _pixels(side: int, bed: Size, box: Box) -> tuple[slice, slice]:
    """The rows and columns of a box; the bed's front edge is the picture's last row. No part is too small for a pixel."""
    left, front, right, back = box
    columns = (int(left / bed.x * side), max(int(right / bed.x * side), int(left / bed.x * side) + 1))
    rows = (int((1 - back / bed.y) * side), max(int((1 - front / bed.y) * side), int((1 - back / bed.y) * side) + 1))
    return slice(*rows), slice(*columns)
