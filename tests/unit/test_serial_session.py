"""What is done with a machine: greeted, printed on, held, stopped, and never left hot; against a virtual board in virtual time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.gcode import attendance, session
from drivers.gcode.session import Ending, Phase
from drivers.virtual.marlin import Board, Fault, Kind, State
from tests.serial_session import SerialBench, commands

HEAT = [b"M140 S60", b"M104 S200", b"M190 S60", b"M109 S200", b"G28", b"G90", b"M83", b"G1 Z0.2 F1200"]
MOVES = [b"G1 X%d Y%d E0.02 F3600" % (50 + number % 50, 50 + number // 50) for number in range(200)]
PART = [*HEAT, *MOVES, b"M104 S0", b"M84"]


def heaters(bench: SerialBench) -> list[float]:
    return [bench.firmware.core.nozzle.target, bench.firmware.core.bed.target]


def done(bench: SerialBench) -> list[bytes]:
    return bench.firmware.record.numbered


def made(bench: SerialBench) -> list[bytes]:
    return [each for each in done(bench) if each.endswith(b"F3600") and each.startswith(b"G1 X")]


def printing(bench: SerialBench, lines: list[bytes] = PART, moves: int = 20) -> SerialBench:
    """So many moves of the part are made."""
    bench.ready().print(lines)
    bench.until(lambda: len(made(bench)) >= moves)
    return bench


def wish(bench: SerialBench, what: Callable[[float], str | None]) -> None:
    assert what(bench.now) is None
    bench.touch()


def held(bench: SerialBench) -> SerialBench:
    wish(printing(bench), bench.session.hold)
    bench.until(lambda: bench.session.phase is Phase.HELD)
    return bench


def words(bench: SerialBench) -> str:
    return next(news.words for news in bench.news if news.kind == "ended")


# greeting


def test_a_machine_says_who_it_is(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path).ready()
    assert bench.session.machine.marlin
    assert [news.kind for news in bench.news] == ["machine", "rest"]
    assert bench.now < 3


def test_a_machine_that_boots_for_long_is_waited_for(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path, Board(reset_on_open=True, boot_seconds=20.0)).ready()
    assert 20 < bench.now < 30


@pytest.mark.parametrize(("name", "said"), [("Klipper v0.12", "Moonraker"), ("grbl 1.1", "mills")])
def test_what_is_no_printer_of_ours_is_told(tmp_path: Path, name: str, said: str) -> None:
    bench = SerialBench(tmp_path, Board(firmware_name=name))
    bench.until(lambda: bench.session.message is not None)
    assert said in (bench.session.message or "")
    assert bench.session.why_not(bench.spool(PART)) == "the machine is greeting"


@pytest.mark.parametrize(("data", "said"), [(b"", "does not take line numbers"), (b"\xf8\x00\xfe\x80\xf8\n", "baud rate")])
def test_silence_and_noise_are_told_once_and_tried_again(tmp_path: Path, data: bytes, said: str) -> None:
    bench = SerialBench(tmp_path, script=[Fault(Kind.HANG, at=0.0)])
    bench.session.receive(data, 0.5)
    bench.until(lambda: bench.now > 300)
    assert said in (bench.session.message or "")
    assert len(bench.news) == 1


# printing


def test_a_print_is_exact_to_its_end_and_the_machine_cold(tmp_path: Path) -> None:
    bench = printing(SerialBench(tmp_path))
    assert bench.ending() is Ending.SUCCEEDED
    assert done(bench)[4 : 4 + len(PART)] == commands(PART)
    assert heaters(bench) == [0, 0]
    assert bench.session.line == 0
    bench.print(MOVES[:1], "att-2")
    assert bench.session.token == "att-2"


def test_what_a_machine_cannot_print_is_refused(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path, Board(arcs=False, capabilities={"THERMAL_PROTECTION": False, "ARCS": False})).ready()
    assert "arcs" in (bench.session.why_not(bench.spool([b"G2 X1 I1"], "a")) or "")
    assert bench.session.why_not(bench.spool(MOVES, "b")) == session.UNPROTECTED
    assert bench.session.hold(bench.now) == "nothing is being printed"
    assert bench.session.resume(bench.now) == "nothing is held"
    assert bench.session.cancel(bench.now) is None


def test_commands_of_a_person_are_taken_at_rest_only(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path).ready()
    wish(bench, lambda now: bench.session.say(b"G28", now))
    bench.until(lambda: b"G28" in bench.firmware.record.executed)
    bench.until(lambda: bench.session.phase is Phase.BUSY)
    assert "busy" in (bench.session.say(b"G28", bench.now) or "")
    bench.until(lambda: bench.session.phase is Phase.READY)


# holding


def test_a_held_print_comes_back_exactly(tmp_path: Path) -> None:
    bench = held(SerialBench(tmp_path))
    line = bench.session.line
    assert line == len(HEAT) + len(made(bench))
    assert bench.firmware.position()[2] == pytest.approx(10.2)
    wish(bench, bench.session.hold)  # again: nothing
    wish(bench, bench.session.resume)
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES
    assert [news.kind for news in bench.news if news.token] == ["held", "resumed", "ended"]
    assert next(news.line for news in bench.news if news.kind == "held") == line


def test_wishes_in_quick_succession_lose_no_place(tmp_path: Path) -> None:
    bench = printing(SerialBench(tmp_path))
    for _ in range(6):
        for wanted in (bench.session.hold, bench.session.hold, bench.session.resume, bench.session.hold):
            wish(bench, wanted)
            for _ in range(7):
                bench.step()
        bench.until(lambda: bench.session.phase is Phase.HELD)
        wish(bench, bench.session.resume)
        for _ in range(5):
            bench.step()
        wish(bench, bench.session.hold)
        bench.until(lambda: bench.session.phase is Phase.HELD)
    wish(bench, bench.session.resume)
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES


def test_held_before_there_is_a_part_nothing_moves(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path).ready()
    bench.print([b"M140 S60", b"M190 S60", *PART])
    wish(bench, bench.session.hold)
    bench.until(lambda: bench.session.phase is Phase.HELD)
    assert not [each for each in done(bench) if each.startswith(b"G1")]
    wish(bench, bench.session.resume)
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES


def test_a_print_that_is_held_for_long_cools_its_nozzle(tmp_path: Path) -> None:
    bench = held(SerialBench(tmp_path))
    bench.until(lambda: bench.now > session.STANDBY_SECONDS + 120)
    assert heaters(bench) == [150, 60]
    wish(bench, bench.session.resume)
    bench.until(lambda: len(made(bench)) > 30)
    assert heaters(bench) == [200, 60]
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES


def test_a_firmware_that_parks_itself_is_left_alone(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print([*HEAT, *MOVES[:50], b"M600", *MOVES[50:], b"M104 S0"])
    bench.until(lambda: bench.session.phase is Phase.HELD)
    bench.until(lambda: bench.session.prompt is not None and bench.session.prompt.choices == ("Continue",))
    assert bench.session.answer(7, bench.now) == "there are 1 choices, numbered from 0"
    wish(bench, bench.session.hold)
    wish(bench, bench.session.resume)
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES
    assert b"G91" not in done(bench)
    assert bench.session.prompt is None


def test_filament_that_runs_out_is_the_firmwares_business(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path, script=[Fault(Kind.RUNOUT, at=82.5)])
    bench.ready().print(PART)
    bench.until(lambda: bench.session.prompt is not None and bench.session.prompt.choices == ("Continue",))
    wish(bench, lambda now: bench.session.answer(0, now))
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES
    assert b"G91" not in done(bench)


@pytest.mark.parametrize("parser", [True, False])
def test_m0_waits_for_a_person(tmp_path: Path, parser: bool) -> None:
    bench = SerialBench(tmp_path, Board(emergency_parser=parser))
    bench.ready().print([*HEAT, b"M0 look", *MOVES])
    bench.until(lambda: bench.session.prompt is not None and bool(bench.session.prompt.choices))
    bench.until(lambda: bench.now > 500)
    assert bench.session.phase is Phase.PRINTING
    wish(bench, lambda now: bench.session.answer(0, now))
    assert bench.ending() is Ending.SUCCEEDED


def test_to_resume_is_to_choose_what_goes_on(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print([*HEAT, b"M0 look", *MOVES])
    bench.until(lambda: bench.session.prompt is not None and bool(bench.session.prompt.choices))
    again = b"".join(b"//action:prompt_%s\n" % each for each in (b"begin Paused", b"choice PurgeMore", b"choice Continue", b"show"))
    bench.session.receive(again, bench.now)
    bench.session.take()
    assert bench.session.resume(bench.now) is None
    assert bench.session.take() == b"M876 S1\n"


def test_a_question_that_was_answered_at_the_machine_is_over(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print([*HEAT, b"M0 look", *MOVES])
    bench.until(lambda: bench.session.prompt is not None and bool(bench.session.prompt.choices))
    line = bench.session.line
    bench.until(lambda: bench.now > 400)
    assert bench.session.prompt is not None
    bench.firmware.receive(b"M108\n", bench.now)  # the knob
    bench.until(lambda: bench.session.line > line + 3)
    assert bench.session.prompt is None
    assert bench.ending() is Ending.SUCCEEDED


def test_what_waits_for_heat_gets_no_answer_to_what_it_does_not_ask(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print(PART)
    bench.until(lambda: "T" in bench.session.machine.heat and bench.session.machine.heat["T"].target > 0)
    assert bench.session.answer(0, bench.now) == "the machine asks nothing"
    assert b"M108" not in bench.session.take()
    assert bench.ending() is Ending.SUCCEEDED


def test_a_wait_without_choices_is_over_when_the_machine_says_no_more(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print([*HEAT, *MOVES])
    bench.session.receive(b"echo:busy: paused for user\n", bench.now)
    assert bench.session.prompt is not None
    assert bench.session.resume(bench.now) is None
    assert bench.session.prompt is None
    bench.session.receive(b"echo:busy: paused for user\n", bench.now)
    assert bench.session.prompt is not None


def test_buttons_at_the_machine_hold_and_cancel(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path, script=[Fault(Kind.PAUSE, after=60), Fault(Kind.CANCEL, at=300.0)])
    bench.ready().print(PART)
    bench.until(lambda: bench.session.phase is Phase.HELD)
    assert bench.ending() is Ending.CANCELLED
    assert heaters(bench) == [0, 0]


# stopping


@pytest.mark.parametrize("parser", [True, False])
@pytest.mark.parametrize(
    "lines", [PART, [*HEAT, b"M0", *MOVES], [*HEAT, *MOVES[:9], b"M600", *MOVES]], ids=["heating", "m0", "m600"]
)
def test_cancelled_while_it_waits(tmp_path: Path, parser: bool, lines: list[bytes]) -> None:
    bench = SerialBench(tmp_path, Board(emergency_parser=parser))
    bench.ready().print(lines)
    bench.until(lambda: bench.now > (60 if lines is PART else 200))
    wish(bench, bench.session.cancel)
    assert bench.ending(1200) is Ending.CANCELLED
    assert heaters(bench) == [0, 0]
    bench.ready()


@pytest.mark.parametrize("steps", [0, 3, 9, 20, 40])
@pytest.mark.parametrize("first", ["printing", "holding", "held", "resuming"])
def test_cancelled_at_any_moment(tmp_path: Path, first: str, steps: int) -> None:
    bench = printing(SerialBench(tmp_path)) if first in ("printing", "holding") else held(SerialBench(tmp_path))
    if first == "holding":
        wish(bench, bench.session.hold)
    if first == "resuming":
        wish(bench, bench.session.resume)
    for _ in range(steps):
        bench.step()
    wish(bench, bench.session.cancel)
    wish(bench, bench.session.cancel)
    before = len(made(bench))
    assert bench.ending() is Ending.CANCELLED
    assert heaters(bench) == [0, 0]
    assert len(made(bench)) <= before + 6  # what was on its way
    bench.ready()


def test_a_machine_that_tells_nothing_by_itself_is_asked(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path, Board(capabilities={"AUTOREPORT_TEMP": False}))
    bench.ready()
    bench.until(lambda: "T" in bench.session.machine.heat, 20)
    printing(bench, moves=2)
    assert bench.session.machine.heat["T"].actual > 190
    assert bench.ending() is Ending.SUCCEEDED
    assert made(bench) == MOVES


# what goes wrong


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind.THERMAL, "Thermal Runaway"),
        (Kind.STOP, "stopped due to errors"),
        (Kind.RESET, "restarted"),
        (Kind.HANG, "not answered"),
    ],
)
@pytest.mark.parametrize("after", [12, 40, 100])
def test_a_machine_that_fails_ends_the_print_with_words(tmp_path: Path, kind: Kind, said: str, after: int) -> None:
    bench = SerialBench(tmp_path, script=[Fault(kind, after=after)])
    bench.ready().print(PART)
    assert bench.ending() is Ending.FAILED
    assert said in words(bench)
    if kind is Kind.HANG:
        assert attendance.UNSURE in words(bench)
        assert bench.session.phase is not Phase.READY
    else:
        assert heaters(bench) == [0, 0]
    if kind is Kind.THERMAL:
        assert bench.session.phase is Phase.HALTED
        assert bench.firmware.state is State.KILLED
        bench.firmware.reset(bench.now)
        bench.ready()


def test_cold_filament_ends_the_print(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    bench.ready().print([b"M140 S60", b"G28", *MOVES])
    assert bench.ending() is Ending.FAILED
    assert "cold extrusion" in words(bench)
    assert heaters(bench) == [0, 0]


def test_a_heater_that_runs_away_is_stopped_at_once(tmp_path: Path) -> None:
    bench = printing(SerialBench(tmp_path))
    for second in range(12):
        bench.session.receive(b" T:260.0 /200.0 B:60.0 /60.0\n", bench.now + second)
    bench.now += 11
    bench.touch()
    bench.until(lambda: bench.firmware.state is State.KILLED, 5)
    assert bench.ending() is Ending.FAILED
    assert "the nozzle has 260 degrees" in words(bench)
    assert b"M112" in bench.firmware.record.executed or heaters(bench) == [0, 0]


def test_a_machine_that_tells_no_temperatures_is_not_trusted(tmp_path: Path) -> None:
    bench = SerialBench(tmp_path)
    printing(bench, [*HEAT, *MOVES[:40], *[b"G4 P2000"] * 150])  # too few lines for a question that is asked in passing
    bench.firmware.core.every.clear()
    bench.firmware.core.reported.clear()
    bench.firmware.core.report_at = float("inf")
    assert bench.ending(300) is Ending.FAILED
    assert "temperatures" in words(bench)
    assert heaters(bench) == [0, 0]


# a cable that is away


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0, 2, 5, 9, 14, 30])
@pytest.mark.parametrize("seconds", [3.0, 60.0, 200.0])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("first", ["printing", "holding", "held", "resuming", "stopping"])
def test_a_cable_is_away(tmp_path: Path, first: str, reset: bool, seconds: float, steps: int) -> None:
    bench = held(SerialBench(tmp_path)) if first in ("held", "resuming") else printing(SerialBench(tmp_path))
    what = {"holding": bench.session.hold, "resuming": bench.session.resume, "stopping": bench.session.cancel}.get(first)
    if what is not None:
        wish(bench, what)
    for _ in range(steps):
        bench.step()
    bench.firmware.strike(Kind.UNPLUG_RESET if reset else Kind.UNPLUG, bench.now, seconds)
    bench.until(lambda: bench.session.away, 10)
    bench.until(lambda: bench.firmware.plugged and not bench.session.away)
    bench.until(lambda: bench.session.job is None or bench.session.phase is Phase.HELD, 300)
    if bench.session.job is not None:
        wish(bench, bench.session.resume)
    ending = bench.ending(600)
    if first == "stopping":
        assert ending in (Ending.CANCELLED, Ending.FAILED)
    elif reset or seconds > session.AWAY_SECONDS:
        assert ending is Ending.FAILED
    if ending is Ending.SUCCEEDED:
        assert made(bench) == MOVES
    assert made(bench) == MOVES[: len(made(bench))]
    bench.until(lambda: bench.session.phase is Phase.READY, 600)
    assert heaters(bench) == [0, 0]
