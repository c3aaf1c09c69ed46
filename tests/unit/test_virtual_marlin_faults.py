"""Bad days of a board, by script and by chance, and that they repeat themselves to the byte."""

import random
from itertools import pairwise
from math import inf

import pytest

from drivers.virtual.marlin import Board, Fault, Kind, Odds, State
from drivers.virtual.marlin.faults import parse
from drivers.virtual.marlin.noise import Gaps
from tests.serial_bench import Bench, framed, stream

WARM = Board(cold_extrusion=True)
TELLING = Board(cold_extrusion=True, advanced_ok=True)


def job(count, seed=1):
    chance = random.Random(seed)
    return [f"G1 X{chance.uniform(0, 99):.3f} Y{chance.uniform(0, 99):.3f} E{number / 50:.4f} F18000" for number in range(count)]


def executed(bench):
    return [payload.decode() for payload in bench.firmware.record.numbered]


def test_a_reset_forgets_everything_but_the_card_and_the_heat():
    bench = Bench(script=[parse("reset@10")])
    bench.core.card.files["A.GCO"] = b"G28\n"
    bench.ask("M104 S200", "M106", "G91", framed(1, "M117 x"), seconds=9)
    hot = bench.core.nozzle.actual(bench.now)
    said = bench.wait(3)
    assert said[:2] == ["start", "Marlin bugfix-2.1.x"]
    assert bench.when("start") == pytest.approx(11, abs=0.01)
    assert (bench.core.nozzle.target, bench.core.fan, bench.core.last_number, bench.core.absolute) == (0, 0, 0, True)
    assert bench.core.nozzle.actual(bench.now) > hot - 5
    assert bench.core.card.files
    assert bench.firmware.boots == 1


def test_a_reset_cuts_off_what_was_being_said():
    bench = Bench()
    bench.send("M115")
    bench.wait(0.02)
    bench.firmware.reset(bench.now)
    assert bench.wait(3)[0] == "start"


def test_a_pulled_cable_loses_what_was_on_it_and_delays_nothing_afterwards():
    bench = Bench()
    bench.send("M117 " + "x" * 60, *["M117 " + "y" * 60] * 400)
    bench.firmware.strike(Kind.UNPLUG, bench.now, 0.5)
    bench.wait(1)
    assert bench.firmware.record.count == 0
    assert bench.ask("M117 z", seconds=0.01) == ["ok"]


def test_a_slow_boot_is_deaf():
    bench = Bench(Board(boot_seconds=20), script=[parse("reset@1")])
    bench.wait(2)
    assert bench.ask("M105", "M105", seconds=17) == []
    assert bench.wait(5)[0] == "start"
    assert bench.ask("M105") != []


def test_opening_the_port_resets_only_boards_that_are_wired_so():
    for wired in (True, False):
        bench = Bench(Board(reset_on_open=wired))
        bench.firmware.open_port(5.0)
        bench.now = 5.0
        assert ("start" in bench.wait(2)) is wired


def test_a_hang_answers_nothing_finishes_its_moves_and_stays_hot():
    bench = Bench(WARM)
    bench.ask("M104 S200", "M140 S60", "G1 X50 F6000", "G1 X100", seconds=0.1)
    bench.firmware.strike(Kind.HANG, bench.now)
    assert bench.ask("M105", "M112", seconds=600) == []
    assert bench.firmware.state is State.HUNG
    assert bench.firmware.position()[0] == 100
    assert (bench.core.nozzle.target, bench.core.bed.target) == (200, 60)


def test_a_thermal_runaway_turns_everything_off():
    bench = Bench(script=[parse("thermal@5")])
    bench.ask("M104 S200", seconds=4)
    assert bench.wait(2) == [
        "Error:Thermal Runaway, system stopped! Heater_ID: 0",
        "Error:Printer halted. kill() called!",
        "//action:poweroff",
    ]
    assert bench.core.nozzle.target == 0


