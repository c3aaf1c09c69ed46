"""A print on its way to disk, what it had set when it was held, and the commands of the host's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gcode import scripts
from drivers.gcode.framing import LINE_CAP, frame
from drivers.gcode.modes import Modes, modes_after
from drivers.gcode.replies import Heat
from drivers.gcode.spool import Spool, Unprintable, main, remove, spool
from drivers.gcode.watch import HeatWatch
from drivers.gcode.window import CLEAN_LINES, Window


def spooled(folder: Path, data: bytes, token: str = "att-1") -> Spool:
    source = folder / "part.gcode"
    source.write_bytes(data)
    assert list(spool(source, folder, token))[-1] == (len(data), len(data))
    return Spool(folder, token)


def sent(job: Spool) -> list[bytes]:
    return [line.split(b" ", 1)[1].rsplit(b"*", 1)[0] for line in job.head(job.last)]


def test_a_print_is_framed_once_and_found_again(tmp_path: Path) -> None:
    job = spooled(tmp_path, b"; part\nG28\nG1 X1 Y2 ; move\r\n\nM105\nM110 N7\nG1 X2\n")
    assert sent(job) == [b"G28", b"G1 X1 Y2", b"G1 X2", b"M400"]
    assert job.lines(2, 3) == frame(2, b"G1 X1 Y2") + frame(3, b"G1 X2")
    assert job.size(1) == len(frame(1, b"G28"))
    assert job.sent(job.last) == job.facts.wire == sum(job.size(number) for number in range(1, job.last + 1))
    assert (job.last, job.facts.left_out, job.facts.arcs, job.facts.tools) == (4, 2, False, ())
    job.close()


def test_every_end_of_a_line_is_one(tmp_path: Path) -> None:
    assert sent(spooled(tmp_path, b"\xef\xbb\xbfG28\rG1 X1\rG1 X2\r\nG1 X3\n\rG1 X4\r")) == [
        *(b"G28", b"G1 X1", b"G1 X2", b"G1 X3", b"G1 X4", b"M400"),
    ]


def test_facts_of_arcs_and_tools(tmp_path: Path) -> None:
    facts = spooled(tmp_path, b"G2 X1 I1\nT1\nM104 T2 S200\nM109 S200\n").facts
    assert facts.arcs
    assert facts.tools == (1, 2)


def test_a_text_too_long_is_shortened_and_counted(tmp_path: Path) -> None:
    job = spooled(tmp_path, b"M117 " + b"long " * 40 + b"\nG28\n")
    assert job.facts.shortened == 1
    assert job.size(1) - 1 <= LINE_CAP


def test_a_text_that_would_be_misunderstood_is_left_out(tmp_path: Path) -> None:
    texts = [b"M118 ok", b"M118 start", b"M118 E1 ok", b"M117 M110 N5", b"M118 Resend: 3", b"M118 Error:kill()"]
    job = spooled(tmp_path, b"\n".join([*texts, b"M118 hello", b"M118 A1 action:notification x", b"M117 ok"]))
    assert sent(job) == [b"M118 hello", b"M118 A1 action:notification x", b"M117 ok", b"M400"]
    assert job.facts.left_out == len(texts)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "part.gcode holds no command: is it G-code?"),
        (b"; a\n; b\n", "part.gcode holds no command: is it G-code?"),
        (b"M105\nM110\n", "part.gcode holds no command: is it G-code?"),
        (b"G28\nM112\n", "line 2: M112 stops the machine for good; take it out of the file"),
        (b"M0112\n", "line 1: M112 stops the machine for good; take it out of the file"),
        (b"M500\n", "line 1: M500 overwrites the machine's settings; take it out of the file"),
        (b"M997\n", "line 1: M997 replaces the firmware; take it out of the file"),
        (b"G20\n", "line 1: G20 changes to inches; take it out of the file"),
        (b"G28\n<html>\n", "line 2: '<HTML>' is not G-code"),
        (b"G1 X" + b"1" * 200, "line 1 is too long for the printer (204 bytes): slice again without so many digits or arguments"),
        (
            b"G1 X" + b"1" * 100_000,
            "line 1 is too long for the printer (4096 bytes): slice again without so many digits or arguments",
        ),
    ],
)
def test_what_cannot_be_printed_is_refused_and_leaves_nothing(data: bytes, words: str, tmp_path: Path) -> None:
    source = tmp_path / "part.gcode"
    source.write_bytes(data)
    with pytest.raises(Unprintable) as refused:
        list(spool(source, tmp_path, "att-1"))
    assert str(refused.value) == words
    assert sorted(each.name for each in tmp_path.iterdir()) == ["part.gcode"]


def test_a_token_again_replaces_and_remove_forgets(tmp_path: Path) -> None:
    spooled(tmp_path, b"G28\n").close()
    job = spooled(tmp_path, b"G1 X1\nG1 X2\n")
    assert job.last == 3
    job.close()
    remove(tmp_path, "att-1")
    remove(tmp_path, "att-1")
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path, "att-1")


def test_half_of_a_print_is_none(tmp_path: Path) -> None:
    spooled(tmp_path, b"G28\nG1 X1\n").close()
    frames = tmp_path / "att-1.frames"
    frames.write_bytes(frames.read_bytes()[:-3])
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path, "att-1")
    source = tmp_path / "part.gcode"
    source.write_bytes((b"G1 X1 ;" + b"x" * 2000 + b"\n") * 3000)
    stopped = spool(source, tmp_path, "att-2")
    next(stopped)
    stopped.close()
    assert not list(tmp_path.glob("att-2*"))


def test_it_runs_as_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "part.gcode"
    source.write_bytes(b"G28\n")
    command = [sys.executable, "-m", "drivers.gcode.spool", str(source), str(tmp_path), "a"]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert json.loads(done.stdout.splitlines()[-1]) == {"read": 4, "size": 4}
    source.write_bytes(b"M112\n")
    assert main(str(source), str(tmp_path), "b") == 2
    assert main(str(tmp_path / "none"), str(tmp_path), "b") == 2
    assert capsys.readouterr().out.count("refused") == 2


def modes(*commands: bytes) -> Modes:
    return modes_after(frame(number, command) for number, command in enumerate(commands, 1))


def test_modes_are_what_the_lines_set() -> None:
    assert modes() == Modes()
    found = modes(
        b"M140 S60", b"M104 S200", b"M109 T1 S210", b"G28", b"G91", b"M82", b"G1 X1 F1200", b"M106 S128", b"T1", b"G10", b"M1060 S1"
    )
    assert found == Modes(True, False, 1200.0, 128.0, 1, ((0, 200.0), (1, 210.0)), 60.0, True)
    assert found.target == 210.0
    assert found.at_work
    assert modes(b"M106", b"M106 P1 S9").fan == 255.0
    assert modes(b"M106", b"M107").fan == 0.0
    assert modes(b"G91", b"G90", b"M83").relative_e
    assert not modes(b"M104 S200").at_work
    assert not modes(b"G28").at_work


def test_what_is_held_comes_back_to_its_place_and_modes() -> None:
    held = modes(b"M140 S60", b"M109 S200", b"G28", b"M83", b"G1 X1 F1200", b"M106 S128")
    parked, back = scripts.park(held), scripts.unpark({"X": 1.0, "Y": 2.0, "Z": 3.0, "E": 4.0}, held)
    assert parked.index(b"G1 Z10.00 F600") < parked.index(b"G1 X0 Y0 F6000")
    assert back.index(b"M109 S200") < back.index(b"G1 X1.000 Y2.000 F6000") < back.index(b"G1 Z3.000 F600")
    assert back[-5:] == [b"G92 E4.00000", b"G1 F1200", b"M106 S128", b"G90", b"M83"]
    assert scripts.standby(held) == [b"M104 T0 S150"]
    two = modes(b"M104 T0 S200", b"M109 T1 S120", b"G28", b"T1")
    assert scripts.standby(two) == [b"M104 T0 S150", b"M104 T1 S120"]
    assert scripts.unpark({}, two)[:3] == [b"M104 T0 S200", b"T1", b"M109 S120"]


def test_before_there_is_a_part_nothing_moves() -> None:
    cold = modes(b"M140 S60", b"G28")
    moves = [*scripts.park(cold), *scripts.unpark({"X": 1.0}, cold), *scripts.standby(cold)]
    assert not [command for command in moves if command.startswith(b"G")]
    assert scripts.unpark({}, Modes()) == [b"M400"]


def test_heaters_first_when_a_print_is_stopped() -> None:
    assert scripts.give_up((1,))[:4] == [b"M104 T0 S0", b"M104 T1 S0", b"M140 S0", b"M141 S0"]
    assert scripts.heaters_off(()) == [b"M104 S0", b"M140 S0", b"M141 S0"]
    assert not [command for command in scripts.make_safe((0, 1)) if command.startswith(b"G")]


def test_a_window_is_earned_and_lost() -> None:
    window = Window()
    assert window.lines == 1
    window.known(2)
    window.clean(CLEAN_LINES)
    assert window.lines == 3
    window.damaged()
    window.damaged()
    assert window.lines == 1
    fixed = Window(4, 1024)
    fixed.known(64)
    fixed.clean(CLEAN_LINES)
    assert (fixed.lines, fixed.size) == (4, 1024 - 1)


@given(st.lists(st.sampled_from(["known", "clean", "damaged"]), max_size=200), st.one_of(st.none(), st.integers(1, 8)))
def test_a_window_keeps_its_bounds(events: list[str], most: int | None) -> None:
    window = Window(most)
    for event in events:
        {"known": lambda: window.known(99), "clean": lambda: window.clean(300), "damaged": window.damaged}[event]()
        assert 1 <= window.lines <= (most or 64)
        assert window.size == 127


def test_heat_that_nobody_asked_for_is_told_after_a_while() -> None:
    watch = HeatWatch({"T": Heat(180, 0), "B": Heat(20, 0)}, 0.0)
    assert watch.note({"T": Heat(199, 0)}, 1.0) is None  # as hot as it came
    for at in range(2, 60):
        assert watch.note({"T": Heat(219, 200), "B": Heat(60, 60)}, at) is None
    assert watch.note({"B": Heat(90, 60)}, 60) is None
    assert watch.note({"B": Heat(91, 60)}, 69) is None
    assert watch.note({"B": Heat(60, 60)}, 69.5) is None  # a digit was wrong
    assert watch.note({"B": Heat(92, 60)}, 70) is None
    assert watch.note({"B": Heat(93, 60)}, 80) == "the bed has 93 degrees and was never asked for more than 60"
    watch.excused(100)
    assert watch.untold_at == 160


def test_a_target_that_is_garbled_once_does_not_blind() -> None:
    watch = HeatWatch({"T": Heat(200, 200)}, 0.0)
    watch.note({"T": Heat(200, 200)}, 1)
    watch.note({"T": Heat(200, 900)}, 2)
    watch.note({"T": Heat(300, 200)}, 3)
    assert watch.note({"T": Heat(300, 200)}, 13) is not None
