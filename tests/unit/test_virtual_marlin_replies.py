"""What a board answers, letter by letter."""

import pytest

from drivers.virtual.marlin import Board
from tests.serial_bench import Bench, framed

REPORT = "T:21.30 /0.00 B:21.30 /0.00 @:0 B@:0"


@pytest.fixture
def bench():
    return Bench()


def test_temperatures_are_part_of_the_ok(bench):
    assert bench.ask("M105") == [f"ok {REPORT}"]
    warm = Bench(Board(chamber=True)).ask("M104 S200", "M141 S40", "M105", seconds=0.1)
    assert warm[-1].startswith("ok T:21.3")
    assert " /200.00 B:21.30 /0.00 C:21.3" in warm[-1]
    assert warm[-1].endswith("@:127 B@:0 C@:127")


def test_reports_come_by_themselves_with_a_blank_in_front(bench):
    bench.ask("M155 S2", seconds=0)
    assert bench.wait(5) == ["ok", f" {REPORT}", f" {REPORT}"]
    assert bench.ask("M155 S0", seconds=0.5) == ["ok"]
    assert bench.wait(10) == []
    bench.ask("M154 S1")
    assert bench.wait(1.5)[0].startswith("X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0")


def test_advanced_oks_name_line_planner_and_slots():
    bench = Bench(Board(advanced_ok=True, native_usb=True))
    assert bench.ask("M117 x") == ["ok P15 B3"]
    assert bench.ask(framed(1, "G1 X10 F60")) == ["ok N1 P14 B3"]
    assert bench.ask("M105") == [f"ok {REPORT}"]
    bench.send(*[framed(number, f"G1 X{number} F60") for number in range(2, 7)])
    oks = [text for _, text in bench.said[-5:]]
    assert oks == ["ok N2 P13 B0", "ok N3 P12 B0", "ok N4 P11 B1", "ok N5 P10 B2", "ok N6 P9 B3"]


def test_identity_and_capabilities():
    said = Bench(Board(emergency_parser=False, arcs=False, capabilities={"SDCARD": False, "AREA": True})).ask("M115")
    assert said[0].startswith("FIRMWARE_NAME:Marlin bugfix-2.1.x (")
    assert " PROTOCOL_VERSION:1.0 MACHINE_TYPE:Virtual Marlin KINEMATICS:Cartesian EXTRUDER_COUNT:1 UUID:" in said[0]
    assert {"Cap:EMERGENCY_PARSER:0", "Cap:ARCS:0", "Cap:SDCARD:0", "Cap:AREA:1", "Cap:AUTOREPORT_TEMP:1"} <= set(said)
    assert said[-1] == "ok"
    assert Bench(Board(arcs=False)).ask("G2 X1 I1") == ['echo:Unknown command: "G2 X1 I1"', "ok"]


def test_text_progress_and_echoes(bench):
    assert bench.ask("M73 P25 R30") == ["echo: M73 Progress: 25%; Time left: 30m;", "ok"]
    assert bench.ask("M117 Layer 3") == ["ok"]
    assert (bench.core.message, bench.core.percent) == ("Layer 3", 25)
    assert bench.ask("M118 plain") == ["plain", "ok"]
    assert bench.ask("M118 E1 loud") == ["echo:loud", "ok"]
    assert bench.ask("M503")[-1] == "ok"
    assert bench.ask("M113") == ["echo:M113 S2", "ok"]


def test_a_command_that_takes_long_says_so_and_is_acknowledged_at_its_end(bench):
    bench.send("G4 S5")
    assert bench.wait(10) == ["echo:busy: processing", "echo:busy: processing", "ok"]
    assert bench.when("ok") == pytest.approx(5, abs=0.01)
    bench.ask("M113 S0")
    assert bench.ask("G4 S5", seconds=9) == ["ok"]
    bench.ask("M113 S1")
    assert bench.ask("G4 S3.5", seconds=9) == ["echo:busy: processing"] * 3 + ["ok"]