def test_a_stopped_board_acknowledges_moves_it_does_not_make():
    bench = Bench(WARM)
    bench.ask("M140 S60", "G1 X10 F6000")
    bench.firmware.strike(Kind.STOP, bench.now)
    assert bench.wait(0.1)[0].startswith("Error:Printer stopped due to errors. Fix the error and use M999 to restart.")
    said = bench.ask("G1 X90")
    assert said[0].startswith("Printer stopped due to errors.")
    assert said[1] == "ok"
    bench.wait(10)
    assert bench.firmware.position()[0] == 10
    assert bench.core.bed.target == 0
    assert bench.ask("M999") == ["Resend: 1", "ok", "ok"]
    assert bench.ask("G1 X90", seconds=5) == ["ok"]
    assert bench.firmware.position()[0] == 90


def test_a_pulled_cable_leaves_the_board_as_it_is():
    bench = Bench(WARM)
    bench.ask("M104 S200", framed(1, "G1 X50 F600"), framed(2, "G1 X60"), seconds=0.5)
    bench.firmware.strike(Kind.UNPLUG, bench.now, 30.0)
    assert bench.ask(framed(3, "G1 X70"), seconds=20) == []  # said into the air
    assert not bench.firmware.plugged
    assert bench.firmware.position()[0] == 60
    assert bench.core.nozzle.target == 200
    bench.wait(15)
    assert bench.firmware.plugged
    assert bench.core.last_number == 2
    assert bench.ask(framed(3, "G1 X70")) == ["ok"]


def test_a_cable_that_comes_back_with_a_reset_says_start():
    bench = Bench(script=[parse("unplug-reset@5+2")])
    assert bench.wait(10)[0] == "start"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("pause@1", "//action:pause"),
        ("paused@1", "//action:paused"),
        ("cancel@1", "//action:cancel"),
        ("runout@1", "//action:filament_runout T0"),
    ],
)
def test_the_machine_speaks_up(script, said):
    assert Bench(script=[parse(script)]).wait(2)[0] == said


def test_a_runout_holds_the_print_until_somebody_answers():
    bench = Bench(WARM, script=[parse("runout@#2")])
    bench.send(framed(1, "G1 X10 F6000"), framed(2, "G1 X20"), framed(3, "G1 X30"))
    assert bench.wait(30)[:2] == ["ok", "//action:filament_runout T0"]
    assert bench.core.parked
    bench.ask("M108", seconds=10)
    assert not bench.core.parked
    assert executed(bench) == ["G1 X10 F6000", "G1 X20", "G1 X30"]


def test_one_ok_is_lost_and_one_comes_twice():
    bench = Bench(script=[parse("lose-ok@#2"), parse("double-ok@#4")])
    assert [bench.ask("M117 x").count("ok") for _ in range(5)] == [1, 0, 1, 2, 1]


def test_one_answer_and_one_line_are_garbled():
    bench = Bench()
    bench.firmware.strike(Kind.GARBLE_OUT, 0.0)
    assert bench.ask("M117 x") != ["ok"]
    bench.firmware.strike(Kind.DROP_IN, bench.now)
    assert bench.ask("M117 x") == []
    assert bench.ask("M117 x") == ["ok"]


@pytest.mark.parametrize("seed", range(6))
def test_noise_in_both_directions_spoils_no_print(seed):
    """A host that goes back and probes brings every line through once, in order, whatever the line does."""
    odds = Odds(garble_in=3e-4, drop_in=2e-4, lose_ok=0.005)
    bench = Bench(TELLING, seed=seed, odds=odds)
    lines = job(300, seed)
    stream(bench, lines)
    assert executed(bench) == lines
    assert bench.firmware.resends > 0


def test_the_same_seed_gives_the_same_trace_and_another_one_another():
    def trace(seed):
        bench = Bench(TELLING, seed=seed, odds=Odds(garble_in=5e-4, lose_ok=0.01), script=[parse("double-ok@#50")])
        stream(bench, job(200))
        return bench.said

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


def test_a_print_through_a_window_starves_less_than_line_by_line():
    starved = []
    for lines in (1, 4):
        bench = Bench(TELLING)
        stream(
            bench, [f"G1 X{number * 0.4:.3f} Y{number * 0.1:.3f} E{number / 50:.4f} F12000" for number in range(400)], lines=lines
        )
        starved.append(bench.core.planner.starved_seconds)
    assert starved[1] < starved[0] / 2


