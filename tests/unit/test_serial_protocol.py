"""The link between a print and a Marlin, line by line and by the clock, without a machine; then against a small model of one."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.gcode import patience
from drivers.gcode.flight import Kind
from drivers.gcode.framing import QUESTION, frame
from drivers.gcode.protocol import Link
from drivers.gcode.sources import Script
from drivers.gcode.tally import CABLE_LINES
from drivers.gcode.window import Window
from drivers.virtual.marlin.lines import Refused, judge

LINES = [b"G1 X%d" % number for number in range(1, 31)]


def begun(lines: list[bytes] = LINES, window: int = 4, first: int = 1, at: float = 0.0) -> Link:
    """A link whose firmware has confirmed the count; the first lines are on their way."""
    link = Link(Window(window))
    link.begin(Script(lines), at, first)
    assert link.take() == frame(first - 1, b"M110 N%d" % (first - 1))
    link.receive(b"ok\n", at)
    assert b" M105*" in link.take()
    answer(link, first, at)
    return link


def answer(link: Link, line: int, now: float) -> None:
    link.receive(b"Error:Line Number is not Last Line Number+1, Last Line: %d\nResend: %d\nok\n" % (line - 1, line), now)


def numbers(data: bytes) -> list[int]:
    return [int(line[1:].split(b" ")[0]) for line in data.splitlines() if line.startswith(b"N")]


def due(link: Link) -> float:
    """Come back when it asks for it."""
    at = link.deadline()
    assert at is not None
    link.tick(at)
    return at


def test_the_firmware_confirms_the_count_before_the_first_line() -> None:
    assert numbers(begun(first=5).take()) == [5, 6, 7, 8]


def test_the_window_holds_lines_and_bytes() -> None:
    link = begun([b"G1 X%s" % (b"1" * 60)] * 9, window=16)
    assert numbers(link.take()) == [1]  # 127 bytes: two would not fit
    link = begun(window=3)
    assert numbers(link.take()) == [1, 2, 3]
    link.receive(b"ok\nok\n", 1.0)
    assert numbers(link.take()) == [4, 5]
    assert link.proven == 2


def test_a_print_is_finished_when_the_firmware_wants_the_line_after_the_last() -> None:
    link = begun(LINES[:2])
    link.take()
    link.receive(b"ok\nok\n", 1.0)
    assert not link.finished
    assert numbers(link.take()) == [8]
    answer(link, 3, 1.1)
    assert link.finished
    assert link.settled
    assert link.deadline() is None


def test_a_line_that_was_lost_at_the_end_is_found_by_the_question() -> None:
    link = begun(LINES[:3])
    link.take()
    link.receive(b"ok\nok\nok\n", 1.0)  # one of them twice
    link.take()
    answer(link, 3, 1.1)
    assert numbers(link.take()) == []  # it was acknowledged: so strange an answer has to be given twice
    due(link)
    link.take()
    answer(link, 3, 2.2)
    assert numbers(link.take()) == [3]
    assert link.tally.resends == 1


def test_one_burst_of_echoes_is_one_rewind() -> None:
    link = begun()
    link.take()
    for at in (1.0, 1.01, 1.02, 1.03):
        answer(link, 2, at)
    assert link.take() == b""
    due(link)
    assert numbers(link.take()) == [2]  # the window is halved, and line 1 has no ok yet
    assert link.tally.resends == 1
    assert link.proven == 1  # it wants the second
    link.receive(b"ok\n", 2.0)
    assert link.proven == 1


def test_a_storm_is_answered_nevertheless() -> None:
    link = begun()
    link.take()
    at = 1.0
    while at < 1.0 + patience.STORM:
        answer(link, 2, at)
        assert link.take() == b""
        at += 0.02
    assert link.deadline() == pytest.approx(1.0 + patience.STORM, abs=0.1)
    due(link)
    assert numbers(link.take()) == [2]


def test_the_ok_after_a_resend_acknowledges_nothing() -> None:
    link = begun()
    link.take()
    answer(link, 2, 1.0)
    assert link.on_its_way == 4
    link.receive(b"ok\n", 1.0)
    assert link.on_its_way == 3


def test_lost_oks_are_found_by_a_question() -> None:
    link = begun(window=2)
    link.take()
    due(link)
    assert link.take() == QUESTION
    link.receive(b"ok T:20.0 /0.0 B:20.0 /0.0 @:0 B@:0\n", 4.0)
    assert numbers(link.take()) == [3, 4]
    assert link.tally.lost_oks == 2


def test_questions_do_not_pile_up_before_a_machine_that_is_slow() -> None:
    link = begun(window=2)
    link.take()
    asked = 0
    while (at := link.deadline()) is not None and at < 250:
        link.receive(b" T:20.0 /0.0\n", at)  # it goes on talking
        link.tick(at)
        asked += link.take() == QUESTION
    assert 4 <= asked <= 6
    link.receive(b"ok T:20.0 /0.0\n", 250)
    assert link.on_its_way == 2  # all questions are off the list with the first answer, and two lines went out


def test_a_machine_that_says_wait_has_lost_oks() -> None:
    link = begun(window=2)
    link.take()
    link.receive(b"wait\n", 1.0)
    assert due(link) <= 1.0
    assert link.take() == QUESTION
    idle = begun(LINES[:1])
    idle.take()
    idle.receive(b"ok\n", 1.0)
    answer(idle, 2, 1.0)
    idle.receive(b"wait\n", 1.1)
    assert idle.deadline() is None


@pytest.mark.parametrize(("busy", "seconds"), [(True, patience.SILENCE), (False, patience.SILENCE_UNTOLD)])
def test_silence_is_a_dead_printer(busy: bool, seconds: float) -> None:
    link = begun()
    link.take()
    if busy:
        link.receive(b"echo:busy: processing\n", 0.0)
    last = 0.0
    while link.trouble is None:
        last = due(link)
    assert seconds <= last <= seconds + patience.PATIENCE
    assert "has not answered" in link.trouble
    assert link.deadline() is None
    link.tick(last + 100)
    link.receive(b"ok\nResend: 2\n", last + 100)
    assert link.take() == b""


def test_silence_before_anything_was_asked_is_none() -> None:
    link = Link(Window())
    link.begin(Script(LINES), 1e6)
    assert due(link) == 1e6 + patience.PATIENCE
    assert link.trouble is None


@pytest.mark.parametrize(("busy", "seconds"), [(True, patience.STUCK), (False, patience.STUCK_UNTOLD)])
def test_a_machine_that_only_tells_temperatures_is_not_waited_for_for_ever(busy: bool, seconds: float) -> None:
    link = begun()
    if busy:
        link.receive(b"busy: processing\n", 0.0)
    at = 0.0
    while link.trouble is None and at < 4000:
        at += 2.0
        link.receive(b" T:200.0 /200.0 B:60.0 /60.0\n", at)
        link.tick(at)
    assert "taken nothing" in (link.trouble or "")
    assert seconds <= at <= seconds + 4


def test_a_machine_that_does_not_count_is_none() -> None:
    link = Link(Window())
    link.begin(Script(LINES), 0.0)
    while link.trouble is None:
        due(link)
    assert "does not take line numbers" in link.trouble
    deaf = begun(LINES[:1])
    deaf.take()
    deaf.receive(b"ok\n", 1.0)
    while deaf.trouble is None:
        due(deaf)
    assert "does not say which line it wants" in deaf.trouble


def test_a_count_that_was_not_heard_is_set_again() -> None:
    link = Link(Window())
    link.begin(Script(LINES), 0.0, 7)
    link.take()
    link.receive(b"Error:checksum mismatch, Last Line: 0\nResend: 1\nok\n", 0.1)
    assert numbers(link.take()) == [6]
    link.receive(b"ok\n", 0.2)
    link.take()
    answer(link, 1, 0.3)  # the question was heard, the count was not
    assert numbers(link.take()) == [6]
    link.receive(b"ok\n", 0.4)
    answer(link, 7, 0.5)
    assert numbers(link.take())[-1] == 7


def test_a_resend_without_a_number_is_asked_about() -> None:
    link = begun()
    link.take()
    link.receive(b"Resend: \nok\n", 1.0)
    assert due(link) == 1.0 + patience.DOUBT
    assert numbers(link.take()) == [10]
    answer(link, 2, 2.1)
    assert numbers(link.take()) == [2, 3]


def test_a_question_about_doubt_waits_for_a_rewind_that_is_under_way() -> None:
    link = begun()
    link.take()
    answer(link, 2, 1.0)
    link.receive(b"Resend: \nok\n", 1.01)
    assert due(link) < 1.1
    assert link.take() == b""  # the doubt stands still
    link.tick(1.2)
    assert due(link) == pytest.approx(1.01 + patience.DOUBT)
    assert numbers(link.take()) == [10]


def advanced(lines: int) -> Link:
    """So many lines are done, and the rest is on its way."""
    link = begun([b"G1 X%d" % number for number in range(1, 101)], window=1)
    link.take()
    link.receive(b"ok\n" * lines, 1.0)
    for _ in range(lines - 1):
        link.take()
        link.receive(b"ok\n", 1.0)
    link.take()
    assert link.proven == lines
    return link


def test_a_lost_digit_ends_no_print() -> None:
    link = advanced(20)
    link.receive(b"Resend: 1\nok\n", 2.0)  # of 21
    assert link.trouble is None
    due(link)
    link.take()
    answer(link, 21, 3.1)
    assert numbers(link.take()) == [21]


def test_a_firmware_that_wants_the_first_line_again_has_started_anew() -> None:
    link = advanced(20)
    answer(link, 1, 2.0)
    while link.trouble is None:
        at = due(link)
        link.take()
        answer(link, 1, at + 0.1)
    assert at < 10
    assert "started anew" in (link.trouble or "")
    assert link.take() == b""


@pytest.mark.parametrize("wanted", [3, 90])
def test_a_count_far_off_ends_the_print(wanted: int) -> None:
    link = advanced(20)
    for at in (2.0, 3.1, 4.2):
        answer(link, wanted, at)
        link.tick(at + patience.DOUBT)
    assert "lost its count" in (link.trouble or "")


def test_a_line_a_little_back_is_believed_when_it_is_named_twice() -> None:
    link = advanced(20)
    for at in (2.0, 3.1, 4.2):
        answer(link, 19, at)
        link.tick(at + patience.DOUBT)
    assert link.trouble is None
    assert link.next in (19, 20)
    assert numbers(link.take())[-1] == 19


def test_a_line_that_is_refused_for_ever_ends_the_print() -> None:
    link = begun()
    at = 1.0
    while link.trouble is None:
        link.take()
        answer(link, 2, at)
        at = due(link) + 1
    assert "line 2 was refused" in link.trouble


def test_a_firmware_that_goes_in_circles_ends_the_print() -> None:
    link = begun(window=4)
    at, wanted = 1.0, 1
    while link.trouble is None and at < 200:
        link.take()
        answer(link, wanted, at)
        if link.deadline() is not None:
            at = due(link) + 1
        wanted = wanted % 3 + 1
    assert "was refused" in (link.trouble or "")


def test_everything_was_taken_after_all() -> None:
    link = begun()
    link.take()
    answer(link, 5, 1.0)  # all four were taken: only the oks are missing
    assert link.on_its_way == 4
    due(link)
    assert link.take() == QUESTION


def test_hold_settles_where_the_firmware_is() -> None:
    link = begun()
    link.take()
    link.receive(b"ok\n", 1.0)
    link.take()
    link.hold(1.0)
    assert not link.settled
    link.receive(b"ok\nok\nok\nok\n", 1.1)
    link.take()
    answer(link, 6, 1.2)
    assert link.settled
    assert link.next == 6
    assert not link.finished
    assert link.take() == b""


def test_hold_before_the_count_is_confirmed_sends_no_line() -> None:
    link = Link(Window(4))
    link.begin(Script(LINES), 0.0, 9)
    link.hold(0.0)
    link.receive(b"ok\n", 0.1)
    answer(link, 9, 0.2)
    link.take()
    answer(link, 9, 0.3)
    assert link.settled
    assert link.next == 9


def test_a_cable_that_was_away_asks_which_line_is_wanted() -> None:
    link = begun()
    link.take()
    link.cut()
    assert link.deadline() is None
    link.hold(1.0)
    link._held = False
    link.recover(2.0)
    assert numbers(link.take()) == [10]
    answer(link, 4, 2.1)
    assert numbers(link.take())[0] == 4
    counting = Link(Window())
    counting.begin(Script(LINES), 0.0)
    counting.cut()
    counting.recover(1.0)
    assert numbers(counting.take())[-1] == 0


def test_a_machine_that_restarted_while_its_cable_was_away_does_not_go_on() -> None:
    link = begun()
    link.take()
    link.cut()
    link.recover(2.0)
    at = 2.1
    while link.trouble is None and at < 60:
        link.take()
        answer(link, 1, at)
        at = link.deadline() or at
        link.tick(at)
    assert "started anew" in (link.trouble or "")


def test_commands_without_a_number_are_bounded() -> None:
    link = Link(Window())
    assert all(link.say(b"M108", 0.0) for _ in range(patience.ASIDES))
    assert not link.say(b"M108", 0.0)
    link.receive(b"ok\n", 0.1)
    assert not link.questioned
    assert link.say(b"M105", 0.1)
    assert link.questioned
    assert link.on_its_way == patience.ASIDES


def test_advanced_ok_names_the_line_and_the_room() -> None:
    link = begun(window=4)
    link.take()
    link.receive(b"ok N2 P14 B3\n", 1.0)
    assert link.proven == 2
    assert link.tally.lost_oks == 1
    link.receive(b"ok N2 P14 B3\n", 1.1)  # again
    assert link.proven == 2
    assert Link(Window()).tally.starved is None


def test_starving_is_time_with_an_empty_planner() -> None:
    link = begun(window=4)
    link.receive(b"ok N1 P15 B3\n", 1.0)
    link.receive(b"ok N2 P15 B3\n", 1.5)
    link.receive(b"ok N3 P3 B3\n", 1.6)
    link.receive(b"ok N4 P15 B3\n", 9.0)
    link.receive(b"echo:busy: processing\n", 10.0)
    link.receive(b"ok N5 P15 B3\n", 20.0)
    assert link.tally.starved == pytest.approx(0.5)


def test_a_bad_cable_is_noticed() -> None:
    link = Link(Window(1))
    link.begin(Script([b"G1"] * 5000), 0.0)
    link._counting = False
    link._flight.clear()
    link.tally.resends = 21
    for _ in range(1 + CABLE_LINES):
        link.receive(b"ok\n", 0.0)
        link.take()
    assert link.tally.bad_cable
    told = link.tally.figures()
    assert (told["lines"], told["resends"], told["bad_cable"]) == (CABLE_LINES, 21, True)
    assert set(told) == {"lines", "resends", "lost_oks", "questions", "starved", "bad_cable"}


def test_noise_costs_neither_memory_nor_time() -> None:
    link = begun()
    link.receive(b"x" * (1 << 20), 1.0)
    assert len(link._lines._rest) <= 4096
    link.receive(b"y" * (1 << 20) + b"\n", 1.1)
    link.receive(bytes(range(256)) * 100, 1.2)
    link.receive(b"ok\n" * 20_000, 1.3)
    assert link.on_its_way <= 64
    assert sum(map(len, link._out)) < 1 << 16


def test_coming_back_too_early_changes_nothing() -> None:
    link = begun()
    link.tick(0.5)
    link.take()
    link.tick(1.0)
    link.receive(b"Resend: \nok\n", 1.0)
    link.tick(1.1)
    answer(link, 2, 1.2)
    link.tick(1.21)
    assert link.take() == b""
    resting = Link(Window())
    resting.tick(9.0)
    resting.receive(b"ok T:20.0 /0.0\n", 9.0)  # nobody asked
    assert resting.take() == b""


# a small model of a firmware


class Model:
    """Takes lines in order, answers as `queue.cpp` does, and spoils what the script says. It is quick: nothing stays on its way."""

    def __init__(self, chances: random.Random, odds: float) -> None:
        self.last = 0
        self.done: list[bytes] = []
        self.chances, self.odds = chances, odds
        self.ring: list[bytes] = []

    def hit(self) -> bool:
        return self.chances.random() < self.odds

    def take(self, data: bytes) -> bytes:
        said = bytearray()
        for line in data.splitlines():
            if self.hit():
                line = self.spoil(line)
            verdict = judge(line, self.last) if line else Refused(b"")
            if isinstance(verdict, Refused):
                if verdict.error:
                    said += b"Error:%b, Last Line: %d\nResend: %d\nok\n" % (verdict.error, self.last, self.last + 1)
                continue
            if verdict.number is not None:
                self.last = verdict.number
                if not verdict.payload.startswith(b"M110"):
                    self.done.append(verdict.payload)
            tail = b" T:20.0 /0.0" if verdict.payload == b"M105" else b""
            said += (b"ok" + tail + b"\n") * self.chances.choice([0, 1, 1, 2] if self.hit() else [1])
        return bytes(said)

    def spoil(self, line: bytes) -> bytes:
        if self.chances.random() < 0.3 or not line.startswith(b"N"):
            return b""
        at = self.chances.randrange(1, len(line))
        return line[:at] + bytes([line[at] ^ 1 << self.chances.randrange(7)]) + line[at + 1 :]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), odds=st.sampled_from([0.0, 0.02, 0.1, 0.2]), count=st.integers(1, 60), window=st.integers(1, 16))
def test_every_line_is_executed_exactly_once_or_the_print_is_given_up(seed: int, odds: float, count: int, window: int) -> None:
    chances = random.Random(seed)
    lines = [b"G1 X%d Y%d" % (number, seed) for number in range(count)]
    model, link, now = Model(chances, odds), Link(Window(window)), 0.0
    link.begin(Script(lines), now)
    for _ in range(20_000):
        flight = [sent for sent in link._flight if sent.kind is Kind.LINE]
        assert sum(sent.size for sent in flight) <= link.window.size or len(flight) == 1
        assert len(flight) <= window
        if link.finished or link.trouble is not None:
            break
        if data := link.take():
            said = model.take(data)
            now += 0.002
            if said:
                cut = chances.randrange(len(said) + 1)
                link.receive(said[:cut], now)
                link.receive(said[cut:], now)
            continue
        at = link.deadline()
        assert at is not None, "waits for nothing"
        now = max(now, at)
        link.tick(now)
    else:
        pytest.fail("no end")
    assert model.done == lines[: len(model.done)]
    if link.trouble is None:
        assert model.done == lines
    assert odds > 0 or link.trouble is None
