"""The OctoPrint driver against real OctoPrint: the suite of every driver, and what only OctoPrint does.

The server is shared by all tests of the module, except those that kill it.
"""

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.bench import Watch
from drivers.conformance import CASES, NotApplicable, run
from drivers.contract import (
    Busy,
    NotOurs,
    Outcome,
    Phase,
    Refused,
    RemoteFile,
    Unauthorized,
)
from drivers.octoprint.driver import OctoPrintDriver
from tests.contract.link import Link
from tests.contract.real_octoprint import API_KEY, VIEWER_KEY, RealOctoPrint, moving_gcode, running_octoprint

pytestmark = pytest.mark.octoprint

PATIENCE = 15.0
RESYNC = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOctoPrint]:
    with running_octoprint(tmp_path_factory.mktemp("octoprint")) as running:
        yield running


@pytest.fixture
def octoprint(server: RealOctoPrint) -> RealOctoPrint:
    """The shared server, its printer at rest."""
    server.rest()
    return server


class OctoPrintHarness:
    """The suite's view of the shared server, over a link it can cut."""

    patience = PATIENCE

    def __init__(self, server: RealOctoPrint, link: Link, folder: Path) -> None:
        self._server = server
        self._link = link
        self._folder = folder

    def driver(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._link.url, API_KEY, resync=RESYNC)

    def stranger(self) -> OctoPrintDriver:
        return OctoPrintDriver("mk3-01", self._link.url, "0" * 32, resync=RESYNC)

    def gcode(self, seconds: float) -> Path:
        return write_gcode(self._folder, seconds)

    async def start_foreign(self) -> None:
        await asyncio.to_thread(self._server.print_by_hand, "by-hand.gcode", moving_gcode(60))

    async def cut(self) -> None:
        await self._link.cut()

    async def restore(self) -> None:
        await self._link.restore()


def write_gcode(folder: Path, seconds: float) -> Path:
    file = folder / f"{seconds:.0f}.gcode"
    file.write_bytes(moving_gcode(seconds))
    return file


@asynccontextmanager
async def watched(
    server: RealOctoPrint | Link, resync: float = RESYNC, patience: float = PATIENCE
) -> AsyncIterator[tuple[OctoPrintDriver, Watch]]:
    driver = OctoPrintDriver("mk3-01", server.url, API_KEY, resync=resync)
    try:
        async with Watch(driver, patience) as watch:
            yield driver, watch
    finally:
        await driver.close()


async def start(driver: OctoPrintDriver, watch: Watch, file: Path, token: str) -> RemoteFile:
    remote = await driver.upload(file, token, lambda _sent, _total: None)
    await driver.start(remote)
    await watch.phase(Phase.PRINTING, token)
    return remote


@pytest.mark.parametrize("name", sorted(CASES))
def test_conformance(name: str, octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link:
            try:
                await run(name, OctoPrintHarness(octoprint, link, tmp_path))
            except NotApplicable as reason:
                pytest.skip(str(reason))

    asyncio.run(go())


# --- what ends a print at OctoPrint, and what only seems to ---


def test_a_killed_server_leaves_the_outcome_open(tmp_path: Path) -> None:
    """After a power cut OctoPrint stands there Operational and knows nothing of the print: nobody may conclude anything."""

    async def go(own: RealOctoPrint) -> None:
        async with watched(own) as (driver, watch):
            await start(driver, watch, write_gcode(tmp_path, 60), "cut-off-1")
            epoch = watch.seen[-1].epoch
            own.kill()
            await watch.phase(Phase.OFFLINE)
            await asyncio.to_thread(own.start)
            back = await watch.phase(Phase.IDLE)
            assert back.epoch > epoch
            assert back.token is None
            assert await driver.outcome("cut-off-1") is None
            assert all(seen.phase not in (Phase.FINISHED, Phase.ERROR) for seen in watch.seen)

    with running_octoprint(tmp_path / "own") as own:
        asyncio.run(go(own))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("trigger_fatal_error_marlin", "Thermal Runaway"),
        ("maxtemp_error", "MAXTEMP"),
        ("drop_connection", "SerialTimeoutException"),
    ],
)
def test_an_error_of_the_machine_is_shown_in_its_words(fault: str, words: str, octoprint: RealOctoPrint, tmp_path: Path) -> None:
    token = f"error-{fault.replace('_', '-')}"

    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            remote = await start(driver, watch, write_gcode(tmp_path, 60), token)
            octoprint.inject(fault)
            error = await watch.phase(Phase.ERROR)
            assert error.message is not None
            assert words in error.message
            assert await driver.outcome(token) is Outcome.FAILED
            with pytest.raises(Refused, match="connect the printer") as refused:
                await driver.start(remote)
            assert not isinstance(refused.value, Busy)
            await asyncio.to_thread(octoprint.rest)
            await watch.phase(Phase.IDLE)
            assert all(seen.phase is not Phase.FINISHED for seen in watch.seen)

    asyncio.run(go())


