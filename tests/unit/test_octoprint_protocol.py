"""Reading OctoPrint: every state it is known to have, and any nonsense it may send."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Busy, DriverError, Outcome, Phase, Refused, Temperature, Unauthorized, Unreachable
from drivers.octoprint.protocol import (
    Changed,
    Current,
    Ignored,
    ReauthRequired,
    auth_message,
    read_job,
    read_outcome,
    read_push,
    read_rights,
    read_temperatures,
    refusal,
    remote_path,
    subscription,
    token_of,
)

JOB_FIELDS = ["state", "text", "error", "job", "file", "path", "origin", "progress", "completion", "filepos", "printTimeLeft"]
PUSH_FIELDS = ["current", "event", "type", "temps", "temperature", "tool0", "actual", "target", "reauthRequired"]
FIELDS = [*JOB_FIELDS, *PUSH_FIELDS, "prints", "last", "success", "needs", "role"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)


def job(
    state: object, completion: object = None, path: object = "farmd/t-1.gcode", origin: object = "local", **more: Any
) -> dict[str, Any]:
    file = {"path": path, "name": "t-1.gcode", "origin": origin}
    return {
        "state": state,
        "job": {"file": file},
        "progress": {"completion": completion, "filepos": 7, "printTimeLeft": 61},
        **more,
    }


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("Operational", Phase.IDLE),
        ("Starting", Phase.PRINTING),
        ("Printing", Phase.PRINTING),
        ("Printing from SD", Phase.PRINTING),
        ("Pausing", Phase.PRINTING),
        ("Paused", Phase.PAUSED),
        ("Resuming", Phase.PRINTING),
        ("Finishing", Phase.PRINTING),
        ("Cancelling", Phase.STOPPING),
        ("Sending file to SD", Phase.BUSY),
        ("Transferring file to SD", Phase.BUSY),
        ("Offline", Phase.OFFLINE),
        ("Connecting", Phase.OFFLINE),
        ("Opening serial connection", Phase.OFFLINE),
        ("Detecting serial connection", Phase.OFFLINE),
        ("Offline after error", Phase.ERROR),
        ("Error", Phase.ERROR),
        ("Error: Serial exception", Phase.ERROR),
        ("Offline (Error: Too many consecutive timeouts)", Phase.ERROR),
    ],
)
def test_every_state_has_a_phase(state: str, phase: Phase) -> None:
    assert read_job(job(state)).phase is phase


@pytest.mark.parametrize("state", ["Printing", "Finishing", "Pausing", "Cancelling", "Paused", "Offline", "Error"])
def test_a_hundred_percent_is_not_finished_until_the_machine_rests(state: str) -> None:
    assert read_job(job(state, 100.0)).phase is not Phase.FINISHED


def test_finished_is_at_rest_with_our_file_complete() -> None:
    report = read_job(job("Operational", 100.0))
    assert (report.phase, report.token, report.progress) == (Phase.FINISHED, "t-1", 1.0)


@pytest.mark.parametrize(
    "answer",
    [
        job("Operational", 100.0, path="by-hand.gcode"),
        job("Operational", 100.0, origin="sdcard"),
        job("Operational", None),  # cancelled, or selected and not yet begun
        job("Operational", 99.99),
        job("Operational", -100),  # what an empty file leaves
        job("Operational", "100"),
        job("Operational", True),
        job("Operational", 100.0, path=None),
    ],
)
def test_anything_less_is_idle(answer: dict[str, Any]) -> None:
    assert read_job(answer).phase is Phase.IDLE


@pytest.mark.parametrize(
    "answer", [None, [], "Operational", {}, {"state": None}, {"state": 5}, {"state": "Contemplating"}, {"state": ""}]
)
def test_what_cannot_be_understood_has_no_phase_and_shows_as_offline(answer: object) -> None:
    report = read_job(answer)
    assert report.phase is None
    assert not report.active
    snapshot = report.snapshot(3, {})
    assert (snapshot.phase, snapshot.epoch) == (Phase.OFFLINE, 3)
    assert snapshot.message


def test_the_figures_of_a_print() -> None:
    report = read_job(job("Printing", 41.5))
    assert (report.progress, report.position, report.seconds_left, report.file) == (0.415, 7, 61, "farmd/t-1.gcode")
    assert report.active


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("Thermal Runaway", "Thermal Runaway"),
        ("", "Offline after error"),
        (None, "Offline after error"),
        (4, "Offline after error"),
    ],
)
def test_an_error_is_told_in_the_machines_words(error: object, message: str) -> None:
    assert read_job(job("Offline after error", error=error)).message == message


def test_a_closed_link_to_the_machine_says_so() -> None:
    message = read_job(job("Offline")).message
    assert message is not None
    assert "not connected to its printer" in message


@given(json_values)
def test_reading_never_raises_and_never_invents_a_print(answer: object) -> None:
    report = read_job(answer)
    snapshot = report.snapshot(1, read_temperatures(answer))
    assert snapshot.progress is None or 0 <= snapshot.progress <= 1
    assert snapshot.position is None or snapshot.position >= 0
    if snapshot.active or snapshot.phase is Phase.FINISHED:
        assert isinstance(answer, dict)
        assert isinstance(answer["state"], str)
    read_outcome(answer)
    read_rights(answer)
    read_push(json.dumps(answer))


@given(st.text() | st.binary())
def test_a_push_of_any_bytes_is_read_without_raising(message: str | bytes) -> None:
    read_push(message)


def test_pushed_messages() -> None:
    state = {"text": "Printing", "flags": {"printing": True}, "error": ""}
    current = {"state": state, **{key: value for key, value in job("x", 50.0).items() if key != "state"}}
    current["temps"] = [
        {"time": 1, "bed": {"actual": 9}},
        {"time": 2, "bed": {"actual": 60.2, "target": 60}, "chamber": {"actual": None}},
    ]
    pushed = read_push(json.dumps({"current": current}))
    assert isinstance(pushed, Current)
    assert (pushed.report.phase, pushed.report.token, pushed.report.progress) == (Phase.PRINTING, "t-1", 0.5)
    assert pushed.temperatures == {"bed": Temperature(60.2, 60.0)}
    assert read_push('{"event": {"type": "PrintDone", "payload": {}}}') == Changed("PrintDone")
    assert read_push('{"event": {"type": "ClientOpened"}}') == Ignored()
    assert read_push('{"reauthRequired": {"reason": "stale"}}') == ReauthRequired()
    for other in ('{"connected": {}}', '{"history": {}}', '{"plugin": {}}', "[]", "h", ""):
        assert read_push(other) == Ignored()


def test_what_is_subscribed_is_what_is_read() -> None:
    subscribe, throttle = subscription(4)
    for event in json.loads(subscribe)["subscribe"]["events"]:
        assert read_push(json.dumps({"event": {"type": event}})) == Changed(event)
    assert json.loads(throttle) == {"throttle": 4}
    assert json.loads(auth_message("farmd", "s")) == {"auth": "farmd:s"}


@given(st.from_regex(r"[A-Za-z0-9-]{1,120}", fullmatch=True))
def test_a_token_survives_the_way_there_and_back(token: str) -> None:
    assert token_of(remote_path(token)) == token


@pytest.mark.parametrize("token", ["", "a b", "a/b", "../a", "a.gcode", "ü", "a\n", "x" * 121])
def test_a_token_outside_the_alphabet_is_refused(token: str) -> None:
    with pytest.raises(Refused, match="letters, digits and dashes"):
        remote_path(token)


@pytest.mark.parametrize(
    "path",
    [
        None,
        5,
        "",
        "t-1.gcode",
        "farmd/t-1",
        "farmd/a/t-1.gcode",
        "x/farmd/t-1.gcode",
        "farmd/.gcode",
        "FARMD/t-1.gcode",
        "farmd/t-1.gcode\n",
    ],
)
def test_only_our_own_folder_gives_a_token(path: object) -> None:
    assert token_of(path) is None


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"prints": {"success": 1, "failure": 0, "last": {"success": True}}}, Outcome.SUCCEEDED),
        ({"prints": {"success": 0, "failure": 1, "last": {"success": False}}}, Outcome.FAILED),
        ({"prints": {"success": 1, "failure": 1, "last": {"success": False}}}, Outcome.FAILED),
        ({"prints": {"success": 1}}, None),
        ({"prints": {"last": {"success": "true"}}}, None),
        ({"prints": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_last_print_of_a_file_is_its_outcome(answer: object, outcome: Outcome | None) -> None:
    assert read_outcome(answer) is outcome


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "CSRF validation failed"}', Unauthorized),
        (400, b'{"error": "port is invalid"}', Refused),
        (401, b"", Unauthorized),
        (403, b'{"error": "no"}', Unauthorized),
        (404, b"", Refused),
        (409, b'{"error": "Printer is already printing"}', Busy),
        (413, b"<html>", Refused),
        (415, b"", Refused),
        (302, b"", Refused),
        (408, b"", Unreachable),
        (429, b"", Unreachable),
        (500, b"Traceback", Unreachable),
        (502, b"<html>Bad Gateway</html>", Unreachable),
        (503, b"\xff\xfe", Unreachable),
    ],
)
def test_an_unwelcome_answer_has_its_kind(status: int, body: bytes, kind: type[DriverError]) -> None:
    error = refusal(status, body, "start x")
    assert type(error) is kind
    assert "start x" in str(error) or kind is Unauthorized
    assert "<html>" not in str(error)


@given(st.integers(300, 599), st.binary(max_size=300))
def test_any_answer_becomes_an_error_of_bounded_length(status: int, body: bytes) -> None:
    error = refusal(status, body, "start x")
    assert isinstance(error, DriverError)
    assert len(str(error)) < 400
    if status >= 500:
        assert isinstance(error, Unreachable), "a fault of the server proves nothing about the command"
