"""How many copies share a bed and where each one stands.

Pure arithmetic: a size, a number and a bed in, positions out, the same ones every time (they are part of a cache key).
The slicer is told not to arrange and then checks nothing, so every position is checked here before it is used.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import rectpack

from farmd.domain.model import FIT_SLACK_MM, Size
from farmd.domain.slicing import Placement, PrinterClass

EDGE_MARGIN_MM = 5.0  # room for the intro line, a skirt or a brim along every edge of the bed
GAP_MM = 3.0  # between neighbours: fingers, and the widening of a first layer
MOST_COPIES = 100  # a failed plate loses every copy on it

Corner = tuple[float, float]  # x and y mm from the bed's front left corner
NOWHERE: Corner = (0.0, 0.0)

_UNITS_PER_MM = 100  # rectpack wants whole numbers


def usable(bed: Size) -> Size:
    """The room for parts on a bed: all of its height, its area without the margin."""
    return Size(max(bed.x - 2 * EDGE_MARGIN_MM, 0.0), max(bed.y - 2 * EDGE_MARGIN_MM, 0.0), bed.z)


def capacity(size: Size, cls: PrinterClass) -> int:
    """How many copies of a part fit on one plate (at most MOST_COPIES); 0 when not even one does."""
    return len(_fullest(size, cls.bed, _keep_out(cls)))


def layout(size: Size, copies: int, cls: PrinterClass) -> tuple[Placement, ...] | None:
    """Positions for `copies` parts, centred as a group where they may stand there; None when they do not fit. Equal questions,
    equal answers."""
    if copies < 1:
        raise ValueError(f"a plate of {copies} copies")
    keep_out = _keep_out(cls)
    for spots in (_pack(size, cls.bed, copies), _fullest(size, cls.bed, keep_out)[:copies]):
        placements = _settled(spots, size, cls.bed, keep_out) if len(spots) == copies else None
        if placements is not None:
            check(placements, size, cls.bed, keep_out)
            return placements
    return None


def split(quantity: int, per_plate: int) -> list[int]:
    """Cut a quantity into as few plates as possible, as equal as possible: 7 on a 4-up bed is [4, 3], 9 is [3, 3, 3].

    Equal plates rather than full ones: they finish together on several printers, a failure loses fewer parts, and
    [3, 3, 3] needs one sliced file where [4, 4, 1] needs two.
    """
    if quantity < 1 or per_plate < 1:
        raise ValueError(f"cannot put {quantity} parts on plates of {per_plate}")
    plates = math.ceil(quantity / per_plate)
    fewer, extra = divmod(quantity, plates)
    return [fewer + 1] * extra + [fewer] * (plates - extra)


def check(placements: Sequence[Placement], size: Size, bed: Size, keep_out: Corner = NOWHERE) -> None:
    """Raise ValueError when a part leaves the bed's usable area or stands in `keep_out`, or two come closer than the gap."""
    room = usable(bed)
    if size.z > bed.z + FIT_SLACK_MM:
        raise ValueError(f"the part is {size.z:g} mm tall, the printer reaches {bed.z:g} mm")
    boxes = [(spot.x, spot.y, spot.x + _wide(size, spot), spot.y + _deep(size, spot)) for spot in placements]
    low, slack = EDGE_MARGIN_MM - FIT_SLACK_MM, EDGE_MARGIN_MM + FIT_SLACK_MM
    for spot, (x0, y0, x1, y1) in zip(placements, boxes, strict=True):
        if not (x0 >= low and y0 >= low and x1 <= room.x + slack and y1 <= room.y + slack):
            raise ValueError(f"a part at {spot} leaves the bed of {bed}")
    if not _clear(placements, keep_out):
        raise ValueError(f"a part stands in the corner of {keep_out[0]:g} x {keep_out[1]:g} mm that has to stay free")
    near = GAP_MM - 2 * FIT_SLACK_MM  # rounding, on both sides
    for (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) in combinations(boxes, 2):
        if ax0 < bx1 + near and bx0 < ax1 + near and ay0 < by1 + near and by0 < ay1 + near:
            raise ValueError(f"two parts are closer than {GAP_MM:g} mm: at ({ax0}, {ay0}) and ({bx0}, {by0})")


