"""Replies of printers with bytes flipped, cut out and put in, and with a wrong type in any field: what reads them never fails in a
way it does not declare, and never takes a print that still runs for a finished one.

The replies are real in shape and of a print under way, so that one spoilt place is all that stands between truth and nonsense.
"""

import copy
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.bambu.faults import hms_faults, print_fault
from drivers.bambu.frames import read_frame
from drivers.bambu.packets import Overlong, Packets
from drivers.bambu.prints import read_entries
from drivers.bambu.trays import awaited, feeding, spools_of
from drivers.contract import Outcome, Phase
from drivers.gcode.replies import Lines, SdPrint, read
from drivers.gcode.session import Ending
from drivers.gcode.session import Phase as Held
from drivers.octoprint.protocol import Current, read_job, read_outcome, read_push, read_rights, read_temperatures
from tests.serial_session import SerialBench
from tests.unit.test_bambu_session import OURS, REST, running

FILE = {"path": "farmd/t-1.gcode", "name": "t-1.gcode", "origin": "local", "size": 1000}
JOB = {
    "state": "Printing",
    "error": "",
    "job": {"file": FILE, "estimatedPrintTime": 60.5},
    "progress": {"completion": 40.5, "filepos": 400, "printTime": 20, "printTimeLeft": 30},
}
HEAT = {"tool0": {"actual": 200.1, "target": 200, "offset": 0}, "bed": {"actual": 60.0, "target": 60, "offset": 0}}
PUSH = {"current": JOB | {"state": {"text": "Printing", "flags": {"printing": True}, "error": ""}, "temps": [HEAT | {"time": 1}]}}
TRAY = {"id": "0", "tray_type": "PLA", "tray_color": "1A1A1AFF", "remain": 55, "tray_info_idx": "GFA00"}
REPORT = {
    **REST,
    **OURS,
    "gcode_state": "RUNNING",
    "mc_percent": 40,
    "layer_num": 12,
    "mc_remaining_time": 30,
    "stg_cur": 0,
    "hms": [{"attr": 50331904, "code": 65543}],
    "ams": {"ams": [{"id": "0", "tray": [TRAY]}], "tray_now": "0", "tray_tar": "0", "ams_exist_bits": "1", "tray_exist_bits": "1"},
    "vt_tray": TRAY | {"id": "254"},
    "home_flag": 256,
}
DIALOGUE = (
    b"start\necho:Marlin 2.1.2\nok N12 P15 B3\nok\nResend: 6\n T:200.1 /200.0 B:60.0 /60.0 @:0 B@:0\necho:busy: processing\n"
    b"X:1.00 Y:2.00 Z:0.30 E:4.00 Count X:80 Y:160 Z:120\nSD printing byte 123/1000\nCap:AUTOREPORT_TEMP:1\n//action:pause\n"
    b"FIRMWARE_NAME:Marlin 2.1.2 PROTOCOL_VERSION:1.0 MACHINE_TYPE:Ender-3\nError:checksum mismatch, Last Line: 5\n"
)
# The text "100" is not the number, and true is not 1. The one word for a finished print is not garbage, and is never among them.
NONSENSE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    100,
    2**70,
    1.5,
    float("inf"),
    float("-inf"),
    float("nan"),
    "",
    "100",
    "\x00ü",
    [],
    [[]],
    {},
]
NONSENSE += [[1, None, "x"], {"id": {}}, {"": []}, [{"id": None}, {"id": []}, 7]]


def places(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every field of a reply, at any depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way for key, one in inner for way in ((*before, key), *places(one, (*before, key)))]


