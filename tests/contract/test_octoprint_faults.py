"""The OctoPrint driver against answers a healthy OctoPrint never gives: lost replies, strange bodies, proxies in the way.

What matters is what was sent: a command whose fate is unknown must not be sent again.
"""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from drivers.bench import Watch
from drivers.contract import Busy, DriverError, NotOurs, Outcome, Phase, Refused, RemoteFile, Unauthorized, Unreachable
from drivers.octoprint.driver import OctoPrintDriver
from tests.contract.scripted_server import HANG_UP, Reply, Request, Script, ScriptedServer

KEY = "SCRIPTED-KEY-42"
OURS = RemoteFile("farmd/job-1.gcode", "job-1", 10)
DETAILS = "/api/files/local/farmd/job-1.gcode"


def job(state: str, path: str | None = OURS.path, completion: float | None = 40.0) -> Reply:
    file = {"path": path, "name": path, "origin": "local"}
    return Reply(body={"state": state, "job": {"file": file}, "progress": {"completion": completion, "filepos": 4}})


def quiet(request: Request) -> Reply | None:
    """An idle machine that does as it is told."""
    return job("Operational", None, None) if request.path.endswith("/api/job") and request.method == "GET" else Reply(204)


def drive(
    script: Script, action: Callable[[OctoPrintDriver], Awaitable[Any]], path: str = "", pushes: Sequence[Any] = ()
) -> tuple[Any, ScriptedServer]:
    """Let a driver do `action` against `script`; the value or DriverError it ended with, and the server with its requests."""

    async def go() -> tuple[Any, ScriptedServer]:
        async with ScriptedServer(script, pushes=pushes) as server:
            driver = OctoPrintDriver("mk3-01", server.url + path, KEY, resync=1)
            try:
                return await action(driver), server
            except DriverError as error:
                return error, server
            finally:
                await driver.close()

    return asyncio.run(go())


# --- commands ---


def test_a_start_is_one_strict_call() -> None:
    ended, server = drive(quiet, lambda driver: driver.start(OURS))
    assert ended is None
    (post,) = server.sent("POST")
    assert (post.path, post.json) == (DETAILS, {"command": "select", "print": True})
    assert post.headers["x-api-key"] == KEY


@pytest.mark.parametrize("reply", [HANG_UP, Reply(503), Reply(502, b"<html>Bad Gateway</html>"), Reply(200, b"not json")])
def test_a_start_whose_reply_is_lost_is_never_sent_again(reply: Reply | None) -> None:
    ended, server = drive(lambda _request: reply, lambda driver: driver.start(OURS))
    assert isinstance(ended, Unreachable)
    assert ended.retryable
    assert len(server.requests) == 1


def test_a_refused_start_stays_refused_when_the_machine_then_falls_silent() -> None:
    ended, server = drive(
        lambda request: Reply(409, {"error": "already printing"}) if request.method == "POST" else HANG_UP,
        lambda driver: driver.start(OURS),
    )
    assert isinstance(ended, Busy)
    assert len(server.sent("POST")) == 1


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_print_that_is_not_the_one_named_gets_no_command(action: str) -> None:
    for path in ("by-hand.gcode", "farmd/job-2.gcode", "other/farmd/job-1.gcode", None):
        ended, server = drive(lambda _request, path=path: job("Printing", path), lambda driver: getattr(driver, action)("job-1"))
        assert isinstance(ended, NotOurs)
        assert not server.sent("POST")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("pause", "Pausing"),
        ("pause", "Paused"),
        ("resume", "Printing"),
        ("resume", "Resuming"),
        ("cancel", "Cancelling"),
        ("cancel", "Operational"),
    ],
)
def test_what_is_already_so_is_not_asked_for(action: str, state: str) -> None:
    ended, server = drive(lambda _request: job(state), lambda driver: getattr(driver, action)("job-1"))
    assert ended is None
    assert not server.sent("POST")


