"""One supervisor per printer: it compares what is wanted (the attempt row) with what is seen (the latest snapshot), takes the one
step `domain.reconcile` names, records it, and looks again.

Level-triggered: a missed message costs a delay, never a wrong state. Every command is preceded by a committed row that says it
will be sent. Nothing here decides what is safe; nothing else in the farm talks to the machine.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from drivers.contract import Capability, Concern, Driver, DriverError, Outcome, Phase, Snapshot, Unauthorized, Unreachable
from farmd.config import PrinterSettings
from farmd.domain.lifecycle import ATTEMPT_BEFORE_START, ATTEMPT_LIVE, AttemptState, IllegalMove
from farmd.domain.ports import World
from farmd.domain.reconcile import History, Observed, Seen, Step, Wanted, Wish, ghost_step, next_step
from farmd.fleet.hands import Hands, reach
from farmd.fleet.registry import Live, Registry
from farmd.fleet.sight import StallWatch, sight
from farmd.fleet.traces import Trace, Traces
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.engine import Conflict, Store, StoreFailed, Tx
from farmd.store.rows import Row, find
from farmd.store.storage_faults import note_storage, read_storage

LOOK_AGAIN = 15.0  # seconds between looks when nothing rings
LOOK_SOON = 1.0  # while something is expected to happen
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
CLOSE_SECONDS, DAY = 2.0, 86_400.0
HISTORY_PATIENCE = 60.0
"""Seconds a resting printer's history may fail to answer before it counts as silent."""
KEEP_REMOTE = timedelta(days=7)
_HISTORY = {Outcome.SUCCEEDED: History.SUCCEEDED, Outcome.FAILED: History.FAILED, Outcome.CANCELLED: History.CANCELLED}
log = structlog.get_logger()


@dataclass(slots=True)
class _Asked:
    """What the printer's history answered, in which situation, and whether it was asked once more before giving up."""

    situation: tuple[object, ...]
    answer: History
    again: bool