def spoilt(whole: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """A copy with other things at these places; a place that an earlier change took away stays away."""
    reply = copy.deepcopy(whole)
    for way, other in changes:
        at = reply
        try:
            for key in way[:-1]:
                at = at[key]
            at[way[-1]] = copy.deepcopy(other)
        except (KeyError, IndexError, TypeError):
            continue
    return reply


def one_by_one(whole: Any) -> list[Any]:
    return [spoilt(whole, [(way, other)]) for way, other in itertools.product(places(whole), NONSENSE)]


def several(whole: Any) -> st.SearchStrategy[Any]:
    change = st.tuples(st.sampled_from(places(whole)), st.sampled_from(NONSENSE))
    return st.lists(change, min_size=2, max_size=5).map(lambda changes: spoilt(whole, changes))


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """The bytes with some of them flipped, cut out or put in, anywhere."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at, kind = draw(st.integers(0, len(data))), draw(st.sampled_from(["flip", "cut", "put", "end"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "put":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "end":
            del data[at:]
    return bytes(data)


# --- OctoPrint ---


def octoprint_reads(answer: Any) -> None:
    report = read_job(answer)
    assert report.phase is not Phase.FINISHED, answer
    assert report.snapshot(1, read_temperatures({"temperature": answer})).phase is not Phase.FINISHED
    assert read_outcome(answer) is None
    read_rights(answer)


def octoprint_hears(message: str | bytes) -> None:
    pushed = read_push(message)
    assert not isinstance(pushed, Current) or pushed.report.phase is not Phase.FINISHED, message


def test_a_wrong_type_in_any_field_of_octoprints_ends_no_print() -> None:
    for answer in one_by_one(JOB):
        octoprint_reads(answer)
    for message in one_by_one(PUSH):
        octoprint_hears(json.dumps(message))


def test_an_octoprint_at_rest_has_finished_nothing_by_a_number_that_is_none() -> None:
    resting = JOB | {"state": "Operational"}
    for other in (each for each in NONSENSE if each != 100):
        answer = spoilt(resting, [(("progress", "completion"), other)])
        octoprint_reads(answer)
        assert read_job(answer).progress is None or (type(other) in (int, float) and 0 <= other < 100), other
    finished = spoilt(resting, [(("progress", "completion"), 100.0)])
    assert read_job(finished).phase is Phase.FINISHED
    for way in (("job",), ("job", "file"), ("job", "file", "path"), ("job", "file", "origin")):
        for other in NONSENSE:
            octoprint_reads(spoilt(finished, [(way, other)]))


@settings(max_examples=150, deadline=None)
@given(several(JOB), several(PUSH), damaged(json.dumps(PUSH).encode()))
def test_octoprint_spoilt_in_several_places(answer: Any, message: Any, data: bytes) -> None:
    octoprint_reads(answer)
    octoprint_hears(json.dumps(message))
    octoprint_hears(data)


# --- Bambu ---


def bambu_hears(*payloads: bytes) -> None:
    """A print of ours that runs hears these, and then lives on: nothing of it has ended well."""
    printer = running()
    for payload in payloads:
        read_frame(payload)
        printer.session.receive(payload, printer.now)
        assert printer.look().phase is not Phase.FINISHED, payload
        printer.passes(1)
    printer.passes(60)
    assert printer.look().phase is not Phase.FINISHED, payloads
    assert printer.outcome() is not Outcome.SUCCEEDED, payloads


def report(fields: Any, msg: Any = 1) -> bytes:
    return json.dumps({"print": {"command": "push_status", "msg": msg, **fields}}).encode()


def test_a_wrong_type_in_any_field_of_a_bambu_ends_no_print() -> None:
    for fields in one_by_one(REPORT):
        bambu_hears(report(fields), report(fields, 0))


def test_a_wrong_type_where_a_bambu_keeps_its_sections_ends_no_print() -> None:
    whole = json.loads(report(REPORT))
    for other in NONSENSE:
        for change in ((("print",), other), (("print", "command"), other), (("print", "msg"), other)):
            bambu_hears(json.dumps(spoilt(whole, [change])).encode())


@settings(max_examples=120, deadline=None)
@given(several(REPORT), damaged(report(REPORT)), st.sampled_from([0, 1]))
def test_a_bambu_spoilt_in_several_places(fields: Any, data: bytes, msg: int) -> None:
    bambu_hears(report(fields, msg), data, report(fields, msg))


@settings(max_examples=150, deadline=None)
@given(several(REPORT), st.sampled_from(NONSENSE))
def test_the_small_readers_of_a_bambu_take_anything(fields: Any, other: Any) -> None:
    for read_as in (spools_of, feeding, awaited):
        read_as(fields)
    for read_value in (print_fault, hms_faults, read_entries):
        read_value(other)


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(0, 300), max_size=8))
def test_packets_are_the_same_wherever_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    def packet(body: bytes) -> bytes:
        return bytes([0x30, len(body) + 3]) + b"\x00\x01t" + body

    stream, packets, found = b"".join(map(packet, bodies)), Packets(), []
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in itertools.pairwise(edges):
        packets.feed(stream[start:end])
        while (taken := packets.take()) is not None:
            found.append(taken)
    assert found == [(True, body) for body in bodies]


@given(st.binary(max_size=400))
def test_a_stream_of_any_bytes_is_cut_or_refused(stream: bytes) -> None:
    packets, taken = Packets(), 0
    packets.feed(stream)
    try:
        while packets.take() is not None:
            taken += 1
    except Overlong:
        pass
    assert taken <= len(stream) // 2


# --- serial ---


@settings(max_examples=300, deadline=None)
@given(damaged(DIALOGUE), st.integers(1, 50))
def test_a_damaged_dialogue_is_read_to_its_end(data: bytes, size: int) -> None:
    lines = Lines()
    for start in range(0, len(data), size):
        for line in lines.feed(data[start : start + size]):
            reply = read(line)
            assert not isinstance(reply, SdPrint) or reply.size is None or reply.position is not None


@settings(max_examples=25, deadline=None)
@given(st.lists(damaged(DIALOGUE.replace(b"start\n", b"").replace(b"ok\n", b"")), min_size=1, max_size=3), st.integers(1, 30))
def test_noise_on_a_serial_line_never_makes_a_print_that_is_not_there(noise: list[bytes], moves: int) -> None:
    part = [b"G28", *(b"G1 X%d Y%d F3600" % (50 + number, 60) for number in range(40))]
    with tempfile.TemporaryDirectory() as folder:
        bench = SerialBench(Path(folder)).ready()
        bench.print(part)
        for data in noise:
            bench.until(lambda: bench.session.phase is not Held.PRINTING or len(bench.firmware.record.numbered) >= moves)
            bench.session.receive(data + b"\n", bench.now)
            bench.touch()
        bench.until(lambda: bench.session.job is None or bench.session.phase is Held.HELD)  # a pause that was asked for is one
        if bench.session.ended is Ending.SUCCEEDED:
            made = [line for line in bench.firmware.record.numbered if line.startswith(b"G1 X")]
            assert made == part[1:]
