"""The gate: a small honest print passes, and each way of being wrong or unsafe is refused by its own code."""

from dataclasses import replace

import pytest

from farmd.domain.model import Size
from farmd.domain.slicing import Extent, GateRefused
from farmd.pipeline.gate import Expected, judge, volume_band
from farmd.pipeline.gcode_facts import Facts, facts_of
from tests.gcode import END, HEIGHT, LAYER, SIDE, START, layers

BED = Size(200, 200, 180)
EXPECTED = Expected(
    height=HEIGHT,
    least_height=HEIGHT,
    copies=1,
    volume_mm3=SIDE * SIDE * HEIGHT,
    area_mm2=2 * SIDE * SIDE + 4 * SIDE * HEIGHT,
    infill=1.0,
    layer_height=LAYER,
    skin=1.2,
    nozzle=0.4,
    filament_diameter=1.75,
    flow=1.0,
    bed=BED,
    nozzle_max_c=235,
    bed_max_c=70,
)


def facts(*parts: list[str]) -> Facts:
    return facts_of(line + "\n" for part in parts for line in part)


def refusal(*parts: list[str], expected: Expected = EXPECTED) -> GateRefused:
    with pytest.raises(GateRefused) as caught:
        judge(facts(*parts), expected)
    assert caught.value.cure
    return caught.value


def test_an_honest_print_passes() -> None:
    assert judge(facts(START, layers(), END), EXPECTED) == Extent(50, 50, 60, 60, 2)


def test_absolute_extrusion_is_understood() -> None:
    e, lines = 0.0, []
    for line in layers():
        head, marker, amount = line.partition(" E")
        if line.startswith("G92"):
            e = 0.0
        if marker and not line.startswith("G92"):
            e += float(amount)
            line = f"{head} E{e:.5f}"
        lines.append(line)
    start = ["M82" if line == "M83" else line for line in START]
    relative, absolute = facts(START, layers(), END), facts([*start, "G92 E0"], lines, END)
    assert absolute.laid_filament_mm == pytest.approx(relative.laid_filament_mm, abs=0.01)


def test_the_intro_line_may_lie_outside_but_no_part_may() -> None:
    judge(facts(START, ["G1 Y-3", "G1 X90 E9"], layers(), END), EXPECTED)
    assert refusal(START, layers(x=195), END).code == "outside_bed"
    assert refusal(START, layers(y=-1), END).code == "outside_bed"


def test_moving_far_outside_is_refused() -> None:
    assert refusal(START, layers(), ["G1 X0 Y230", *END]).code == "outside_bed"
    assert refusal(START, layers(), ["G1 Z200", *END]).code == "outside_bed"


def test_a_part_taller_than_the_printer_is_refused() -> None:
    low = replace(EXPECTED, bed=Size(200, 200, 1.5))
    assert refusal(START, layers(), END, expected=low).code == "too_tall"


def test_two_of_twenty_millimetres_are_refused() -> None:
    tall = replace(EXPECTED, height=20.0, least_height=20.0, volume_mm3=2000)
    found = refusal(START, layers(height=2), END, expected=tall)
    assert found.code == "wrong_height"
    assert "2 mm tall, the model has 20 mm" in found.detail


def test_a_tip_too_thin_to_print_may_be_missing_and_nothing_more() -> None:
    judge(facts(START, layers(), END), replace(EXPECTED, height=2.6, least_height=2.1))
    assert refusal(START, layers(), END, expected=replace(EXPECTED, height=2.6, least_height=2.4)).code == "wrong_height"
    assert refusal(START, layers(), END, expected=replace(EXPECTED, height=1.6, least_height=1.6)).code == "wrong_height"


def test_a_hole_in_the_middle_is_refused() -> None:
    whole = layers()
    starts = [place for place, line in enumerate(whole) if line == ";LAYER_CHANGE"]
    found = refusal(START, whole[: starts[3]], whole[starts[7] :], END)
    assert (found.code, found.detail) == ("layers_missing", "nothing is printed between Z 0.6 and Z 1.6 mm")
    judge(facts(START, whole[: starts[4]], whole[starts[5] :], END), EXPECTED)  # one thin layer is no hole