@pytest.mark.parametrize(
    ("action", "state", "command"),
    [
        ("pause", "Printing", {"command": "pause", "action": "pause"}),
        ("resume", "Paused", {"command": "pause", "action": "resume"}),
        ("cancel", "Paused", {"command": "cancel"}),
    ],
)
def test_commands_say_what_they_mean(action: str, state: str, command: dict[str, str]) -> None:
    ended, server = drive(
        lambda request: job(state) if request.method == "GET" else Reply(204), lambda driver: getattr(driver, action)("job-1")
    )
    assert ended is None
    (post,) = server.sent("POST")
    assert post.json == command


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
@pytest.mark.parametrize("reply", [Reply(body={"state": "Contemplating"}), Reply(body=[1, 2]), Reply(body={"state": None})])
def test_nothing_is_sent_to_a_machine_that_cannot_be_understood(action: str, reply: Reply) -> None:
    ended, server = drive(lambda _request: reply, lambda driver: getattr(driver, action)("job-1"))
    assert isinstance(ended, Unreachable)
    assert not server.sent("POST")


def test_a_print_that_ends_between_look_and_command() -> None:
    def script(request: Request) -> Reply:
        return job("Printing") if request.method == "GET" else Reply(409, {"error": "neither printing nor paused"})

    ended, _ = drive(script, lambda driver: driver.cancel("job-1"))
    assert ended is None
    ended, _ = drive(script, lambda driver: driver.pause("job-1"))
    assert isinstance(ended, Refused)
    assert not isinstance(ended, Busy)


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_idle_machine_has_nothing_to_hold(action: str) -> None:
    ended, server = drive(quiet, lambda driver: getattr(driver, action)("job-1"))
    assert (type(ended), server.sent("POST")) == (Refused, [])


# --- uploads ---


def uploading(tmp_path: Path, content: bytes = b"G28\n" * 8) -> Callable[[OctoPrintDriver], Awaitable[RemoteFile]]:
    file = tmp_path / "plate.gcode"
    file.write_bytes(content)
    return lambda driver: driver.upload(file, "job-1", lambda _sent, _total: None)


def stored(path: str = OURS.path) -> Reply:
    return Reply(201, {"done": True, "files": {"local": {"name": "job-1.gcode", "path": path, "origin": "local"}}})


def test_an_upload_never_asks_to_print(tmp_path: Path) -> None:
    ended, server = drive(
        lambda request: stored() if request.method == "POST" else Reply(body={"path": OURS.path, "size": 32}), uploading(tmp_path)
    )
    assert ended == RemoteFile(OURS.path, "job-1", 32)
    (post,) = server.sent("POST")
    assert post.path == "/api/files/local"
    assert b'name="print"' not in post.body
    assert b'name="select"' not in post.body
    assert b'name="path"\r\n\r\nfarmd\r\n' in post.body
    assert b'filename="job-1.gcode"' in post.body
    assert b"G28\n" * 8 in post.body


@pytest.mark.parametrize(
    ("reply", "details", "words"),
    [
        (stored("farmd/job-1_2.gcode"), Reply(body={"size": 32}), "stored"),
        (stored("job-1.gcode"), Reply(body={"size": 32}), "stored"),
        (Reply(201, {"done": True}), Reply(body={"size": 32}), "stored"),
        (stored(), Reply(body={"size": 31}), "31 bytes"),
        (stored(), Reply(body=["?"]), "None bytes"),
        (stored(), Reply(body={"size": 32, "hash": "0" * 40}), "other bytes"),
        (stored(), Reply(404), "not found"),
        (Reply(413, b"<html>too large</html>"), Reply(), "too large"),
        (Reply(415, {"error": "Could not upload file, invalid type"}), Reply(), "invalid type"),
        (Reply(400, {"error": "no disk space left"}), Reply(), "no disk space"),
        (Reply(301, None, (("Location", "https://elsewhere/"),)), Reply(), "redirects"),
    ],
)
def test_an_upload_that_is_not_what_was_sent_is_refused(reply: Reply, details: Reply, words: str, tmp_path: Path) -> None:
    ended, _ = drive(lambda request: reply if request.method == "POST" else details, uploading(tmp_path))
    assert isinstance(ended, Refused)
    assert words in str(ended)


