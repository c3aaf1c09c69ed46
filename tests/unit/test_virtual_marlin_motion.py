"""Moves in real time: when they are acknowledged, when they end, where they lead, and what a late line costs."""

from math import pi

import pytest

from drivers.virtual.marlin import Board
from tests.serial_bench import Bench

USB = Board(native_usb=True, cold_extrusion=True)


@pytest.fixture
def bench():
    return Bench(USB)


def last_ok(bench):
    return bench.when("ok")


def test_a_move_is_acknowledged_when_it_is_planned_and_m400_when_it_is_made(bench):
    bench.send("G1 X100 F6000")
    assert bench.said == [(0.0, "ok")]
    bench.ask("M400", seconds=5)
    assert last_ok(bench) == pytest.approx(1.0)
    assert bench.firmware.position() == (100, 0, 0, 0)


def test_the_place_is_on_the_way_while_it_moves(bench):
    bench.send("G1 X100 Y50 F6000", "M114")
    assert bench.said[1][1] == "X:100.00 Y:50.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0"
    bench.wait(0.559)
    assert bench.firmware.position()[0] == pytest.approx(50, abs=0.1)


def test_the_planner_holds_fifteen_moves_and_then_makes_the_host_wait(bench):
    for number in range(15):
        bench.send(f"G1 X{(number % 2 + 1) * 10} F600")
    assert [at for at, _ in bench.said] == [0.0] * 15
    bench.send("G1 X100")
    assert len(bench.said) == 15
    assert bench.wait(1.5) == ["ok"]
    assert last_ok(bench) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("commands", "seconds"),
    [
        (["G1 X60 F3600"], 1.0),
        (["G1 E5 F300"], 1.0),
        (["M220 S200", "G1 X60 F1800"], 1.0),
        (["G1 X60 F999999"], 0.2),  # no faster than the machine can
        (["G91", "G1 X30 F3600", "G1 X30"], 1.0),
        (["G92 X10", "G1 X70 F3600"], 1.0),
        (["M83", "G1 E2 F120", "G1 E2"], 2.0),
        (["G4 P1500"], 1.5),
        (["G4 S2"], 2.0),
        (["G28 X"], 4.0),
        (["G28"], 12.0),
        ([f"G2 X20 Y0 I10 J0 F{pi * 10 * 60:.4f}"], 1.0),  # half a circle of radius 10
        ([f"G3 X20 Y0 R10 F{pi * 10 * 60:.4f}"], 1.0),
        ([f"G2 I10 F{pi * 20 * 60:.4f}"], 1.0),  # all around
    ],
)
def test_how_long_it_takes(bench, commands, seconds):
    bench.ask(*commands, "M400", seconds=20)
    assert last_ok(bench) == pytest.approx(seconds, rel=1e-4)


def test_modes_and_origins(bench):
    bench.ask("G1 X10 Y10 Z1 E4 F6000", "G92 E0", "G1 E1", "G91", "G1 X-3 E2", "G90", "M83", "G1 X8 E1", "M114", seconds=9)
    assert bench.said[-2][1].startswith("X:8.00 Y:10.00 Z:1.00 E:4.00 ")
    assert bench.core.place == (8, 10, 1, 8)  # of the machine: four before G92 and four after


def test_homing_forgets_the_origin_and_tells_the_place(bench):
    bench.ask("G1 X50 Y50 F6000", "G92 X0 Y0", seconds=2)
    assert bench.ask("G28", seconds=30)[-2].startswith("X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0")
    assert bench.core.homed == "XYZ"
    bench.ask("M84")
    assert bench.core.homed == ""


def test_cold_filament_is_not_moved_and_each_line_says_so():
    bench = Bench(Board(native_usb=True, nozzle_rate=100, residency=0))
    assert bench.ask("G1 X10 E1 F6000") == ["echo: cold extrusion prevented", "ok"]
    assert bench.core.place == (10, 0, 0, 0)
    bench.ask("M109 S200", seconds=10)
    assert bench.ask("G1 X20 E2 F6000") == ["ok"]
    assert bench.core.place == (20, 0, 0, 1)
    bench.ask("M104 S0", seconds=60)
    assert bench.ask("G1 E3") == ["echo: cold extrusion prevented", "ok"]
    assert bench.ask("M302 P1", "G1 E4") == ["ok", "ok"]


def test_a_line_that_comes_late_is_starvation(bench):
    bench.send("G1 X10 F6000")
    bench.wait(0.35)
    bench.send("G1 X20")
    planner = bench.core.planner
    assert (planner.starved_times, planner.starved_seconds) == (1, pytest.approx(0.25))
    bench.wait(0.05)
    bench.send("G1 X30")  # in time
    assert planner.starved_times == 1


@pytest.mark.parametrize("between", ["M400", "G4 P1", "G28 X", "M109 S0", "M84"])
def test_a_gap_that_something_ordered_is_none(bench, between):
    bench.send("G1 X10 F6000", between)
    bench.wait(60)
    bench.send("G1 X20")
    assert bench.core.planner.starved_times == 0


def test_an_m410_drops_what_is_planned_and_stands_where_it_is():
    bench = Bench(USB)
    bench.send(*[f"G1 X{number * 10} F600" for number in range(1, 6)])
    bench.wait(1.5)
    bench.send("M410")
    bench.wait(10)
    assert bench.firmware.position()[0] == pytest.approx(15, abs=0.01)
    assert bench.core.place[0] == pytest.approx(15, abs=0.01)


def test_an_m410_in_front_of_a_full_planner_takes_the_waiting_move_with_it():
    bench = Bench(USB)
    bench.send(*[f"G1 X{number} F60" for number in range(1, 17)])
    assert [text for _, text in bench.said].count("ok") == 15
    bench.wait(0.5)
    bench.send(b"N9 M410*1\n")  # out of turn only: the line itself is refused
    bench.wait(60)
    assert [text for _, text in bench.said].count("ok") == 17
    assert bench.firmware.position()[0] == pytest.approx(0.5, abs=0.01)