def test_a_machine_that_disconnects_is_offline_not_in_error(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            remote = await start(driver, watch, write_gcode(tmp_path, 60), "disconnected-1")
            octoprint.inject("action_disconnect")
            offline = await watch.phase(Phase.OFFLINE)
            assert offline.message is not None
            assert "not connected to its printer" in offline.message
            assert await driver.outcome("disconnected-1") is Outcome.FAILED
            with pytest.raises(Refused, match="connect the printer") as refused:
                await driver.start(remote)
            assert refused.value.retryable
            assert not isinstance(refused.value, Busy)

    asyncio.run(go())


def test_a_machine_that_hangs_stands_still_and_is_not_judged(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    """OctoPrint takes minutes to notice. Until then the position that does not move is all there is to see."""

    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            await start(driver, watch, write_gcode(tmp_path, 60), "hung-1")
            octoprint.inject("go_awol")
            seen = [await watch.next()]
            async with asyncio.timeout(PATIENCE):  # what was sent to it before is still counted
                while len(seen) < 4 or len({snapshot.position for snapshot in seen[-3:]}) > 1:
                    seen.append(await watch.next())
            assert all((snapshot.phase, snapshot.token) == (Phase.PRINTING, "hung-1") for snapshot in seen)
            octoprint.call("POST", "/api/connection", {"command": "disconnect"})
            await watch.phase(Phase.OFFLINE)
            assert await driver.outcome("hung-1") is Outcome.FAILED

    asyncio.run(go())


def test_a_print_paused_at_the_machine_is_seen_as_held(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            await start(driver, watch, write_gcode(tmp_path, 60), "held-1")
            octoprint.inject("action_pause")
            await watch.phase(Phase.PAUSED, "held-1")
            octoprint.inject("action_resume")
            await watch.phase(Phase.PRINTING, "held-1")

    asyncio.run(go())


def test_a_cancelled_print_counts_as_failed_and_a_reprint_under_a_new_token_runs(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            await start(driver, watch, write_gcode(tmp_path, 60), "cancelled-1")
            await driver.cancel("cancelled-1")
            await watch.phase(Phase.IDLE)
            assert await driver.outcome("cancelled-1") is Outcome.FAILED
            await start(driver, watch, write_gcode(tmp_path, 1), "cancelled-2")
            await watch.phase(Phase.FINISHED, "cancelled-2")
            assert await driver.outcome("cancelled-2") is Outcome.SUCCEEDED

    asyncio.run(go())


def test_only_files_a_farm_uploaded_are_touched(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with watched(octoprint) as (driver, _watch):
            await driver.upload(write_gcode(tmp_path, 1), "mine-1", lambda _sent, _total: None)
            for path in ("by-hand.gcode", "farmd/../by-hand.gcode", "farmd/other.gcode"):
                with pytest.raises(NotOurs):
                    await driver.start(RemoteFile(path, "mine-1", 1))
                with pytest.raises(NotOurs):
                    await driver.remove(RemoteFile(path, "mine-1", 1))

    asyncio.run(go())


# --- links ---


def test_a_dropped_push_socket_is_replaced_without_a_word_of_failure(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link, watched(link) as (driver, watch):
            await start(driver, watch, write_gcode(tmp_path, 60), "dropped-1")
            await watch.until("some time passed", lambda seen: (seen.position or 0) > 1000)
            assert link.web_sockets == 1
            for sockets in (2, 2):  # the second time it died so young that the driver goes on by polling
                epoch = watch.seen[-1].epoch
                link.drop()
                back = await watch.until("a new epoch", lambda seen, old=epoch: seen.epoch > old)
                assert (back.phase, back.token) == (Phase.PRINTING, "dropped-1")
                assert link.web_sockets == sockets
            assert all(seen.phase is Phase.PRINTING for seen in watch.seen if seen.epoch > 1)

    asyncio.run(go())


def test_without_web_sockets_the_driver_polls(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link:
            link.refuse_web_sockets = True
            async with watched(link, resync=20) as (driver, watch):
                await start(driver, watch, write_gcode(tmp_path, 4), "polled-1")
                warm = await watch.until("temperatures", lambda seen: bool(seen.temperatures))
                assert "bed" in warm.temperatures
                finished = await watch.phase(Phase.FINISHED, "polled-1")
                assert finished.epoch == watch.seen[0].epoch == 1

    asyncio.run(go())


@pytest.mark.slow
def test_a_server_that_hangs_is_offline_within_half_a_minute(octoprint: RealOctoPrint) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link, watched(link, resync=20, patience=32) as (_driver, watch):
            await watch.phase(Phase.IDLE)
            link.freeze()
            await watch.phase(Phase.OFFLINE)
            await link.cut()
            await link.restore()
            await watch.phase(Phase.IDLE)

    asyncio.run(go())


# --- credentials ---


def test_a_wrong_key_is_unauthorized_everywhere_and_never_repeated(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    wrong = "A-WRONG-KEY-0123456789"

    async def go() -> None:
        driver = OctoPrintDriver("mk3-01", octoprint.url, wrong)
        remote = RemoteFile("farmd/key-1.gcode", "key-1", 1)
        for call in (
            lambda: driver.connect(),
            lambda: driver.upload(write_gcode(tmp_path, 1), "key-1", lambda _sent, _total: None),
            lambda: driver.start(remote),
            lambda: driver.cancel("key-1"),
            lambda: driver.outcome("key-1"),
            lambda: driver.remove(remote),
        ):
            with pytest.raises(Unauthorized) as refused:
                await call()
            assert wrong not in str(refused.value)
        async with Watch(driver, PATIENCE) as watch:
            offline = await watch.phase(Phase.OFFLINE)
            assert offline.message is not None
            assert "API key" in offline.message
            assert offline.epoch == 0
        await driver.close()

    asyncio.run(go())


def test_a_key_that_may_only_look_cannot_print(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    async def go() -> None:
        driver = OctoPrintDriver("mk3-01", octoprint.url, VIEWER_KEY)
        await driver.connect()
        with pytest.raises(Unauthorized, match="lacks the right"):
            await driver.upload(write_gcode(tmp_path, 1), "viewer-1", lambda _sent, _total: None)
        await driver.close()

    asyncio.run(go())


def test_no_secret_reaches_a_log_or_a_repr(octoprint: RealOctoPrint, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        async with watched(octoprint) as (driver, watch):
            await driver.connect()
            await watch.phase(Phase.IDLE)
            await driver.upload(write_gcode(tmp_path, 1), "secret-1", lambda _sent, _total: None)
            assert API_KEY not in repr(driver) + repr(vars(driver))

    for name in (None, "httpx", "httpcore", "websockets"):  # a daemon of an earlier test may have made them quiet
        caplog.set_level(logging.DEBUG, logger=name)
    asyncio.run(go())
    assert caplog.records, "nothing was logged at all, so this proves nothing"
    assert API_KEY not in caplog.text
    assert '"auth"' not in caplog.text


# --- files ---


def test_a_large_upload_is_streamed_and_leaves_the_loop_free(octoprint: RealOctoPrint, tmp_path: Path) -> None:
    file = tmp_path / "large.gcode"
    line = b"G1 X10.000 Y10.000 E0.12345\n"
    file.write_bytes(line * (30_000_000 // len(line)))
    gaps: list[float] = []

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(0.01)
            gaps.append(loop.time() - before)
            before = loop.time()

    async def go() -> None:
        reports: list[int] = []
        async with watched(octoprint) as (driver, _watch):
            await driver.connect()
            ticker = asyncio.create_task(tick())
            tracemalloc.start()
            remote = await driver.upload(file, "large-1", lambda sent, _total: reports.append(sent))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            ticker.cancel()
            assert remote.size == reports[-1] == file.stat().st_size
            assert len(reports) > 50
            assert peak < 8_000_000, f"{peak} bytes were held at once"
            assert max(gaps) < 0.5, f"the loop stood still for {max(gaps):.2f} s"

    asyncio.run(go())