def test_an_upload_over_the_file_being_printed_is_busy(tmp_path: Path) -> None:
    ended, _ = drive(lambda _request: Reply(409, {"error": "Trying to overwrite file that is in use"}), uploading(tmp_path))
    assert isinstance(ended, Busy)
    assert "in use" in str(ended)


def test_an_upload_whose_reply_is_lost_is_unreachable(tmp_path: Path) -> None:
    ended, server = drive(lambda _request: HANG_UP, uploading(tmp_path))
    assert isinstance(ended, Unreachable)
    assert len(server.requests) == 1


def test_a_file_that_shrinks_on_the_way_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plate.gcode"
    file.write_bytes(b"G1 X1\n" * 200_000)

    def truncate(_sent: int, _total: int) -> None:
        file.write_bytes(b"")

    ended, server = drive(lambda _request: stored(), lambda driver: driver.upload(file, "job-1", truncate))
    assert isinstance(ended, Refused)
    assert "changed while it was sent" in str(ended)
    assert not server.requests, "a cut-off body must never become a stored file"


@pytest.mark.parametrize("token", ["", "a/b", "..", "ä", "a b", "x" * 121])
def test_a_token_that_is_no_file_name_is_refused(token: str, tmp_path: Path) -> None:
    file = tmp_path / "plate.gcode"
    file.write_bytes(b"G28\n")
    ended, server = drive(quiet, lambda driver: driver.upload(file, token, lambda _sent, _total: None))
    assert isinstance(ended, Refused)
    assert not server.requests


# --- history ---


def test_the_history_of_a_print_that_just_ended_is_waited_for() -> None:
    reads = 0

    def script(request: Request) -> Reply:
        nonlocal reads
        if request.path == "/api/job":
            return job("Operational", OURS.path, 100.0)
        reads += 1
        return Reply(body={"prints": {"success": 1, "failure": 0, "last": {"success": True}}} if reads == 3 else {})

    ended, _ = drive(script, lambda driver: driver.outcome("job-1"))
    assert ended is Outcome.SUCCEEDED


@pytest.mark.parametrize("at_hand", [job("Operational", None, None), job("Printing"), job("Operational", "by-hand.gcode", 100.0)])
def test_no_history_is_no_outcome(at_hand: Reply) -> None:
    ended, server = drive(
        lambda request: at_hand if request.path == "/api/job" else Reply(body={"size": 3}), lambda driver: driver.outcome("job-1")
    )
    assert ended is None
    assert len([request for request in server.requests if request.path == DETAILS]) == 1


# --- the way there ---


def printing(request: Request) -> Reply:
    """A machine that prints our file, and lets anybody in."""
    return Reply(body={"name": "farmd", "session": "s"}) if request.path == "/api/login" else job("Printing")


def test_a_path_prefix_and_a_trailing_slash_are_kept_and_dropped() -> None:
    _, server = drive(quiet, lambda driver: driver.cancel("job-1"), path="/octoprint/")
    assert [request.path for request in server.requests] == ["/octoprint/api/job"]


def test_a_connection_the_server_gave_up_is_opened_again_for_reading() -> None:
    async def look_twice(driver: OctoPrintDriver) -> None:
        await driver.cancel("job-1")
        await driver.cancel("job-1")

    answers = iter([Reply(200, {"state": "Operational"}, then_hang_up=True), HANG_UP, Reply(200, {"state": "Operational"})])
    ended, server = drive(lambda _request: next(answers), look_twice)
    assert ended is None
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>a router's page</html>"),
        Reply(200),
        Reply(404, b"nginx"),
        Reply(302),
        Reply(200, b"1" * 5_000_000),
        Reply(500),
    ],
)
def test_something_that_is_not_octoprint_is_unreachable(reply: Reply) -> None:
    ended, _ = drive(lambda _request: reply, lambda driver: driver.connect())
    assert isinstance(ended, Unreachable)
    assert "log in" in str(ended) or "is not OctoPrint" in str(ended)