@pytest.mark.parametrize("flow", [0.4, 3.5])
def test_far_too_little_or_too_much_plastic_is_refused(flow: float) -> None:
    big = replace(EXPECTED, volume_mm3=EXPECTED.volume_mm3 / min(flow, 1))
    print_ = layers(flow=1.0 if flow < 1 else flow)
    assert refusal(START, print_, END, expected=big).code == "wrong_volume"


@pytest.mark.parametrize("side", [5.0, 20.0, 150.0])
@pytest.mark.parametrize("infill", [0.0, 0.15, 1.0])
def test_the_band_holds_a_cube_of_two_walls_at_any_infill(side: float, infill: float) -> None:
    volume = side**3
    expected = replace(EXPECTED, volume_mm3=volume, area_mm2=6 * side * side, infill=infill)
    core = max(0.0, side - 1.8) ** 2 * max(0.0, side - 1.8)
    low, high = volume_band(expected)
    assert low < volume - core + infill * core < high


def test_copies_are_counted_and_each_must_be_whole() -> None:
    two = replace(EXPECTED, copies=2)
    judge(facts(START, layers(), layers(x=80, copy=1), END), two)
    assert "1 of 2 copies" in refusal(START, layers(), END, expected=two).detail
    found = refusal(START, layers(), layers(x=80, copy=1, height=1), END, expected=two)
    assert (found.code, found.detail[:6]) == ("wrong_height", "copy 2")


@pytest.mark.parametrize(
    ("start", "end", "code"),
    [
        ([line for line in START if line != "G28"], END, "not_homed"),
        (["G28 X", *[line for line in START if line != "G28"]], END, "not_homed"),
        (["G1 X5", *START], END, "not_homed"),
        ([line for line in START if line != "M109 S215"], END, "cold_extrusion"),
        ([line.replace("M109", "M104") for line in START], END, "cold_extrusion"),
        ([line.replace("S215", "S120") for line in START], END, "cold_extrusion"),
        ([line.replace("S215", "S285") for line in START], END, "too_hot"),
        ([*START, "M109 R290", "M109 R215"], END, "too_hot"),
        ([line.replace("S60", "S95") for line in START], END, "too_hot"),
        (START, END[1:], "heater_left_on"),
        (START, ["M104 S0"], "heater_left_on"),
    ],
)
def test_heat_and_homing(start: list[str], end: list[str], code: str) -> None:
    assert refusal(start, layers(), end).code == code


@pytest.mark.parametrize(
    "line",
    [
        "M500",
        "m500",
        "N10 M0500*33",
        "M112",
        "M997 ; flash",
        "M303 E0 S200 C8",
        "M302P1",
        "M211 S0",
        "M92 X80",
        "G20",
        "M118 A1 action:cancel",
        "RUN_SHELL_COMMAND CMD=evil",
        "save_config",
        "M117 {% evil %}",
    ],
)
def test_commands_no_print_needs_are_refused_however_they_are_written(line: str) -> None:
    found = refusal([*START, line], layers(), END)
    assert found.code == "refused_command"
    assert "line 10" in found.detail


@pytest.mark.parametrize("line", ["M201 X1000", "M907 E430", 'M862.3 P "MK3S"', "M900 K0", "M211 S1", "; M500", "M73 P1"])
def test_what_vendors_emit_is_allowed(line: str) -> None:
    judge(facts([*START, line], layers(), END), EXPECTED)


def test_a_file_that_prints_nothing_is_refused() -> None:
    assert refusal(START, END).code == "empty_print"
    assert refusal([]).code == "empty_print"


def test_unusual_spelling_hides_no_move() -> None:
    start = [*START[:-2], "G1X60Y2Z0.3E8"]
    found = refusal(start, ["g0 x300 y50"], layers(), END)
    assert found.code == "outside_bed"
    judge(facts(["N1 G28*18", *START], layers(), END), EXPECTED)


def test_a_machine_s_own_places_outside_the_bed_are_legal_there_and_nowhere_else() -> None:
    chute = ["G1 Z5 F600", "G1 X60 Y213"]
    assert refusal(START, chute, layers(), END).code == "outside_bed"
    reaching = replace(EXPECTED, reach=(-5.0, -5.0, 205.0, 215.0))
    assert judge(facts(START, chute, layers(), END), reaching) == Extent(50, 50, 60, 60, 2)
    assert refusal(START, ["G1 X-6"], layers(), END, expected=reaching).code == "outside_bed"
    assert refusal(START, layers(x=195), END, expected=reaching).code == "outside_bed"  # a part stays on the bed
