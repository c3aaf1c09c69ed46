"""Lines of G-code on their way to a Marlin: what of a file is sent, and that its checksum is right by another reading."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.gcode.framing import LINE_CAP, code, fits, frame, is_text, payload, shortened
from drivers.virtual.marlin.lines import Accepted, clean, judge


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b"G1 X1 Y2\n", b"G1 X1 Y2"),
        (b"G1 X1 ; a comment", b"G1 X1"),
        (b"; only a comment", b""),
        (b"", b""),
        (b"  \t \r\n", b""),
        (b"g1 x1\r\n", b"G1 X1"),
        (b"G1\tX1\t\tY2", b"G1 X1 Y2"),
        (b"N12 G1 X1*45", b"G1 X1"),
        (b"  n12 G1 X1 *45 ; c", b"G1 X1"),
        (b"G1 (out) X1 (back) Y2", b"G1  X1  Y2"),
        (b"G1 X1 (never closed F9000", b"G1 X1"),
        (b"m117 Layer 3 (of 10)", b"M117 Layer 3 (of 10)"),
        (b"M118 E1 Hello", b"M118 E1 Hello"),
        (b"M117", b"M117"),
        (b"M1170 x", b"M1170 X"),
        (b"M117 a\\", b"M117 a"),
        (b"G1 X1\x00\x08Y2", b"G1 X1 Y2"),
        (b"M117 Gr\xc3\xb6\xc3\x9fe", b"M117 Gr\xc3\xb6\xc3\x9fe"),
        (b"t0", b"T0"),
    ],
)
def test_what_is_sent_of_a_line(line: bytes, sent: bytes) -> None:
    assert payload(line) == sent


@pytest.mark.parametrize(
    ("command", "word"), [(b"G1X5", b"G1"), (b"M0112", b"M112"), (b"G00 X1", b"G0"), (b"T1", b"T1"), (b"X1", b""), (b"g28", b"G28")]
)
def test_the_command_word_is_what_the_firmware_reads(command: bytes, word: bytes) -> None:
    assert code(command) == word


@given(st.binary(max_size=80).map(payload), st.integers(1, 10**6))
def test_every_framed_line_is_accepted_by_an_independent_reading(command: bytes, number: int) -> None:
    line = frame(number, command)
    if not command or not fits(number, command):
        return
    text, _, check = line[:-1].rpartition(b"*")
    value = 0
    for byte in text:
        value ^= byte
    assert int(check) == value
    if b"M110" not in command:
        assert judge(clean(line[:-1]), number - 1) == Accepted(command.strip(b" "), number)


@given(st.binary(max_size=200))
def test_a_payload_is_its_own_payload_and_one_line(line: bytes) -> None:
    once = payload(line)
    assert b"\n" not in once
    assert b"\r" not in once
    if once[:1].upper() != b"N" and not is_text(once):
        assert payload(once) == once


@settings(max_examples=40)
@given(st.binary(min_size=1, max_size=150), st.integers(1, 10**7))
def test_a_shortened_text_fits(text: bytes, number: int) -> None:
    command = payload(b"M117 " + text)
    assert len(frame(number, shortened(number, command))) - 1 <= LINE_CAP