@lru_cache(maxsize=512)
def _fullest(size: Size, bed: Size, keep_out: Corner) -> tuple[Placement, ...]:
    """The fuller of what rectpack finds and the two plain grids (rectpack misses a full grid now and then), without those that
    would stand in the corner that has to stay free."""
    room = usable(bed)
    area = (room.x + GAP_MM) * (room.y + GAP_MM) / ((size.x + GAP_MM) * (size.y + GAP_MM))
    most = min(MOST_COPIES, int(area + 0.01))
    if most < 1:
        return ()
    plans = (_grid(size, bed, most, 0), _grid(size, bed, most, 90), _pack(size, bed, most))
    return max((_allowed(plan, size, bed, keep_out) for plan in plans), key=len)


def _allowed(plan: tuple[Placement, ...], size: Size, bed: Size, keep_out: Corner) -> tuple[Placement, ...]:
    """All of a plan when it can be moved out of the corner, else what is left of it outside."""
    if not plan or _settled(plan, size, bed, keep_out):
        return plan
    return tuple(spot for spot in plan if _clear([spot], keep_out))


def _settled(spots: tuple[Placement, ...], size: Size, bed: Size, keep_out: Corner) -> tuple[Placement, ...] | None:
    """The spots as a group in the middle; or else beside the corner that has to stay free, or behind it, or as they are."""
    left, front, right, back = _around(spots, size)
    middle = ((bed.x - left - right) / 2, (bed.y - front - back) / 2)
    for dx, dy in (middle, (keep_out[0] - left, middle[1]), (middle[0], keep_out[1] - front), (0.0, 0.0)):
        if right + dx > bed.x - EDGE_MARGIN_MM + FIT_SLACK_MM or back + dy > bed.y - EDGE_MARGIN_MM + FIT_SLACK_MM:
            continue
        moved = tuple(Placement(round(spot.x + dx, 3), round(spot.y + dy, 3), spot.rotation_deg) for spot in spots)
        if _clear(moved, keep_out):
            return moved
    return None


def _clear(placements: Sequence[Placement], keep_out: Corner) -> bool:
    """Whether all of them stay out of the corner; as they stand on the bed, a part that begins beside it does."""
    return all(spot.x >= keep_out[0] - FIT_SLACK_MM or spot.y >= keep_out[1] - FIT_SLACK_MM for spot in placements)


def _keep_out(cls: PrinterClass) -> Corner:
    return cls.made_for.keep_out if cls.made_for else NOWHERE


def _grid(size: Size, bed: Size, most: int, rotation: int) -> tuple[Placement, ...]:
    room, part = usable(bed), size if rotation == 0 else size.turned()
    if part.z > room.z + FIT_SLACK_MM:
        return ()
    columns = int((room.x + GAP_MM + FIT_SLACK_MM) / (part.x + GAP_MM))
    rows = int((room.y + GAP_MM + FIT_SLACK_MM) / (part.y + GAP_MM))
    steps = ((column, row) for row in range(rows) for column in range(columns))
    corner = EDGE_MARGIN_MM
    spots = [Placement(corner + column * (part.x + GAP_MM), corner + row * (part.y + GAP_MM), rotation) for column, row in steps]
    return tuple(spots[:most])


def _pack(size: Size, bed: Size, copies: int) -> tuple[Placement, ...]:
    room = usable(bed)
    if size.z > room.z + FIT_SLACK_MM:
        return ()
    # Each part carries one gap to its right and behind it, and the bin is one gap larger.
    part = tuple(math.ceil(round((length + GAP_MM - FIT_SLACK_MM) * _UNITS_PER_MM, 3)) for length in (size.x, size.y))
    bin_ = tuple(math.floor((length + GAP_MM) * _UNITS_PER_MM) for length in (room.x, room.y))
    packer = rectpack.newPacker(rotation=True)
    packer.add_bin(*bin_)
    for number in range(copies):
        packer.add_rect(*part, rid=number)
    packer.pack()
    return tuple(
        Placement(
            EDGE_MARGIN_MM + x / _UNITS_PER_MM,
            EDGE_MARGIN_MM + y / _UNITS_PER_MM,
            0 if (width, depth) == part else 90,
        )
        for _, x, y, width, depth, _ in packer.rect_list()
    )


def _around(spots: Sequence[Placement], size: Size) -> tuple[float, float, float, float]:
    """The edges of the box around all of them: left, front, right, back."""
    return (
        min(spot.x for spot in spots),
        min(spot.y for spot in spots),
        max(spot.x + _wide(size, spot) for spot in spots),
        max(spot.y + _deep(size, spot) for spot in spots),
    )


def _wide(size: Size, spot: Placement) -> float:
    return size.y if spot.rotation_deg == 90 else size.x


def _deep(size: Size, spot: Placement) -> float:
    return size.x if spot.rotation_deg == 90 else size.y
