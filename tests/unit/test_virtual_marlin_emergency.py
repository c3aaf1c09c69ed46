"""What works out of turn: with the emergency parser at once, without it only where the queue lets it."""

import pytest

from drivers.virtual.marlin import Board, State
from drivers.virtual.marlin.emergency import EmergencyParser
from tests.serial_bench import Bench, framed

KILLED = ["echo:M112 Shutdown", "Error:Printer halted. kill() called!", "//action:poweroff"]


def heating(parser, **kwargs):
    bench = Bench(Board(emergency_parser=parser, **kwargs))
    bench.send("M109 S250")
    bench.wait(3)
    return bench


@pytest.mark.parametrize("line", [b"M108\n", b"  M108\n", framed(1, "M108")])
def test_m108_ends_a_heat_up_at_once(line):
    bench = heating(True)
    bench.wait(0.1)
    assert bench.ask(line, seconds=0.1) == ["ok", "ok"]
    assert bench.core.nozzle.target == 250  # the heater stays on


def test_without_the_parser_only_a_bare_m108_is_seen_and_only_when_it_is_queued():
    bench = heating(False)
    bench.send(framed(1, "M108"))
    assert "ok" not in bench.wait(5)
    bench.send("M108")
    assert bench.wait(0.2).count("ok") == 3
    full = heating(False)
    full.send("G4 P1", "G4 P1", "G4 P1", "M108")
    assert "ok" not in full.wait(5)  # no slot: it waits in the ring of the UART


def test_with_the_parser_it_is_seen_behind_a_full_queue():
    bench = heating(True)
    bench.send("G4 P1", "G4 P1", "G4 P1", "M108")
    assert bench.wait(0.5).count("ok") == 5


@pytest.mark.parametrize("parser", [True, False])
def test_m112_kills_and_nothing_is_answered_until_a_reset(parser):
    bench = heating(parser)
    bench.wait(0.1)
    assert bench.ask("M112") == KILLED
    assert bench.firmware.state is State.KILLED
    assert (bench.core.nozzle.target, bench.core.bed.target) == (0, 0)
    assert bench.ask("M105", "M999", seconds=60) == []
    bench.firmware.reset(bench.now)
    assert bench.wait(2)[0] == "start"
    assert bench.ask("M105")[0].startswith("ok T:")


def test_a_numbered_m112_without_the_parser_waits_for_its_turn():
    bench = heating(False, residency=0)
    bench.send(framed(1, "M112"))
    assert KILLED[1] not in bench.wait(10)
    assert bench.wait(120)[-3:] == KILLED


def test_m410_stops_in_the_middle_of_a_move():
    bench = Bench(Board(cold_extrusion=True))
    bench.send("G1 X100 F600", "M400")
    bench.wait(5)
    bench.send("M410")
    said = bench.wait(1)
    assert said.count("ok") == 2
    assert bench.firmware.position()[0] == pytest.approx(50, abs=0.1)


def test_it_is_asleep_while_a_file_is_written():
    bench = Bench()
    bench.ask("M28 x.gco")
    assert bench.ask(framed(1, "M112")) == ["ok"]
    bench.ask("M29")
    assert bench.core.card.files["X.GCO"] == b"M112\n"


def test_a_command_may_come_in_pieces_and_others_are_no_match():
    parser = EmergencyParser()
    assert parser.scan(b"N7 M1") == []
    assert parser.scan(b"12*33\nG1 X1\n") == [(6, b"M112")]
    assert parser.scan(b"M117 M112\nG1 X112 M108\nm112\n") == []
    assert parser.scan(b"M876 S1\nM 410\n") == [(8, b"M876 S1"), (14, b"M410")]