class Supervisor:
    """Runs one printer for ever. `run` returns only when cancelled."""

    def __init__(
        self, settings: PrinterSettings, driver: Driver, store: Store, world: World, registry: Registry, hands: Hands
    ) -> None:
        self.settings = settings
        self._driver, self._store, self._world, self._registry, self._hands = driver, store, world, registry, hands
        self._snapshot: Snapshot | None = None
        self._since = world.monotonic()
        self._asked: dict[str, _Asked] = {}
        self._in_doubt = True  # until it was seen once
        self._stall = StallWatch()
        self._traces = Traces()
        self._faulty: bool | None = None  # its storage; None until the printer was seen
        self._turns: list[str | None] = []  # what happened to it that is not written down yet: a fault in words, or that it is well
        self._bell = store.watch("attempts")
        self._log = log.bind(printer=settings.id)

    async def run(self) -> None:
        """Watch and steer until cancelled. A running print is left alone when it ends."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(), name=f"watch {self.settings.id}")
                tasks.create_task(self._steer(), name=f"steer {self.settings.id}")
        finally:
            self._store.unwatch(self._bell)
            await self._let_go()

    async def _let_go(self) -> None:
        """A driver that cannot close must hold up neither the other printers nor the end of the daemon."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await reach(self._driver.close())
        except (DriverError, TimeoutError) as error:
            self._log.warning("printer.not_closed", error=str(error) or "it took too long")

    async def _watch(self) -> None:
        """Keep the latest snapshot. A driver that gives up is connected again, more slowly each time."""
        pause = FIRST_RETRY
        while True:
            try:
                await self._driver.connect()
                async for snapshot in self._driver.snapshots():
                    pause = FIRST_RETRY
                    await self._see(snapshot)
                raise Unreachable("the driver stopped telling what it sees")
            except DriverError as error:
                self._unreachable(error)
            except Exception as error:  # the supervised edge: one broken driver must not take the farm down
                self._log.exception("printer.driver_broke")
                self._unreachable(error)
            await asyncio.sleep(pause * (0.5 + self._world.chance()))
            pause = min(pause * 2, LAST_RETRY)

    async def _see(self, snapshot: Snapshot) -> None:
        now = self._world.monotonic()
        before, self._snapshot = self._snapshot, snapshot
        if before is None or (before.phase, before.token, before.epoch) != (snapshot.phase, snapshot.token, snapshot.epoch):
            self._since = now
            self._log.info("printer.seen", phase=snapshot.phase.value, token=snapshot.token, file=snapshot.file)
        self._traces.look(snapshot)
        fault = snapshot.concerns.get(Concern.STORAGE)
        if snapshot.phase is not Phase.OFFLINE and self._faulty != (fault is not None):
            self._faulty = fault is not None
            self._turns.append(fault)
        still = self._stall.look(snapshot, now)
        shown = self._registry.live(self.settings.id)
        self._registry.see(self.settings.id, sight(snapshot, self._world.now(), still=still, before=shown))
        self._bell.ring()

    def _unreachable(self, error: Exception) -> None:
        if self._snapshot is not None:
            self._since = self._world.monotonic()
        self._snapshot = None
        self._traces.lost()
        code = "bad_key" if isinstance(error, Unauthorized) else "unreachable"
        attention = ({"code": code, "detail": str(error)},)
        last = self._registry.live(self.settings.id)
        away = Live(message=str(error), attention=attention, last_seen=last.last_seen, spools=last.spools)
        self._registry.see(self.settings.id, away)
        self._log.warning("printer.unreachable", error=str(error))
        self._bell.ring()

    async def _steer(self) -> None:
        tidied: tuple[int, int] | None = None
        while True:
            wait = LOOK_AGAIN
            try:
                wait = await self._look()
                due = self._tidying()
                if due is not None and due != tidied:
                    tidied = due
                    await self._tidy()
            except (Conflict, IllegalMove) as error:
                self._log.info("printer.look_again", why=str(error))
                wait = LOOK_SOON
            except (DriverError, StoreFailed) as error:
                self._log.warning("printer.step_failed", error=str(error))
                wait = LOOK_SOON
            except Exception:  # the supervised edge: look again, the rows still tell what is wanted
                self._log.exception("printer.step_broke")
            await self._bell.wait(wait)

    def _tidying(self) -> tuple[int, int] | None:
        """Names the occasion for tidying: a resting machine, once for every connection and day."""
        seen = self._snapshot
        resting = seen is not None and not seen.active and seen.phase is not Phase.OFFLINE
        return (seen.epoch, int(self._world.monotonic() // DAY)) if seen is not None and resting else None

    async def _look(self) -> float:
        """Take every step that is due now; returns how long nothing can be expected to happen."""
        while True:
            row = await self._store.read(lambda c: printing.live_attempt(c, self.settings.id))
            unknown = await self._store.read(lambda c: printing.unknown_attempts(c, self.settings.id))
            attempts = [*([row] if row else []), *unknown]
            self._asked = {attempt["id"]: self._asked[attempt["id"]] for attempt in attempts if attempt["id"] in self._asked}
            await self._judge_traces()
            await self._count_storage_faults()
            if await self._move_one(attempts):
                continue  # the rows are not what they were
            if not row:
                await self._mind_strangers(unknown)
            await self._seen_again()
            return LOOK_SOON if attempts else LOOK_AGAIN

    async def _seen_again(self) -> None:
        """After a restore no bed of a machine may be cleared that has not been seen and judged, as it was by now."""
        if self._in_doubt and self._snapshot is not None and self._snapshot.phase is not Phase.OFFLINE:
            if await self._store.read(lambda c: printing.unseen(c, self.settings.id)):
                await self._store.write(lambda tx: printing.seen(tx, self.settings.id))
            self._in_doubt = False

    async def _move_one(self, attempts: Sequence[Row]) -> bool:
        """Take the first step that changes something. The attempt that holds the printer comes first: only when it has let go may
        one that was lost take the printer again."""
        for attempt in attempts:
            if await self._reconcile(attempt):
                return True
        return False

    async def _reconcile(self, attempt: Row) -> bool:
        """One step for one attempt. True when something changed and another look is worth it."""
        wanted = await self._wanted(attempt)
        observed = self._observed(attempt)
        step = next_step(wanted, observed)
        if step is Step.ASK_HISTORY:
            await self._ask(attempt)
            return True
        asked = self._asked.get(attempt["id"])
        if step is Step.LOSE and asked is not None and asked.situation == self._situation() and not asked.again:
            await self._ask(attempt, again=True)  # the history may lag behind; one last question before calling it unknown
            return True
        if step is Step.WAIT:
            return False
        self._log.info("attempt.step", attempt=attempt["id"], job=attempt["job_id"], order=attempt["order_id"], step=step.value)
        try:
            return await self._hands.take(step, attempt, self._driver, self._sight_words())
        finally:
            if step is Step.START:  # how long the machine rested before the command says nothing about its effect
                self._since = self._world.monotonic()

    async def _wanted(self, attempt: Row) -> Wanted:
        return Wanted(
            state=AttemptState(attempt["state"]),
            token=attempt["id"],
            cancel_wanted=attempt["cancel_wanted"],
            cancel_sent=attempt["cancel_sent_at"] is not None,
            wish=Wish(attempt["wish"]),
            answer=attempt["answer"],
            plate_wanted=await self._store.read(lambda c: printing.plate_wanted(c, attempt)),
            lasts=attempt["estimate_seconds"],
        )

    def _observed(self, attempt: Row) -> Observed:
        for_seconds = self._world.monotonic() - self._since
        if self._snapshot is None:
            return Observed(Seen.OFFLINE, settled_for=for_seconds)
        asked = self._asked.get(attempt["id"])
        history = asked.answer if asked and asked.situation == self._situation() else History.NOT_ASKED
        return Observed(Seen(self._snapshot.phase.value), self._snapshot.token, history, for_seconds)

    def _situation(self) -> tuple[object, ...]:
        seen = self._snapshot
        return (seen.epoch, seen.phase, seen.token, self._since) if seen else ()

    async def _ask(self, attempt: Row, *, again: bool = False) -> None:
        situation = self._situation()
        answer = await self._history(attempt["id"])
        self._asked[attempt["id"]] = _Asked(situation, answer, again)
        self._log.info("attempt.history", attempt=attempt["id"], answer=answer.value)

    async def _history(self, token: str) -> History:
        """A history that cannot be read is asked again for a while; then it counts as silent, and a person is told."""
        if Capability.OUTCOME not in self._driver.capabilities:
            return History.SILENT
        try:
            outcome = await reach(self._driver.outcome(token))
        except DriverError:
            if self._world.monotonic() - self._since < HISTORY_PATIENCE:
                raise
            return History.SILENT
        return _HISTORY[outcome] if outcome is not None else History.SILENT

    def _sight_words(self) -> str:
        seen = self._snapshot
        if seen is None:
            return "the printer cannot be reached"
        return f"the printer is {seen.phase.value}" + (f": {seen.message}" if seen.message else "")

    async def _mind_strangers(self, unknown: Sequence[Row]) -> None:
        """A print that no attempt of ours holds: distrust the bed, and stop it if it is a start of ours that came too late."""
        seen = self._snapshot
        if seen is None or not seen.active or any(row["id"] == seen.token for row in unknown):
            return
        token = seen.token
        owner = await self._store.read(lambda c: find(c, t.attempts, token)) if token else None
        await self._store.write(lambda tx: printing.foreign_print(tx, self.settings.id, seen.file))
        if owner is None:
            return
        state, start_seen = AttemptState(owner["state"]), owner["started_at"] is not None
        if ghost_step(state, Seen(seen.phase.value), start_seen=start_seen) is Step.CANCEL:
            self._log.warning("printer.late_start_stopped", attempt=token)
            await reach(self._driver.cancel(owner["id"]))

    async def _judge_traces(self) -> None:
        """A bed that is called clear is doubted when a print ended there that no attempt answers for."""
        while self._traces.unjudged:
            trace = self._traces.unjudged[0]
            if not await self._answered_for(trace):
                self._log.warning("printer.leftover", file=trace.file, token=trace.token)
                await self._store.write(
                    partial(printing.leftover, printer_id=self.settings.id, file=trace.file, watched=trace.watched)
                )
            self._traces.unjudged.remove(trace)

    async def _count_storage_faults(self) -> None:
        """A printer whose storage fails again and again would lose every further print to it."""
        while self._turns:
            fault = self._turns[0]
            _, known = await self._store.read(lambda c: read_storage(c, self.settings.id))
            if known != (fault is not None):
                await self._store.write(partial(self._storage_turned, fault=fault))
            del self._turns[0]

    def _storage_turned(self, tx: Tx, fault: str | None) -> None:
        if note_storage(tx, self.settings.id, faulty=fault is not None):
            reason = f"its storage failed again before a print came out well: {fault}; exchange or format the card, then enable it"
            printing.quarantine(tx, self.settings.id, reason)

    async def _answered_for(self, trace: Trace) -> bool:
        """Whether the attempt whose print this was looks after the bed: it is on the machine, or its success is booked."""
        token = trace.token
        owner = await self._store.read(lambda c: find(c, t.attempts, token)) if token else None
        if owner is None or owner["printer_id"] != self.settings.id:
            return False
        state = AttemptState(owner["state"])
        return state is AttemptState.SUCCEEDED or state in ATTEMPT_LIVE - ATTEMPT_BEFORE_START

    async def _tidy(self) -> None:
        """Delete files that the printer has kept for longer than anybody asks about them."""
        before = self._world.now() - KEEP_REMOTE
        for attempt in await self._store.read(lambda c: printing.stale_files(c, self.settings.id, before)):
            if not await self._hands.remove(attempt, self._driver):
                return  # a machine that does not answer must not be asked a hundred times in a row