def test_heating_up_tells_the_temperature_each_second_and_how_long_it_will_stay():
    bench = Bench(Board(nozzle_rate=10, residency=3))
    said = bench.ask("M109 S200", seconds=60)
    reports = [line for line in said if line.startswith(" T:")]
    assert len(reports) == 20
    assert reports[0].startswith(" T:31.3")
    assert [line.rpartition("W:")[2] for line in reports][-4:] == ["?", "2", "1", "0"]
    assert said.count("echo:busy: processing") == 10
    assert said[-1] == "ok"
    assert bench.when("ok") == pytest.approx((197 - 21.3) / 10 + 3, abs=0.1)


def test_m109_does_not_wait_for_cooling_and_r_does():
    bench = Bench(Board(nozzle_rate=100, residency=0))
    bench.ask("M109 S220", seconds=10)
    assert bench.ask("M109 S180") == ["ok"]
    bench.ask("M109 S220", seconds=10)
    bench.send("M109 R180")
    assert bench.wait(0.5) == []
    assert bench.wait(10)[-1] == "ok"


def test_heaters_move_at_their_rates_and_stay_on():
    bench = Bench(Board(nozzle_rate=4, bed_rate=1))
    bench.ask("M104 S221.3", "M140 S61.3")
    assert bench.core.nozzle.target == 221.3
    bench.wait(9)
    assert bench.core.nozzle.actual(10) == pytest.approx(61.3, abs=0.1)
    assert bench.core.bed.actual(10) == pytest.approx(31.3, abs=0.1)
    bench.wait(3600)
    assert (bench.core.nozzle.actual(bench.now), bench.core.nozzle.target) == (221.3, 221.3)
    bench.ask("M104 S0", seconds=50)
    assert bench.core.nozzle.actual(bench.now) == pytest.approx(171.3, abs=0.2)


def test_fan_motors_and_silent_commands(bench):
    bench.ask("M106 S128", "M17")
    assert (bench.core.fan, bench.core.motors) == (128, True)
    bench.ask("M107", "M84")
    assert (bench.core.fan, bench.core.motors) == (0, False)
    assert bench.ask("M413 S0", "M204 P500", "T0", "M900 K0") == ["ok"] * 4


def test_a_board_without_timeouts_says_wait_when_it_is_idle():
    bench = Bench(Board(idle_wait=1.0))
    assert bench.wait(3.5) == ["wait"] * 3
    assert bench.ask("G4 S2.5", seconds=2.6) == ["echo:busy: processing", "ok"]
    assert bench.wait(1) == ["wait"]


def test_an_ordinary_board_is_silent_for_ever(bench):
    assert bench.wait(1e6) == []
    assert bench.firmware.next_event() is None


def test_m0_shows_a_prompt_and_waits_for_its_answer(bench):
    said = bench.ask("M0 wait for it", seconds=5)
    assert said[:4] == [
        *("//action:prompt_end", "//action:prompt_begin wait for it", "//action:prompt_button Continue", "//action:prompt_show"),
    ]
    assert said[4:] == ["echo:busy: paused for user"] * 2
    assert bench.ask("M876 S0") == ["ok", "ok"]  # its own and that of M0
    assert bench.ask("M1", seconds=0.1)[1] == "//action:prompt_begin M1 Stop"
    assert bench.ask("M108") == ["ok", "ok"]
    assert bench.ask("M0 S3", seconds=4)[-1] == "ok"


def test_a_filament_change_parks_cools_and_heats_up_again():
    bench = Bench(Board(nozzle_rate=50, residency=0))
    bench.ask("M109 S200", seconds=10)
    said = bench.ask("M600", seconds=20)
    assert said[0] == "//action:paused"
    assert "//action:prompt_begin Nozzle Parked" in said
    assert said[-1] == "echo:busy: paused for user"
    assert bench.core.parked
    bench.wait(60)
    assert bench.core.nozzle.target == 0  # nobody came
    assert bench.said[-1][1] == "echo:busy: paused for user"
    bench.ask("M108", seconds=30)
    assert bench.core.nozzle.target == 200
    assert bench.ask("M108", seconds=10)[-4:] == ["//action:resumed", "ok", "ok", "ok"]
    assert not bench.core.parked
