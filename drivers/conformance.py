"""The suite every driver must pass, whoever wrote it.

A driver's author supplies a `Harness` (one real or virtual machine at rest, and a way to hurt its link) and runs each
name in `CASES` with `run`. The cases see the machine only through the `Driver` port, so a driver that passes them can be
relied on by the farm above. Nothing here knows a protocol, and no case may pass because it looked away.
"""

from collections.abc import Awaitable, Callable

from drivers.bench import Bench, Harness, NotApplicable, Watch, bench, expect, new_token
from drivers.contract import (
    Busy,
    Capability,
    NotOurs,
    Outcome,
    Phase,
    Refused,
    RemoteFile,
    Unauthorized,
    Unreachable,
)

__all__ = ["CASES", "Bench", "Case", "Harness", "NotApplicable", "Watch", "bench", "run"]

LONG = 60.0
SHORT = 2.0

Case = Callable[[Harness], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case under its function's name."""
    CASES[getattr(function, "__name__", repr(function))] = function
    return function


async def run(name: str, harness: Harness) -> None:
    """Run one case. Raises AssertionError when the driver fails it, `NotApplicable` when it does not claim what it takes,
    KeyError for an unknown name."""
    await CASES[name](harness)


# --- at rest ---


@case
async def an_idle_machine_says_so(harness: Harness) -> None:
    async with bench(harness) as at:
        first = at.watch.seen[0]
        assert first.phase is Phase.IDLE, f"the machine was at rest: {first}"
        assert not first.active
        assert first.token is None


@case
async def snapshots_keep_coming_without_news(harness: Harness) -> None:
    async with bench(harness) as at:
        for _ in range(2):
            at.watch.fresh()
            await at.watch.phase(Phase.IDLE)


@case
async def connecting_twice_is_harmless(harness: Harness) -> None:
    async with bench(harness) as at:
        await at.driver.connect()
        at.watch.fresh()
        await at.watch.phase(Phase.IDLE)


@case
async def closing_ends_the_snapshots(harness: Harness) -> None:
    async with bench(harness) as at:
        await at.driver.close()
        await at.watch.end()
        await at.driver.close()


@case
async def wrong_credentials_are_unauthorized(harness: Harness) -> None:
    stranger = harness.stranger()
    if stranger is None:
        raise NotApplicable("the protocol has no credentials")
    try:
        async with expect(Unauthorized):
            await stranger.connect()
    finally:
        await stranger.close()


# --- files ---


@case
async def an_upload_prints_nothing(harness: Harness) -> None:
    file = harness.gcode(SHORT)
    token = new_token()
    reports: list[tuple[int, int]] = []
    async with bench(harness) as at:
        remote = await at.driver.upload(file, token, lambda sent, total: reports.append((sent, total)))
        size = file.stat().st_size
        assert remote.token == token
        assert remote.size == size
        assert token in remote.path, "the token must be readable from the remote path"
        assert reports, "no progress was reported"
        assert reports[-1] == (size, size), f"the last progress was {reports[-1]}"
        assert [sent for sent, _ in reports] == sorted(sent for sent, _ in reports)
        assert not (await at.watch.next()).active
        if Capability.OUTCOME in at.driver.capabilities:
            assert await at.driver.outcome(token) is None


@case
async def an_upload_of_the_same_token_replaces(harness: Harness) -> None:
    token = new_token()
    async with bench(harness) as at:
        first = await at.driver.upload(harness.gcode(SHORT), token, lambda _sent, _total: None)
        longer = harness.gcode(LONG)
        second = await at.driver.upload(longer, token, lambda _sent, _total: None)
        assert second.path == first.path
        assert second.size == longer.stat().st_size != first.size


@case
async def an_empty_file_is_refused(harness: Harness) -> None:
    empty = harness.gcode(SHORT).with_name(f"{new_token()}.gcode")
    empty.write_bytes(b"")
    async with bench(harness) as at, expect(Refused):
        await at.driver.upload(empty, new_token(), lambda _sent, _total: None)


@case
async def a_missing_local_file_is_refused(harness: Harness) -> None:
    absent = harness.gcode(SHORT).with_name(f"{new_token()}.gcode")
    async with bench(harness) as at, expect(Refused):
        await at.driver.upload(absent, new_token(), lambda _sent, _total: None)


@case
async def removing_twice_is_a_no_op(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.REMOVE)
        remote = await at.upload(SHORT)
        await at.driver.remove(remote)
        await at.driver.remove(remote)
        async with expect(Refused):
            await at.driver.start(remote)


@case
async def a_file_being_printed_cannot_be_removed(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.REMOVE)
        remote = await at.printing(LONG)
        async with expect(Busy):
            await at.driver.remove(remote)
        await at.still_printing(remote.token)


# --- printing ---


@case
async def a_print_runs_to_its_end(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.printing(SHORT)
        begun = len(at.watch.seen)
        finished = await at.watch.phase(Phase.FINISHED, remote.token)
        assert not finished.active
        between = at.watch.seen[begun : at.watch.seen.index(finished)]
        assert all(seen.active and seen.token == remote.token for seen in between), f"the print flickered: {between}"
        if Capability.OUTCOME in at.driver.capabilities:
            assert await at.driver.outcome(remote.token) is Outcome.SUCCEEDED


@case
async def a_machine_prints_one_file_after_another(harness: Harness) -> None:
    async with bench(harness) as at:
        first = await at.printing(SHORT)
        await at.watch.phase(Phase.FINISHED, first.token)
        second = await at.printing(SHORT)
        await at.watch.phase(Phase.FINISHED, second.token)


@case
async def a_print_advances(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.PROGRESS)
        remote = await at.printing(LONG)
        early = await at.watch.until("a position", lambda seen: seen.position is not None)
        assert early.position is not None
        assert early.token == remote.token
        start = early.position
        later = await at.watch.until("a greater position", lambda seen: (seen.position or 0) > start)
        assert later.progress is None or 0 <= later.progress <= 1


@case
async def a_busy_machine_refuses_a_start(harness: Harness) -> None:
    async with bench(harness) as at:
        running = await at.printing(LONG)
        other = await at.upload(SHORT)
        async with expect(Busy):
            await at.driver.start(other)
        await at.still_printing(running.token)


@case
async def a_second_start_of_the_same_file_is_busy(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.printing(LONG)
        async with expect(Busy):
            await at.driver.start(remote)
        await at.still_printing(remote.token)


@case
async def a_missing_file_cannot_be_started(harness: Harness) -> None:
    async with bench(harness) as at:
        known = await at.upload(SHORT)
        absent = new_token()
        async with expect(Refused):
            await at.driver.start(RemoteFile(known.path.replace(known.token, absent), absent, known.size))
        assert not (await at.watch.next()).active


# --- hands on a running print ---


@case
async def pausing_holds_and_resuming_goes_on(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.PAUSE)
        remote = await at.printing(LONG)
        await at.driver.pause(remote.token)
        await at.watch.phase(Phase.PAUSED, remote.token)
        await at.driver.pause(remote.token)
        held = await at.watch.next()
        assert held.phase is Phase.PAUSED, "a second pause must not toggle"
        await at.driver.resume(remote.token)
        await at.watch.phase(Phase.PRINTING, remote.token)
        await at.driver.resume(remote.token)
        await at.still_printing(remote.token)


@case
async def a_paused_machine_refuses_a_start(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.PAUSE)
        held = await at.printing(LONG)
        await at.driver.pause(held.token)
        await at.watch.phase(Phase.PAUSED, held.token)
        other = await at.upload(SHORT)
        async with expect(Busy):
            await at.driver.start(other)
        at.watch.fresh()
        await at.watch.phase(Phase.PAUSED, held.token)


@case
async def cancelling_stops_for_good(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.printing(LONG)
        await at.driver.cancel(remote.token)
        await at.watch.phase(Phase.IDLE)
        rested = len(at.watch.seen)
        await at.driver.cancel(remote.token)
        at.watch.fresh()
        await at.watch.phase(Phase.IDLE)
        assert all(seen.phase is not Phase.FINISHED for seen in at.watch.seen), "a cancelled print was called finished"
        assert not any(seen.active for seen in at.watch.seen[rested:]), "a cancelled print came back"
        if Capability.OUTCOME in at.driver.capabilities:
            assert await at.driver.outcome(remote.token) in (Outcome.FAILED, Outcome.CANCELLED)


@case
async def a_held_print_can_be_cancelled(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.PAUSE)
        remote = await at.printing(LONG)
        await at.driver.pause(remote.token)
        await at.watch.phase(Phase.PAUSED, remote.token)
        await at.driver.cancel(remote.token)
        await at.watch.phase(Phase.IDLE)


@case
async def a_print_of_another_token_is_left_alone(harness: Harness) -> None:
    async with bench(harness) as at:
        running = await at.printing(LONG)
        other = new_token()
        async with expect(NotOurs):
            await at.driver.cancel(other)
        if Capability.PAUSE in at.driver.capabilities:
            async with expect(NotOurs):
                await at.driver.pause(other)
            async with expect(NotOurs):
                await at.driver.resume(other)
        await at.still_printing(running.token)


@case
async def a_foreign_print_is_seen_and_left_alone(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.upload(SHORT)
        await harness.start_foreign()
        foreign = await at.watch.phase(Phase.PRINTING)
        assert foreign.active
        assert foreign.token is None, f"a foreign print carries a token: {foreign}"
        async with expect(NotOurs):
            await at.driver.cancel(remote.token)
        async with expect(Busy):
            await at.driver.start(remote)
        await at.still_printing(None)


@case
async def cancelling_at_rest_does_nothing(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.upload(SHORT)
        await at.driver.cancel(remote.token)
        at.watch.fresh()
        await at.watch.phase(Phase.IDLE)


# --- being away ---


@case
async def closing_leaves_the_print_running(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.printing(LONG)
    async with bench(harness) as again:
        await again.still_printing(remote.token)


@case
async def a_print_that_ended_unwatched_is_known_by_its_outcome(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.OUTCOME)
        remote = await at.printing(SHORT)
    async with bench(harness) as again:
        assert await again.history(remote.token) is Outcome.SUCCEEDED


@case
async def a_token_never_printed_has_no_outcome(harness: Harness) -> None:
    async with bench(harness) as at:
        at.needs(Capability.OUTCOME)
        assert await at.driver.outcome(new_token()) is None


@case
async def a_lost_link_is_offline_and_comes_back(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.printing(LONG)
        before = at.watch.seen[-1].epoch
        await harness.cut()
        offline = await at.watch.phase(Phase.OFFLINE)
        assert offline.message, "a lost link must say why"
        await harness.restore()
        back = await at.watch.until("a higher epoch", lambda seen: seen.phase is not Phase.OFFLINE)
        assert back.epoch > before
        assert (back.phase, back.token) == (Phase.PRINTING, remote.token)
        ended = (Phase.FINISHED, Phase.ERROR, Phase.IDLE)
        own = [seen for seen in at.watch.seen if seen.token == remote.token]
        assert all(seen.phase not in ended for seen in own), "a lost link was taken for the end of the print"


@case
async def commands_on_a_lost_link_are_unreachable(harness: Harness) -> None:
    async with bench(harness) as at:
        remote = await at.upload(SHORT)
        await harness.cut()
        async with expect(Unreachable):
            await at.driver.start(remote)
        async with expect(Unreachable):
            await at.driver.upload(harness.gcode(SHORT), new_token(), lambda _sent, _total: None)
        async with expect(Unreachable):
            await at.driver.cancel(remote.token)
        await harness.restore()
        await at.driver.connect()
        at.watch.fresh()
        await at.watch.phase(Phase.IDLE)


@case
async def connecting_over_a_lost_link_is_unreachable(harness: Harness) -> None:
    driver = harness.driver()
    try:
        await harness.cut()
        async with expect(Unreachable):
            await driver.connect()
        await harness.restore()
        await driver.connect()
    finally:
        await driver.close()
