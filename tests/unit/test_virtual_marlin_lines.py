"""The rules by which a board takes a line or refuses it, in their order."""

import pytest

from drivers.virtual.marlin import Board
from drivers.virtual.marlin.lines import clean
from tests.serial_bench import Bench, framed

OK = ["ok"]


@pytest.fixture
def bench():
    """A board that has executed line 5."""
    bench = Bench()
    bench.send(framed(5, "M110 N5"))
    assert bench.wait(1) == OK
    return bench


def refused(error, last, again):
    return [f"Error:{error}, Last Line: {last}", f"Resend: {again}", "ok"]


def test_a_numbered_line_is_executed_once_and_its_payload_is_what_was_sent(bench):
    assert bench.ask(framed(6, "G1 X1.50 F600")) == OK
    assert bench.firmware.record.executed == [b"M110 N5", b"G1 X1.50 F600"]
    assert bench.firmware.record.numbered == [b"G1 X1.50 F600"]


@pytest.mark.parametrize("number", [5, 4])
def test_the_last_two_lines_again_are_dropped_without_a_word(bench, number):
    assert bench.ask(framed(number, "G1 X9")) == []
    assert bench.firmware.record.count == 1


@pytest.mark.parametrize("number", [3, 7, 1000])
def test_any_other_number_is_asked_for_again(bench, number):
    assert bench.ask(framed(number, "G1 X9")) == refused("Line Number is not Last Line Number+1", 5, 6)


def test_a_wrong_checksum_and_a_missing_one(bench):
    assert bench.ask(b"N6 G1 X1*1\n") == refused("checksum mismatch", 5, 6)
    assert bench.ask(b"N6 G1 X1\n") == refused("No Checksum with line number", 5, 6)
    assert bench.firmware.resends == 2
    assert bench.firmware.record.count == 1


def test_the_number_is_judged_before_the_checksum(bench):
    assert bench.ask(b"N8 G1 X1*1\n") == refused("Line Number is not Last Line Number+1", 5, 6)
    assert bench.ask(b"N5 G1 X1*1\n") == []


def test_a_line_without_a_number_needs_no_checksum_and_disturbs_no_count(bench):
    assert bench.ask("M117 hello") == OK
    assert bench.ask(framed(6, "M117 more")) == OK


def test_m110_takes_the_number_behind_it(bench):
    assert bench.ask(b"N0 M110 N0*125\n") == OK
    assert bench.ask(framed(1, "M117 a")) == OK
    assert bench.ask("M110") == ["Line: 1", "ok"]


def test_m110_that_is_executed_late_turns_the_count_back(bench):
    """The number is set when the line is read and once more when it is executed: lines sent right behind it are asked for again."""
    bench.send("G4 P500", b"N0 M110 N0*125\n", framed(1, "M117 a"))
    assert bench.wait(2) == ["ok"] * 3
    assert bench.ask(framed(2, "M117 b")) == refused("Line Number is not Last Line Number+1", 0, 1)


@pytest.mark.parametrize("line", ["", "; only a comment", "\r"])
def test_nothing_gets_no_ok(bench, line):
    assert bench.ask(line) == []


def test_comments_escapes_and_backspaces(bench):
    assert bench.ask("  M118 a;b") == ["a", "ok"]
    assert clean(b"M118 a\\;b") == b"M118 a;b"
    assert clean(b"M118 ax\x08b") == b"M118 ab"


def test_a_long_line_loses_its_end_and_with_it_its_checksum(bench):
    assert bench.ask("M118 " + "x" * 145) == ["x" * 90, "ok"]
    assert bench.ask(framed(6, "M118 " + "x" * 100)) == refused("No Checksum with line number", 5, 6)


def test_lower_case_is_unknown_and_still_acknowledged(bench):
    assert bench.ask("g1 x1") == ['echo:Unknown command: "g1 x1"', "ok"]
    assert bench.ask("M9876 S1") == ['echo:Unknown command: "M9876 S1"', "ok"]
    assert Bench(Board(case_insensitive=True)).ask("g28 x", seconds=9)[-1] == "ok"


def test_words_without_blanks_are_read_too(bench):
    assert bench.ask("G1X7Y3F6000", "M114")[-2].startswith("X:7.00 Y:3.00")


def test_an_error_throws_away_what_came_until_it_was_out(bench):
    """Lines in flight behind a damaged one are gone or draw errors of their own; none is executed out of order."""
    bench.send(b"N6 G1 X1*1\n", framed(7, "G1 X2"), framed(8, "G1 X3"), framed(9, "G1 X4"), framed(10, "G1 X5"))
    said = bench.wait(1)
    assert said[:3] == refused("checksum mismatch", 5, 6)
    assert [text for text in said if text.startswith("Error")] == [said[0], said[3]]  # 7 and 8 are gone, 9 in part, 10 is told
    assert bench.firmware.record.numbered == []
    bench.send(framed(6, "G1 X1"), framed(7, "G1 X2"))
    assert bench.wait(1) == OK * 2


def test_bytes_that_find_no_room_are_lost_only_on_a_uart():
    lines = [framed(number, f"G1 X{number} Y{number} E{number} F600") for number in range(1, 12)]
    for native, lost in ((False, True), (True, False)):
        bench = Bench(Board(native_usb=native, cold_extrusion=True))
        bench.send("G4 S5")
        bench.wait(0.1)
        bench.send(*lines)
        bench.wait(20)
        assert (bench.firmware.dropped > 0) is lost
        executed = bench.firmware.record.count - 1
        assert executed == 11 if not lost else 3 <= executed < 11


def test_exactly_the_ring_fits_behind_full_slots():
    """127 bytes of a 128-byte ring hold while all four slots are taken; one more is dropped."""
    for size, dropped in ((127, 0), (128, 1)):
        bench = Bench()
        bench.send("G4 S2", "G4 P1", "G4 P1", "G4 P1")
        bench.wait(0.5)
        bench.send(b"M117 " + b"x" * 58 + b"\n" + b"M117 " + b"y" * (size - 70) + b"\n")
        bench.wait(5)
        assert bench.firmware.dropped == dropped


def test_the_byte_clock_paces_both_directions():
    bench = Bench(Board(baud=115_200))
    bench.send(framed(1, "M117 x"))
    bench.wait(1)
    sent, answered = len(framed(1, "M117 x")), len("ok\n")
    assert bench.when("ok") == pytest.approx((sent + answered) * 10 / 115_200)
    bench.send("M117 x")
    bench.send("M117 y")  # waits on the wire for the one before
    bench.wait(1)
    assert bench.when("ok") == pytest.approx(1 + (2 * len("M117 x\n") + answered) * 10 / 115_200)
    usb = Bench(Board(native_usb=True))
    usb.send(framed(1, "M117 x"))
    assert usb.said == [(0.0, "ok")]


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_a_line_may_come_in_pieces(pieces):
    bench, line = Bench(), framed(1, "G1 X10 Y10 F6000")
    for start in range(0, len(line), pieces):
        bench.send(line[start : start + pieces])
        bench.wait(0.01)
    assert bench.firmware.record.executed == [b"G1 X10 Y10 F6000"]
