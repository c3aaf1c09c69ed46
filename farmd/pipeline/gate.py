"""The last look before a file may be queued: does this G-code print what was ordered, and is it safe to run?

Slicers report success for prints that are wrong: a part taller than the printer, copies off the bed, a model that ends
after two of its twenty millimetres. This gate believes none of it and compares the toolpath with the model.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from farmd.domain.model import Size
from farmd.domain.slicing import Extent, GateRefused
from farmd.pipeline.gcode_facts import Facts, read_facts

PURGE_SLACK_MM = 5.0  # an intro line or a parking place may lie this far outside the bed, where the vendor put it
Z_SLACK_MM = 1.0  # a lift over the last layer
ROUNDING_MM = 0.01
# How far printed volume may stray from the estimate of `volume_band`: an estimate, so wide, but far from 2 of 20 mm.
LOW_SHARE, HIGH_SHARE = 0.6, 1.4
EXTRA_MM3 = 300.0  # skirt, wipes and thin walls printed wider, which weigh on small parts

REVALIDATE = "Check the model for holes and crossing faces, repair it and upload it again."
REPORT_PROFILE = "Correct the printer's profile (start and end G-code), then retry the job."


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plate must come to. Lengths in mm, `infill` 0 to 1; `least_height` leaves out tips too thin to print.

    `volume_mm3` and `area_mm2` are those of one copy, `skin` the thickness of its solid outside.
    """

    height: float
    least_height: float
    copies: int
    volume_mm3: float
    area_mm2: float
    infill: float
    layer_height: float
    skin: float
    nozzle: float
    filament_diameter: float
    flow: float
    bed: Size
    nozzle_max_c: float
    bed_max_c: float
    reach: tuple[float, float, float, float] | None = None  # see `domain.machines`; None: a little beyond the bed, on every side


def check_gcode(path: Path, expected: Expected) -> Extent:
    """Return where plastic is laid. Raises GateRefused when the file is not `expected` or not safe, OSError."""
    return judge(read_facts(path), expected)


def judge(facts: Facts, expected: Expected) -> Extent:
    """The same for facts already read. Safety first: the first reason found is the one reported."""
    _check_commands(facts)
    _check_heat(facts, expected)
    laid = facts.laid.extent()
    if laid is None or not facts.copies:
        raise GateRefused("empty_print", "the G-code prints nothing", REVALIDATE)
    _check_places(facts, laid, expected)
    _check_copies(facts, expected)
    _check_layers(facts, expected)
    _check_volume(facts, expected)
    return laid


def volume_band(expected: Expected) -> tuple[float, float]:
    """The least and most plastic (mm3) one copy may take: a solid skin of unsure thickness, the rest at the infill."""

    def solid_and_infill(skin: float) -> float:
        solid = min(expected.volume_mm3, expected.area_mm2 * skin)
        return solid + expected.infill * (expected.volume_mm3 - solid)

    low = LOW_SHARE * solid_and_infill(expected.nozzle / 2)
    return low, HIGH_SHARE * solid_and_infill(expected.skin) + EXTRA_MM3


def _check_commands(facts: Facts) -> None:
    if facts.refused:
        line, text = facts.refused[0]
        raise GateRefused("refused_command", f"line {line} holds a command no print needs: {text}", REPORT_PROFILE)
    if facts.first_unhomed_move is not None:
        detail = f"line {facts.first_unhomed_move} moves before all axes are homed"
        raise GateRefused("not_homed", detail, REPORT_PROFILE)


def _check_heat(facts: Facts, expected: Expected) -> None:
    if facts.first_cold_extrusion is not None:
        detail = f"line {facts.first_cold_extrusion} extrudes before the nozzle was waited for"
        raise GateRefused("cold_extrusion", detail, REPORT_PROFILE)
    for name, heater, cap in (
        ("nozzle", facts.nozzle, expected.nozzle_max_c),
        ("bed", facts.bed, expected.bed_max_c),
    ):
        if heater.highest > cap:
            detail = f"the {name} is heated to {heater.highest:g} C, more than the {cap:g} C of this material"
            raise GateRefused("too_hot", detail, REPORT_PROFILE)
        if heater.target > 0:
            detail = f"the {name} is left at {heater.target:g} C when the print ends"
            raise GateRefused("heater_left_on", detail, REPORT_PROFILE)


def _check_places(facts: Facts, laid: Extent, expected: Expected) -> None:
    bed, slack = expected.bed, PURGE_SLACK_MM
    reach = expected.reach or (-slack, -slack, bed.x + slack, bed.y + slack)
    if laid.max_z > bed.z + ROUNDING_MM:
        detail = f"it prints up to Z {laid.max_z:g} mm, the printer reaches {bed.z:g} mm"
        raise GateRefused("too_tall", detail, "Choose a smaller part or a taller printer.")
    moved = facts.moved.extent()
    if not _inside(laid, (-ROUNDING_MM, -ROUNDING_MM, bed.x + ROUNDING_MM, bed.y + ROUNDING_MM)):
        raise GateRefused("outside_bed", f"it prints {_area(laid)} on a bed of {bed}", "Choose a larger printer.")
    if moved is None or not _inside(moved, reach) or moved.max_z > bed.z + Z_SLACK_MM:
        where = "nowhere" if moved is None else f"{_area(moved)} and up to Z {moved.max_z:g}"
        raise GateRefused("outside_bed", f"it moves {where} on a bed of {bed}", REPORT_PROFILE)


def _check_copies(facts: Facts, expected: Expected) -> None:
    if len(facts.copies) != expected.copies:
        detail = f"{len(facts.copies)} of {expected.copies} copies are printed"
        raise GateRefused("copies_missing", detail, REVALIDATE)
    slack = expected.layer_height + ROUNDING_MM
    for place, height in enumerate(facts.copies.values(), 1):
        if not expected.least_height - slack <= height <= expected.height + slack:
            detail = f"copy {place} is printed {height:g} mm tall, the model has {expected.height:g} mm"
            raise GateRefused("wrong_height", detail, REVALIDATE)


def _check_layers(facts: Facts, expected: Expected) -> None:
    # A layer may be too thin to print where shapes begin and end; a lost slab is thicker.
    widest = max(3 * expected.layer_height, 2 * expected.nozzle) + ROUNDING_MM
    for below, above in pairwise([0.0, *sorted(facts.layers)]):
        if above - below > widest:
            detail = f"nothing is printed between Z {below:g} and Z {above:g} mm"
            raise GateRefused("layers_missing", detail, REVALIDATE)


def _check_volume(facts: Facts, expected: Expected) -> None:
    section = math.pi * (expected.filament_diameter / 2) ** 2
    printed = facts.laid_filament_mm * section / expected.flow / expected.copies
    low, high = volume_band(expected)
    if not low <= printed <= high:
        detail = (
            f"each copy takes {printed / 1000:.2f} cm3 of plastic where {low / 1000:.2f} to {high / 1000:.2f} cm3 are "
            f"plausible for a model of {expected.volume_mm3 / 1000:.2f} cm3 at {expected.infill:.0%} infill"
        )
        raise GateRefused("wrong_volume", detail, REVALIDATE)


def _inside(extent: Extent, reach: tuple[float, float, float, float]) -> bool:
    low = extent.min_x >= reach[0] and extent.min_y >= reach[1]
    return low and extent.max_x <= reach[2] and extent.max_y <= reach[3]


def _area(extent: Extent) -> str:
    return f"from ({extent.min_x:g}, {extent.min_y:g}) to ({extent.max_x:g}, {extent.max_y:g})"
