"""The hands of a supervisor: each step of `domain.reconcile` carried out once, with the row that says so committed first.

A start is the one thing that cannot be taken back. Its row is written before the command leaves, and only a proven refusal
takes the row back; every other answer, and no answer, leaves the attempt STARTING for the snapshots to settle.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import structlog

from drivers.contract import Busy, Capability, Driver, DriverError, NotOurs, Refused, RemoteFile, Unauthorized, Unreachable
from farmd.config import PrinterSettings
from farmd.domain.lifecycle import AttemptSignal, AttemptState
from farmd.domain.ports import World
from farmd.domain.reconcile import Step
from farmd.fleet.offers import class_of
from farmd.fleet.registry import Registry
from farmd.fleet.staging import FileGone, Staging
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.engine import Store, Tx
from farmd.store.rows import Row, change, get
from farmd.store.transitions import advance_attempt

REPEAT_AFTER = 10.0
"""Seconds before a stop, hold or resume that shows no effect is sent again."""
UPLOAD_TRIES, UPLOAD_PAUSE = 3, 5.0
"""Transfers of one file that may break before its plate goes elsewhere, and the seconds between them."""
log = structlog.get_logger()
T = TypeVar("T")


async def reach(call: Awaitable[T]) -> T:
    """A driver's answer. Raises `DriverError` alone: a defect in a driver is no more than a machine that cannot be reached, and
    leaves as much in doubt."""
    try:
        return await call
    except DriverError:
        raise
    except Exception as error:  # the supervised edge: drivers may be anybody's
        log.exception("driver.broke")
        raise Unreachable(f"the driver broke: {error!r}") from error


@dataclass(slots=True)
class Hands:
    """What a supervisor may do to its printer and to the books."""

    settings: PrinterSettings
    store: Store
    world: World
    registry: Registry
    staging: Staging
    _sent: dict[tuple[str, Step], float] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)
    _send_again: dict[str, float] = field(default_factory=dict)

    async def take(self, step: Step, attempt: Row, driver: Driver, words: str) -> bool:
        """Carry out one step. True when the rows changed. Raises `DriverError`, `Conflict`, `StoreFailed`."""
        match step:
            case Step.UPLOAD:
                return await self._upload(attempt, driver)
            case Step.START:
                return await self._start(attempt, driver)
            case Step.CANCEL:
                return await self._cancel(attempt, driver)
            case Step.PAUSE:
                return await self._command(step, attempt, driver.pause, driver)
            case Step.RESUME:
                return await self._command(step, attempt, driver.resume, driver)
            case Step.ANSWER:
                return await self._answer(attempt, driver)
            case _:
                await self._record(step, attempt, words)
                return True

    async def _record(self, step: Step, attempt: Row, words: str) -> None:
        """The steps that only write down what was seen."""
        ejects = self.settings.bed_clear == "auto"
        writes: dict[Step, Callable[..., object]] = {
            Step.MARK_PRINTING: lambda tx: printing.seen_printing(tx, attempt, paused=False),
            Step.MARK_PAUSED: lambda tx: printing.seen_printing(tx, attempt, paused=True),
            Step.SUCCEED: lambda tx: printing.succeeded(tx, attempt, ejected=ejects),
            Step.FAIL: lambda tx: printing.failed(tx, attempt, f"the print did not come out; {words}"),
            Step.SETTLE_CANCELLED: lambda tx: printing.cancelled(tx, attempt, "stopped as wanted"),
            Step.LOSE: lambda tx: printing.lost(tx, attempt, f"nobody saw how the print ended; {words}"),
            Step.SURRENDER: lambda tx: printing.surrendered(tx, attempt, f"something else is printed; {words}"),
            Step.RELEASE: lambda tx: printing.failed(tx, attempt, f"not started; {words}", blame_plate=False),
        }

        def write(tx: Tx) -> None:
            if attempt["state"] == AttemptState.UNKNOWN and (step in (Step.SUCCEED, Step.FAIL) or attempt["cancel_sent_at"]):
                # a person may have cleared the bed before a late start put a part on it
                printing.doubt_bed(tx, self.settings.id, f"{attempt['id']} ended after all; {words}")
            writes[step](tx)

        await self.store.write(write)

    async def _upload(self, attempt: Row, driver: Driver) -> bool:
        if self.world.monotonic() < self._send_again.get(attempt["id"], 0.0):
            return False
        if attempt["state"] == AttemptState.ASSIGNED:
            attempt = await self.store.write(lambda tx: advance_attempt(tx, attempt, AttemptSignal.UPLOAD))
        reason, file_lost = "", False
        try:
            file = await self._staged(attempt)
            remote = await self._until_cancelled(attempt, self._send(attempt, file, driver))
        except FileGone as error:
            reason, file_lost = str(error), True
        except Unauthorized as error:
            await self._shut_out(attempt, str(error))
            return True
        except Refused as error:
            reason = f"the printer refused the file: {error}"
        except DriverError as error:
            reason = self._tried_to_send(attempt, error)
        else:
            if remote is not None:
                await self.store.write(lambda tx: printing.uploaded(tx, attempt, remote.path, remote.size))
            return True
        log.warning("attempt.upload_failed", attempt=attempt["id"], printer=self.settings.id, reason=reason)
        await self.store.write(lambda tx: (printing.lose_file if file_lost else printing.failed)(tx, attempt, reason))
        return True

    def _tried_to_send(self, attempt: Row, error: DriverError) -> str:
        """Count a transfer that broke. Raises `error` while another try is due; then returns why there is none."""
        tries = self._tries.get(attempt["id"], 0) + 1
        self._tries = {attempt["id"]: tries}
        self._send_again = {attempt["id"]: self.world.monotonic() + UPLOAD_PAUSE}
        if tries < UPLOAD_TRIES:
            raise error
        return f"the file could not be sent in {tries} tries: {error}"

    async def _staged(self, attempt: Row) -> Path:
        plate = await self.store.read(lambda c: get(c, t.plates, attempt["plate_id"]))
        hashes = {artifact["key"]: artifact["sha256"] for artifact in plate["artifacts"].values()}
        return await self.staging.ready(attempt["artifact"], hashes[attempt["artifact"]])

    async def _send(self, attempt: Row, file: Path, driver: Driver) -> RemoteFile:
        def progress(sent: int, size: int) -> None:
            live = self.registry.live(self.settings.id)
            self.registry.see(self.settings.id, replace(live, uploading=sent / size if size else 1.0))

        try:
            return await reach(driver.upload(file, attempt["id"], progress))
        finally:
            self.registry.see(self.settings.id, replace(self.registry.live(self.settings.id), uploading=None))

    async def _until_cancelled(self, attempt: Row, work: Awaitable[RemoteFile]) -> RemoteFile | None:
        """Wait for `work`, or give it up as soon as the attempt is not wanted any more (None)."""
        task = asyncio.ensure_future(work)
        watch = self.store.watch("attempts")
        try:
            while not task.done():
                bell = asyncio.ensure_future(watch.wait())
                try:
                    await asyncio.wait({task, bell}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    bell.cancel()
                row = await self.store.read(lambda c: get(c, t.attempts, attempt["id"]))
                if row["cancel_wanted"] and not task.done():
                    return None
            return task.result()
        finally:
            self.store.unwatch(watch)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _start(self, attempt: Row, driver: Driver) -> bool:
        remote = RemoteFile(attempt["remote_path"], attempt["id"], attempt["remote_size"])
        try:
            await self._same_class(attempt)
            spools = self.registry.live(self.settings.id).spools
            sent = await self.store.write(lambda tx: printing.start_sent(tx, attempt, spools))  # a wish to cancel is a Conflict
        except printing.StartWithheld as error:
            reason = str(error)
            await self.store.write(lambda tx: printing.failed(tx, attempt, reason, blame_plate=False))
            return True
        try:
            await reach(driver.start(remote, attempt["slot"]))
        except Unauthorized as error:
            reason = str(error)
            await self.store.write(lambda tx: self._locked_out(tx, sent, reason))
        except Refused as error:
            reason, foreign = f"the printer refused the start: {error}", isinstance(error, Busy)
            await self.store.write(lambda tx: printing.start_refused(tx, sent, reason, foreign=foreign, blame_plate=not foreign))
        except DriverError as error:
            log.warning("attempt.start_in_doubt", attempt=attempt["id"], printer=self.settings.id, error=str(error))
        return True

    async def _same_class(self, attempt: Row) -> None:
        """Raises `StartWithheld` when the printer was configured anew, as another kind than the file was sliced for."""
        plate = await self.store.read(lambda c: get(c, t.plates, attempt["plate_id"]))
        mine = plate["artifacts"].get(class_of(self.settings).key)
        if mine is None or mine["key"] != attempt["artifact"]:
            raise printing.StartWithheld(
                f"{self.settings.id} is configured as another kind of printer than the file was sliced for"
            )

    def _locked_out(self, tx: Tx, sent: Row, reason: str) -> None:
        printing.start_refused(tx, sent, reason, foreign=False, blame_plate=False)
        printing.quarantine(tx, self.settings.id, f"{reason}; when that is mended, enable the printer")

    async def _shut_out(self, attempt: Row, reason: str) -> None:
        def write(tx: Tx) -> None:
            printing.failed(tx, attempt, reason, blame_plate=False)
            printing.quarantine(tx, self.settings.id, f"{reason}; when that is mended, enable the printer")

        await self.store.write(write)

    async def _cancel(self, attempt: Row, driver: Driver) -> bool:
        if attempt["cancel_sent_at"] is None:
            await self.store.write(lambda tx: change(tx, t.attempts, attempt, cancel_sent_at=tx.world.now()))
        await self._command(Step.CANCEL, attempt, driver.cancel, driver)
        return False

    async def _answer(self, attempt: Row, driver: Driver) -> bool:
        """Give a person's answer once at most: a second time it could answer what the machine asks next."""
        choice = attempt["answer"]
        attempt = await self.store.write(lambda tx: change(tx, t.attempts, attempt, answer=None))
        try:
            await reach(driver.answer(attempt["id"], choice))
        except DriverError as error:
            log.warning("attempt.not_answered", attempt=attempt["id"], printer=self.settings.id, choice=choice, error=str(error))
        return True

    async def _command(self, step: Step, attempt: Row, send: Callable[[str], Awaitable[None]], driver: Driver) -> bool:
        """Send a command that may be repeated, not more often than `REPEAT_AFTER`."""
        now, key = self.world.monotonic(), (attempt["id"], step)
        if now - self._sent.get(key, -REPEAT_AFTER) < REPEAT_AFTER:
            return False
        self._sent = {old: at for old, at in self._sent.items() if old[0] == attempt["id"]} | {key: now}
        if step is not Step.CANCEL and Capability.PAUSE not in driver.capabilities:
            await self.store.write(lambda tx: change(tx, t.attempts, attempt, wish=""))
            return True
        try:
            await reach(send(attempt["id"]))
        except NotOurs as error:
            log.info("attempt.not_on_machine", attempt=attempt["id"], printer=self.settings.id, error=str(error))
        return False

    async def remove(self, attempt: Row, driver: Driver) -> bool:
        """Delete an ended attempt's file from the printer, as far as the printer can; False when it has to be tried another day."""
        if Capability.REMOVE in driver.capabilities:
            try:
                await reach(driver.remove(RemoteFile(attempt["remote_path"], attempt["id"], attempt["remote_size"])))
            except DriverError as error:
                log.info("attempt.file_kept", attempt=attempt["id"], printer=self.settings.id, error=str(error))
                return False
        await self.store.write(lambda tx: change(tx, t.attempts, attempt, remote_path=None))
        return True
