"""How long an answer of a serial printer may be left unread, and when it is asked how far it is."""

from collections import deque

import pytest

from drivers.gcode.framing import QUESTION
from drivers.gcode.pace import FEW, LEAST, MOST, ROUND, ROUND_LEAST, Pace, Rounds
from drivers.gcode.protocol import Link
from drivers.gcode.sources import Script
from drivers.gcode.window import Window


def paced(line_seconds: float, round_trip: float = 0.001, answers: int = 200) -> Pace:
    pace = Pace()
    pace.alone(round_trip)
    for number in range(answers):
        pace.took(1, number * line_seconds)
    return pace


def test_a_printer_with_much_before_it_is_answered_for_several_lines_at_once() -> None:
    assert paced(0.004).leisure(16) == MOST
    assert LEAST <= paced(0.0015).leisure(16) < MOST


@pytest.mark.parametrize(
    ("line_seconds", "round_trip", "on_its_way", "why"),
    [
        (0.004, 0.001, FEW - 1, "a small buffer runs dry at once"),
        (0.0003, 0.001, 16, "it takes lines quickly"),
        (0.00125, 0.020, 16, "the way is what limits it"),
        (0.00005, 0.001, 64, "the wire is what limits it"),
    ],
)
def test_no_moment_is_lost_where(line_seconds: float, round_trip: float, on_its_way: int, why: str) -> None:
    assert paced(line_seconds, round_trip).leisure(on_its_way) == 0.0, why


def test_before_anything_was_taken_nothing_waits() -> None:
    assert Pace().leisure(64) == 0.0


def test_answers_in_bursts_look_no_quicker_than_they_are() -> None:
    steady, bursts = paced(0.004), Pace()
    bursts.alone(0.001)
    for number in range(100):
        bursts.took(3, number * 0.012)
        bursts.took(1, number * 0.012 + 0.0001)
    assert bursts.leisure(16) == pytest.approx(steady.leisure(16), rel=0.3)


def test_nothing_waits_while_something_is_not_in_order() -> None:
    link = Link(Window(16, 4096))
    link.begin(Script([b"G1 X%d" % number for number in range(1000)]), 0.0)
    assert link.leisure == 0.0
    link.receive(b"ok\n", 0.001)
    link.receive(b"Resend: 1\nok\n", 0.002)
    for number in range(100):
        link.receive(b"ok\n", 0.002 + (number + 1) * 0.004)
    assert link.leisure > 0
    link.receive(b"Resend: 90\nok\n", 0.5)
    assert link.leisure == 0.0


def test_a_round_is_longer_where_nothing_gets_lost() -> None:
    rounds = Rounds()
    rounds.begin(1)
    assert not rounds.due(ROUND)
    assert rounds.due(ROUND + 1)
    for _ in range(5):
        rounds.answered(lost=1)
    rounds.begin(1000)
    assert rounds.due(1000 + ROUND_LEAST)
    for _ in range(9):
        rounds.answered(lost=0)
    rounds.begin(1000)
    assert not rounds.due(1000 + ROUND - 1)
    rounds.needless()
    assert not rounds.due(1 << 40)


def begun(window: int) -> Link:
    link = Link(Window(window, 4096))
    link.begin(Script([b"G1 X%d" % number for number in range(5000)]), 0.0)
    link.receive(b"ok\n", 0.001)
    link.receive(b"Resend: 1\nok\n", 0.002)
    link.take()
    return link


def test_lost_oks_are_found_in_passing_and_the_window_is_whole_again() -> None:
    link, at, lines, narrowest = begun(4), 1.0, 0, 4
    queue = deque(b"N%d" % number for number in range(1, 5))
    asked_before = link.tally.questions
    while lines < 4 * ROUND:
        at += 0.004
        command = queue.popleft()
        lines += command.startswith(b"N")
        answer = b"ok T:200.0 /200.0 B:60.0 /60.0 @:0\n" if command == b"M105" else b"ok\n"
        link.receive(b"" if lines in (100, 200) else answer, at)
        queue.extend(filter(None, link.take().split(b"\n")))
        narrowest = min(narrowest, len(queue))
    assert link.tally.questions == asked_before, "nothing stood still long enough to be suspected"
    assert link.tally.lost_oks == 2
    assert narrowest == 2
    assert len(queue) == 4


def test_one_line_at_a_time_is_never_asked_in_passing() -> None:
    link, at = begun(1), 1.0
    for _ in range(3 * ROUND):
        at += 0.01
        link.receive(b"ok\n", at)
        assert QUESTION not in link.take()
