"""One Bambu Lab printer in LAN mode, with Developer Mode on, as the farm's driver port.

What is at hand is known by its names alone, so the print of a start is written down before the start leaves, and the start leaves
once at most. An answer proves little; reports prove what happened. Nothing here decides that a print failed because a link broke.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from drivers.bambu import ledger
from drivers.bambu.commands import FIRST_IDS, Command, Commands
from drivers.bambu.connection import Connection
from drivers.bambu.errands import FileServer
from drivers.bambu.faults import LOCKED_WORDS
from drivers.bambu.fields import ACTIVE, PREPARING, REST, nozzle_of
from drivers.bambu.mailbox import Mailbox
from drivers.bambu.options import Options
from drivers.bambu.prints import Print, Prints, entries, is_token, token_in
from drivers.bambu.project import Unprintable, misfit, read_project
from drivers.bambu.session import Session, Timing
from drivers.bambu.sight import Sight
from drivers.bambu.starting import Starter, check_ours
from drivers.bambu.tls import Place, Trust
from drivers.bambu.waiting import Waiters
from drivers.contract import (
    Busy,
    Capability,
    DriverError,
    NotOurs,
    Outcome,
    Phase,
    Progress,
    Refused,
    RemoteFile,
    Snapshot,
    Unauthorized,
    Unreachable,
)

RESYNC_SECONDS = 20.0
THROTTLE_SECONDS = 2.0
"""Between two snapshots that differ by temperatures alone."""
EFFECT_SECONDS = 20.0
"""How long a hold or a resume may take to show."""
ANSWER_SECONDS = 10.0
SAVE_AGAIN_SECONDS = 30.0
SWEEP_SECONDS, SWEEP_AGAIN_SECONDS = 10.0, 300.0
"""How often a resting printer is looked at for files nobody prints again, and the pause after a failure."""

log = logging.getLogger(__name__)
_CAPABILITIES = frozenset(Capability) - {Capability.ANSWER, Capability.SPOOLS}


class BambuDriver:
    """Implements `drivers.contract.Driver`. `folder` keeps the certificate first seen and the prints that were given."""

    def __init__(
        self,
        printer_id: str,
        options: Options,
        folder: Path,
        *,
        resync: float = RESYNC_SECONDS,
        timing: Timing | None = None,
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._printer_id, self._options, self._folder = printer_id, options, folder
        self._resync, self._timing, self._chance, self._wall = resync, timing or Timing(), chance, wall
        self._trust = Trust(options.tls, options.tls_ca, options.serial, folder)
        place = Place(options.host, options.ftps_port, options.serial)
        self._files = FileServer(place, options.access_code, self._trust, may_be_deaf=options.model.may_be_deaf)
        self._waiters = Waiters()
        self._boxes: set[Mailbox] = set()
        self._saving = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._shown: tuple[object, ...] = ()
        self._shown_at = 0.0
        self._sweep_at = self._save_at = 0.0
        self._fed: str | None = None
        self._loaded = False
        self._take(Prints())

    def __repr__(self) -> str:
        return f"BambuDriver({self._printer_id!r}, {self._options.serial!r})"

    def _take(self, known: Prints) -> None:
        first = FIRST_IDS.start + int(self._chance() * len(FIRST_IDS))
        self._session = Session(self._options.model, known, Commands(first), self._timing, self._wall)
        self._sight = Sight(self._session)
        self._link = Connection(self._printer_id, self._options, self._trust, self._session, self._changed, self._chance)
        self._starter = Starter(self._options, self._session, self._link, self._files, self._waiters, self._save, self._wall)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Which filament is loaded is told by machines with a filament changer, and where somebody wrote it down at the machine."""
        return _CAPABILITIES | {Capability.SPOOLS} if self._session.spools is not None else _CAPABILITIES

    async def connect(self) -> None:
        """See the port."""
        await self._load()
        await self._link.open()

    async def _load(self) -> None:
        if not self._loaded:
            known = await asyncio.to_thread(ledger.load, self._folder)
            if not self._loaded:  # two may have asked at the same time
                self._loaded = True
                self._take(known)

    # --- what is seen ---

    async def snapshots(self) -> AsyncIterator[Snapshot]:
        """See the port."""
        box = Mailbox()
        self._boxes.add(box)
        try:
            if not self._link.up:
                try:
                    await self.connect()
                except DriverError as error:
                    log.debug("printer %s: %s", self._printer_id, error)
            box.put(self._look())
            while (snapshot := await self._next(box)) is not None:
                yield snapshot
        finally:
            self._boxes.discard(box)

    async def _next(self, box: Mailbox) -> Snapshot | None:
        try:
            async with asyncio.timeout(self._resync):
                return await box.next()
        except TimeoutError:
            return self._look()

    def _look(self) -> Snapshot:
        if self._link.up:
            return self._sight.snapshot()
        return Snapshot(Phase.OFFLINE, self._session.epoch, message=self._link.words)

    def _changed(self) -> None:
        """Something arrived, or time passed: tell whoever waits for it."""
        self._waiters.look()
        session, now = self._session, asyncio.get_running_loop().time()
        if session.prints.changed and now >= self._save_at:
            self._spawn(self._save_behind())
        if session.feeding != self._fed:
            # another tray may take over in the middle of a print, without a pause
            log.info("printer %s: fed from %s instead of %s", self._printer_id, session.feeding, self._fed)
            self._fed = session.feeding
        up = self._link.up
        shown = session.mark if up else (self._link.words,)
        if (shown != self._shown or (up and now - self._shown_at >= THROTTLE_SECONDS)) and self._boxes:
            self._shown, self._shown_at = shown, now
            snapshot = self._look()
            for box in self._boxes:
                box.put(snapshot)
        if up and now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self._spawn_sweep()

    # --- files ---

    async def upload(self, file: Path, token: str, progress: Progress) -> RemoteFile:
        """See the port. The file is read through first: what the printer would refuse, or print wrongly, does not go up."""
        await self._load()
        if not is_token(token):
            raise Refused(f"token {token!r} cannot be a file name: use 1 to 80 letters, digits and dashes")
        session = self._session
        if session.launch is not None and session.launch.token == token:
            raise Busy(f"{token} is being started")
        try:
            size = (await asyncio.to_thread(file.stat)).st_size
            project = await asyncio.to_thread(read_project, file)
        except OSError as error:
            raise Refused(f"cannot read {file}: {error.strerror}") from error
        except Unprintable as error:
            raise Refused(str(error)) from error
        if (words := misfit(project, self._options.model, nozzle_of(session.picture), session.spools)) is not None:
            raise Refused(f"{file.name} does not fit this printer: {words}")
        print_ = Print(token, size, project.plate, project.filaments, project.position, project.material)
        await self._files.put(file, print_.file, size, progress)
        session.prints.put(print_)
        self._starter.stored(token)
        await self._save_behind()
        return RemoteFile(print_.file, token, size)

    async def remove(self, remote: RemoteFile) -> None:
        """See the port."""
        check_ours(remote, token_in(remote.path))
        self._need_link()
        session = self._session
        at_work = session.token == remote.token and session.state in ACTIVE
        if at_work or (session.launch is not None and session.launch.token == remote.token):
            raise Busy(f"{remote.token} is being printed")
        await self._delete(remote.token, remote.path)

    async def _delete(self, token: str, path: str) -> None:
        self._starter.gone(token)
        await self._files.delete(path)
        self._session.prints.note(token, removed=True)

    def _spawn_sweep(self) -> None:
        """A file whose print has ended goes: some firmware prints by itself what it finds after a power cut; cards are small."""
        session = self._session
        if session.state in REST and session.launch is None:
            over = next((each for each in session.prints if not each.removed and session.is_over(each)), None)
            if over is not None:
                self._sweep_at = float("inf")
                self._spawn(self._sweep(over))

    async def _sweep(self, over: Print) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._delete(over.token, over.file)
            self._sweep_at = loop.time()
        except DriverError as error:
            log.info("printer %s: %s stays on it for now: %s", self._printer_id, over.file, error)
            self._sweep_at = loop.time() + SWEEP_AGAIN_SECONDS

    # --- the print ---

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:
        """See the port. A file is deleted by itself when its print has ended."""
        await self._load()
        check_ours(remote, token_in(remote.path))
        await self._starter.start(remote, slot)

    async def pause(self, token: str) -> None:
        """See the port. Returns when the print is held; `Refused` when nothing is being printed. A print that is still being
        prepared cannot be held: printers forget such a wish, so it waits for a while here."""
        self._own_print(token, "pause")
        if not await self._waiters.until(lambda: self._session.state not in PREPARING, EFFECT_SECONDS):
            raise Refused(f"cannot pause {token} yet: it is still being prepared", retryable=True)
        self._own_print(token, "pause")
        await self._effect(self._session.commands.pause, frozenset({"PAUSE"}), f"pause {token}")

    async def resume(self, token: str) -> None:
        """See the port. Returns when the print goes on; `Refused` when nothing is being printed."""
        self._own_print(token, "resume")
        await self._effect(self._session.commands.resume, ACTIVE - {"PAUSE"}, f"resume {token}")

    async def answer(self, token: str, choice: int) -> None:
        """See the port. What the printer asks is answered on its screen."""
        raise Refused(f"cannot answer {choice} for {token}: a Bambu printer is answered on its screen")

    async def cancel(self, token: str) -> None:
        """See the port."""
        self._need_link()
        session = self._session
        if session.launch is not None and session.launch.token == token:
            raise Refused(f"the start of {token} is on its way; it can be stopped when it has begun", retryable=True)
        if session.state not in ACTIVE:
            return
        if session.token != token:
            raise NotOurs(f"cannot cancel {token}: {session.identity.subtask_name or 'another print'} is on the machine")
        if session.stopping is not None:
            return
        command = session.commands.stop()
        session.stop_sent(token, asyncio.get_running_loop().time())
        try:
            await self._order(command, frozenset(), f"cancel {token}", ANSWER_SECONDS)
        except DriverError:
            session.stopping = None
            raise

    async def outcome(self, token: str) -> Outcome | None:
        """See the port. The printer keeps no history: this is what was seen of the print, or what the printer still shows of it."""
        await self._load()
        known = self._session.prints.get(token)
        if known is None or known.ended is not None or not known.subtask_id:
            return known.ended if known is not None else None
        self._need_link()
        return None

    async def close(self) -> None:
        """See the port."""
        await self._link.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session.prints.changed:
            await self._save_behind()
        for box in self._boxes:
            box.end()

    def _need_link(self) -> None:
        if not self._link.up:
            raise Unreachable(f"no link to the printer: {self._link.words}")

    def _own_print(self, token: str, action: str) -> None:
        self._need_link()
        session = self._session
        if session.state not in ACTIVE:
            raise Refused(f"cannot {action} {token}: nothing is being printed")
        if session.token != token:
            raise NotOurs(f"cannot {action} {token}: {session.identity.subtask_name or 'another print'} is on the machine")
        if session.stopping is not None:
            raise Refused(f"cannot {action} {token}: it is being cancelled")

    async def _effect(self, command: Callable[[], Command], wanted: frozenset[str], action: str) -> None:
        """Give a command unless it has its effect already, and wait for that."""
        if self._session.state in wanted:
            return
        await self._order(command(), wanted, action, EFFECT_SECONDS)
        if self._session.state not in ACTIVE:
            raise Refused(f"cannot {action}: the print has ended")

    async def _order(self, command: Command, wanted: frozenset[str], action: str, seconds: float) -> None:
        """Send a command and wait until one of the `wanted` states shows or the print is over; without wanted ones an answer will
        do. Raises `Refused`, `Unauthorized`, `Unreachable`."""
        session = self._session
        session.say(command)
        if not self._link.send():
            raise Unreachable(f"cannot {action}: the link broke")
        self._link.soon()

        def settled() -> bool:
            answer = session.answers.get(command.sequence_id)
            refused = answer is not None and (answer.ok is False or answer.unsigned)
            taken = answer is not None and answer.ok is True and not wanted
            return refused or taken or session.state in wanted or session.state not in ACTIVE or not self._link.up

        in_time = await self._waiters.until(settled, seconds)
        answer = session.answers.get(command.sequence_id)
        if answer is not None and answer.unsigned:
            raise Unauthorized(LOCKED_WORDS)
        if answer is not None and answer.ok is False:
            raise Refused(f"the printer would not {action}: {answer.reason or 'it gives no reason'}")
        if not self._link.up:
            raise Unreachable(f"cannot {action}: {self._link.words}")
        if not in_time:
            session.doubt()
            self._link.soon()
            raise Unreachable(f"the printer does not {action}: no effect within {seconds:.0f} s")

    # --- the ledger ---

    async def _save(self) -> None:
        """Write the ledger. Raises `OSError`."""
        async with self._saving:
            known = self._session.prints
            known.changed = False
            try:
                await asyncio.to_thread(ledger.save, self._folder, entries(known))
            except OSError:
                known.changed = True
                raise

    async def _save_behind(self) -> None:
        try:
            await self._save()
        except OSError as error:
            self._save_at = asyncio.get_running_loop().time() + SAVE_AGAIN_SECONDS
            log.warning("printer %s: its prints cannot be written down: %s", self._printer_id, error.strerror)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
