"""What Marlins say, in the spellings that were seen, whole and broken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.gcode.machine import Machine, Prompt
from drivers.gcode.replies import (
    MAX_LINE,
    Action,
    Busy,
    Capable,
    Failing,
    Failure,
    Firmware,
    Heat,
    Idle,
    Lines,
    Ok,
    Other,
    Position,
    Report,
    Resend,
    SdPrint,
    Started,
    Unknown,
    read,
)

ROOM = {"T": Heat(19.38, 0.0), "B": Heat(19.38, 0.0)}


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"ok", Ok()),
        (b"ok N12 P15 B3", Ok(12, 15, 3)),
        (b"ok P15 B3", Ok(None, 15, 3)),
        (b"ok X:1.5 Y:2.0 Z:0.3 E:4 Count: A:150 B:200 C:30", Ok(axes={"X": 1.5, "Y": 2.0, "Z": 0.3, "E": 4.0})),
        (b"X:0.00 Y:0.00 Z:0.000 E:0.0000", Position({"X": 0.0, "Y": 0.0, "Z": 0.0, "E": 0.0})),
        (b"Error: expected line 5 got 6", Failure(Failing.LINE, "Error: expected line 5 got 6")),
        (b"ok T:19.38 /0.00 B:19.38 /0.00 @:0 B@:0", Ok(heat=ROOM)),
        (b" T:19.38 /0.00 B:19.38 /0.00 @:0 B@:0", Report(ROOM)),
        (b"T:19.38 /0.00 B:19.38 /0.00 @:0 B@:0 W:?", Report(ROOM)),
        (b"T:21.30/ 0.00", Report({"T": Heat(21.3, 0.0)})),
        (
            b"T:20.0 /200.0 T0:20.0 /200.0 T1:-15.00 /0.0 C:30.1 /0",
            Report({"T": Heat(20, 200), "T0": Heat(20, 200), "T1": Heat(-15, 0), "C": Heat(30.1, 0)}),
        ),
        (b"Resend: 6", Resend(6)),
        (b"Resend:6", Resend(6)),
        (b"rs 6", Resend(6)),
        (b"rs N6", Resend(6)),
        (b"Resend: ", Resend(None)),
        (b"Resend: 99999999999", Resend(None)),
        (b"echo:busy: processing", Busy(False)),
        (b"echo:busy: paused for user", Busy(True)),
        (b"busy: paused for input", Busy(True)),
        (b"wait", Idle()),
        (b"start", Started()),
        (b"Marlin 2.1.2", Started()),
        (b"echo:Marlin 1.1.9", Started()),
        (b" Watchdog Reset", Started()),
        (b"Marlinspike", Other("Marlinspike")),
        (b"X:7.00 Y:1.50 Z:-0.10 E:0.00 Count X:560 Y:0 Z:0", Position({"X": 7.0, "Y": 1.5, "Z": -0.1, "E": 0.0})),
        (b"SD printing byte 12/3456", SdPrint(12, 3456)),
        (b"Not SD printing", SdPrint()),
        (b"Done printing file", SdPrint()),
        (b'echo:Unknown command: "g1 x1"', Unknown("g1 x1")),
        (b"//action:prompt_begin wait for it", Action("prompt_begin", "wait for it")),
        (b"// action:pause", Action("pause", "")),
        (b"//something else", Other("//something else")),
        (b"Cap:AUTOREPORT_TEMP:1", Capable("AUTOREPORT_TEMP", True)),
        (b"Cap:EEPROM:0", Capable("EEPROM", False)),
        (b"okay", Other("okay")),
        (b"okok", Other("okok")),
        (b"nk", Other("nk")),
        (b"", Other("")),
    ],
)
def test_a_line(line: bytes, reply: object) -> None:
    assert read(line) == reply


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"Error:checksum mismatch, Last Line: 5", Failing.LINE),
        (b"Error:No Checksum with line number, Last Line: 5", Failing.LINE),
        (b"Error:Line Number is not Last Line Number+1, Last Line: 5", Failing.LINE),
        (b"Error:Printer halted. kill() called!", Failing.HALTED),
        (b"Error:Thermal Runaway, system stopped! Heater_ID: 0", Failing.HALTED),
        (b"Error:MAXTEMP triggered, system stopped! Heater_ID: bed", Failing.HALTED),
        (b"!!", Failing.HALTED),
        (b"fatal: it burns", Failing.HALTED),
        (b"Error:Printer stopped due to errors. Fix the error and use M999 to restart.", Failing.STOPPED),
        (b"echo: cold extrusion prevented", Failing.COLD),
        (b"Error:Probing Failed", Failing.OTHER),
    ],
)
def test_an_error_is_judged_by_its_words(line: bytes, kind: Failing) -> None:
    assert read(line) == Failure(kind, line.decode())


def test_the_firmware_names_itself_with_blanks_and_semicolons() -> None:
    found = read(
        b"FIRMWARE_NAME:Marlin Ver 1.0; V2 (x) SOURCE_CODE_URL:a.b/c PROTOCOL_VERSION:1.0 MACHINE_TYPE:Ender 3 EXTRUDER_COUNT:2"
    )
    assert isinstance(found, Firmware)
    assert found.name == "Marlin Ver 1.0; V2 (x)"
    assert found.fields["MACHINE_TYPE"] == "Ender 3"
    assert found.fields["EXTRUDER_COUNT"] == "2"


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(line: bytes) -> None:
    read(line)
    for start in (b"ok ", b"Resend:", b"T:", b"SD printing byte 1/", b"FIRMWARE_NAME:", b"//action:", b"Cap:", b"Error:", b"X:"):
        read(start + line)


def test_numbers_without_end_are_none() -> None:
    for start in (b"ok N", b"Resend: ", b"T:", b"SD printing byte ", b"X:"):
        read(start + b"9" * 6000 + b"/9 Count")


@given(st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")), max_size=8), st.integers(1, 7))
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], step: int) -> None:
    data, cut = b"".join(line + b"\r\n" for line in lines), Lines()
    found = [line for at in range(0, len(data), step) for line in cut.feed(data[at : at + step])]
    assert found == [line for line in lines if line]


def test_what_has_no_end_is_dropped() -> None:
    lines = Lines()
    assert lines.feed(b"x" * 10 * MAX_LINE) == []
    assert lines.feed(b"y\nok\n") == [b"ok"]
    lines.feed(b"half")
    lines.clear()
    assert lines.feed(b"ok\n") == [b"ok"]


def told(*lines: bytes) -> Machine:
    machine = Machine()
    for line in lines:
        machine.note(read(line), 0.0)
    return machine


def test_a_machine_is_what_it_says() -> None:
    machine = told(
        b"FIRMWARE_NAME:Marlin 2.1 EXTRUDER_COUNT:1",
        b"Cap:ARCS:0",
        b"T:20 /200 B:20 /0",
        b"X:1.0 Y:2.0 Count",
        b"SD printing byte 1/2",
    )
    assert machine.marlin
    assert machine.able == {"ARCS": False}
    assert machine.targets == {"T": 200.0}
    assert machine.position == {"X": 1.0, "Y": 2.0}
    assert machine.sd == SdPrint(1, 2)
    assert machine.stranger() is None


@pytest.mark.parametrize(("line", "words"), [(b"Grbl 1.1h ['$' for help]", "grbl"), (b"FIRMWARE_NAME:Klipper", "Klipper")])
def test_what_is_no_printer_of_ours(line: bytes, words: str) -> None:
    assert words in (told(line).stranger() or "")


def test_noise_is_noticed_until_somebody_speaks() -> None:
    assert told(b"\xf8\x80\xfe\x00\xf8").only_noise
    assert not told(b"\xf8\x80\xfe\x00\xf8", b"FIRMWARE_NAME:Marlin").only_noise


def test_prompts_come_and_go() -> None:
    begin = (b"//action:prompt_begin Filament?", b"//action:prompt_button More", b"//action:prompt_choice Done")
    machine = told(*begin, b"//action:prompt_show")
    assert machine.prompt == Prompt("Filament?", ("More", "Done"))
    machine.passed(100.0)
    assert machine.prompt is not None
    for end in (b"//action:prompt_end", b"//action:resumed"):
        machine = told(*begin, b"//action:prompt_show", end)
        assert machine.prompt is None
    waiting = told(b"echo:busy: paused for user", b"echo:busy: processing")
    assert waiting.prompt == Prompt("the machine waits for a person")
    waiting.passed(100.0)
    assert waiting.prompt is None


def test_a_flood_is_not_kept() -> None:
    machine = told(
        *(b"Cap:NOISE_%d:1" % number for number in range(1000)), *[b"//action:prompt_button x"] * 1000, b"//action:prompt_show"
    )
    assert len(machine.able) <= 128
    assert machine.prompt is not None
    assert len(machine.prompt.choices) <= 10