def test_a_server_that_repeats_the_key_does_not_get_it_into_an_error() -> None:
    ended, _ = drive(
        lambda request: Reply(400, {"error": f"unknown key {request.headers['x-api-key']}"}), lambda driver: driver.start(OURS)
    )
    assert isinstance(ended, Refused)
    assert "unknown key ***" in str(ended)


def test_a_forgery_complaint_means_a_wrong_key() -> None:
    ended, _ = drive(lambda _request: Reply(400, {"error": "CSRF validation failed"}), lambda driver: driver.start(OURS))
    assert isinstance(ended, Unauthorized)


def test_an_answer_without_a_known_state_is_offline_and_recovers() -> None:
    answers = iter([Reply(body={"state": "Contemplating"}), Reply(body={}), Reply(500)])

    def script(request: Request) -> Reply:
        if request.path == "/api/login":
            return Reply(body={"name": "farmd", "session": "s"})
        return next(answers, job("Operational", None, None)) if request.path == "/api/job" else Reply(404)

    async def follow(driver: OctoPrintDriver) -> None:
        async with Watch(driver, 15) as watch:
            await watch.until(
                "the strange word", lambda seen: seen.phase is Phase.OFFLINE and "Contemplating" in (seen.message or "")
            )
            await watch.phase(Phase.OFFLINE)
            await watch.phase(Phase.IDLE)
            assert all(seen.phase in (Phase.OFFLINE, Phase.IDLE) for seen in watch.seen)

    ended, _ = drive(script, follow)
    assert ended is None


@pytest.mark.parametrize("said", ["Operational", "Offline after error", "Cancelling"])
def test_a_pushed_picture_is_no_proof_of_a_change(said: str) -> None:
    """OctoPrint pushes pictures from before the start after it: a running print must not flicker."""

    async def follow(driver: OctoPrintDriver) -> None:
        async with Watch(driver, 10) as watch:
            for _ in range(3):
                await watch.next()
            assert {(seen.phase, seen.token) for seen in watch.seen} == {(Phase.PRINTING, "job-1")}

    stale = {"current": {"state": {"text": said}, "job": {"file": {"path": None}}, "progress": {"completion": None}}}
    ended, _ = drive(printing, follow, pushes=[stale])
    assert ended is None


def test_a_pushed_picture_that_agrees_adds_its_figures() -> None:
    async def follow(driver: OctoPrintDriver) -> None:
        async with Watch(driver, 10) as watch:
            newer = await watch.until("the pushed position", lambda seen: seen.position == 9)
            assert newer.temperatures["bed"].actual == 60
            assert newer.phase is Phase.PRINTING

    picture = job("Printing").body | {"state": {"text": "Printing"}, "temps": [{"bed": {"actual": 60, "target": 60}}]}
    picture["progress"] = {"completion": 90.0, "filepos": 9}
    ended, _ = drive(printing, follow, pushes=[{"current": picture}])
    assert ended is None


def test_a_session_that_is_not_accepted_leads_to_polling_not_to_a_loop() -> None:
    async def follow(driver: OctoPrintDriver) -> None:
        async with Watch(driver, 10) as watch:
            for _ in range(3):
                await watch.phase(Phase.PRINTING, "job-1")
            assert all(seen.phase is Phase.PRINTING for seen in watch.seen)

    ended, server = drive(printing, follow, pushes=[{"reauthRequired": {"reason": "stale"}}])
    assert ended is None
    assert len([request for request in server.requests if request.path == "/api/login"]) == 1


def test_a_closed_driver_says_so() -> None:
    async def close_first(driver: OctoPrintDriver) -> None:
        await driver.close()
        await driver.connect()

    ended, server = drive(quiet, close_first)
    assert isinstance(ended, Unreachable)
    assert "closed" in str(ended)
    assert not server.requests


def test_a_certificate_nobody_vouches_for_is_not_trusted(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def go() -> None:
        async with ScriptedServer(quiet, tls) as server:
            driver = OctoPrintDriver("mk3-01", server.url, KEY)
            with pytest.raises(Unreachable, match="certificate verify failed"):
                await driver.connect()
            await driver.close()
            assert not server.requests

    asyncio.run(go())