def test_a_script_is_read_or_refused():
    assert parse("unplug@30+5") == Fault(Kind.UNPLUG, 30, None, 5)
    assert parse("lose-ok@#500") == Fault(Kind.LOSE_OK, inf, 500)
    for wrong in ("reset", "explode@5", "reset@x", "reset@#"):
        with pytest.raises(ValueError, match="fault"):
            parse(wrong)


def test_many_prints_are_quick_and_each_ends_where_its_file_ends():
    """Virtual time costs what the lines cost: hours of printing, every one its own seed."""
    for seed in range(40):
        bench = Bench(TELLING, seed=seed, odds=Odds(lose_ok=0.002))
        lines = job(25, seed)
        stream(bench, lines)
        bench.wait(60)  # the host knows what was taken, not what was made
        last = [float(word[1:]) for word in lines[-1].split()[1:4]]
        x, y, _, e = bench.firmware.position()
        assert [x, y, e] == pytest.approx(last)


def test_a_refused_line_in_the_middle_of_a_wait_disturbs_nothing_of_it():
    bench = Bench(WARM)
    bench.send(framed(1, "G4 S3"))
    bench.wait(1)
    assert bench.ask(b"N2 M117 x*1\n", seconds=0.5)[-2:] == ["Resend: 2", "ok"]
    assert "ok" not in bench.wait(1.4)
    bench.wait(0.2)
    assert bench.when("ok") == pytest.approx(3, abs=0.01)


def test_a_kill_in_the_middle_of_a_wait_ends_it_for_good():
    bench = Bench(WARM)
    bench.ask("M140 S60", "G4 S30", "G1 X10 F60", seconds=1)
    bench.firmware.strike(Kind.THERMAL, bench.now)
    assert bench.wait(0.1)[-1] == "//action:poweroff"
    assert bench.wait(100) == []
    bench.firmware.reset(bench.now)
    assert bench.wait(5)[0] == "start"
    assert bench.ask(framed(1, "M117 x")) == ["ok"]


@pytest.mark.parametrize("seed", range(8))
def test_it_does_not_matter_how_often_a_board_is_looked_at(seed):
    """What happens depends on what is sent when, never on the steps in which time is handed in."""
    chance = random.Random(seed)
    moment, sends = 0.0, []
    for number, payload in enumerate([*job(120, seed), "M400", "G4 P50", "M105"] * 2, start=1):
        moment += chance.choice([0.0, 0.001, 0.004, 0.05])
        sends.append((moment, framed(number, payload) if chance.random() < 0.95 else b"M105\nM114\n"))

    def played(step):
        bench = Bench(
            Board(cold_extrusion=True, advanced_ok=True, idle_wait=0.5), seed=seed, odds=Odds(garble_in=1e-3, garble_out=1e-3)
        )
        firmware, said = bench.firmware, b""
        for at, data in sends:
            while step and firmware.core.now + step < at:
                firmware.advance(firmware.core.now + step)
                said += firmware.take()
            firmware.receive(data, at)
        firmware.advance(200.0)
        return said + firmware.take(), firmware.record.executed, firmware.dropped, firmware.core.planner.starved_seconds

    assert played(0) == played(0.0007) == played(0.013)


def test_chance_happens_as_often_as_it_says_and_the_pieces_do_not_matter():
    whole, pieces = Gaps(0.2, random.Random(5)), Gaps(0.2, random.Random(5))
    hits = whole.hits(50_000)
    assert len(hits) == pytest.approx(10_000, rel=0.05)
    assert any(following - hit == 1 for hit, following in pairwise(hits))
    assert [start + hit for start in range(0, 50_000, 7) for hit in pieces.hits(7) if start + hit < 50_000] == hits
    assert Gaps(1.0, random.Random(5)).hits(3) == [0, 1, 2]
    assert Gaps(0.0, random.Random(5)).hits(10**9) == []
