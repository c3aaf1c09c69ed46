"""Starting a print, once at most.

Everything that can be looked at is looked at first: after the command has left, only the printer's own words tell what came of it.
What fails before that is a proof that nothing was started, and is written down as such.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from drivers.bambu.connection import Connection
from drivers.bambu.errands import FileServer
from drivers.bambu.faults import LOCKED_WORDS, Kind
from drivers.bambu.fields import REST, is_locked
from drivers.bambu.launch import Launch, Refusal
from drivers.bambu.options import Options
from drivers.bambu.prints import MOST_IDS, Print
from drivers.bambu.session import Session
from drivers.bambu.trays import EXTERNAL, Mapping2, mapping_for
from drivers.bambu.waiting import Waiters
from drivers.contract import Busy, DriverError, NotOurs, Outcome, Refused, RemoteFile, Unauthorized, Unreachable

FRESHEN_SECONDS = 10.0
"""How long a full report may take that is asked for before a start."""
ANSWER_SECONDS = 15.0
"""How long a start waits for a word about it; after that its fate is seen in the reports alone."""
PUT_AWAY_SECONDS = 3.0
STORED_TRUST = 120.0
"""Seconds for which a file whose size was just confirmed need not be looked for again."""


class Starter:
    """Starts prints on one printer. `save` writes the ledger; it raises `OSError`."""

    def __init__(
        self,
        options: Options,
        session: Session,
        link: Connection,
        files: FileServer,
        waiters: Waiters,
        save: Callable[[], Awaitable[None]],
        wall: Callable[[], float],
    ) -> None:
        self._options, self._session, self._link = options, session, link
        self._files, self._waiters, self._save, self._wall = files, waiters, save, wall
        self._stored: dict[str, float] = {}  # token -> when its size was confirmed

    def stored(self, token: str) -> None:
        """Its file is on the printer, whole."""
        self._stored = {token: asyncio.get_running_loop().time()}

    def gone(self, token: str) -> None:
        """Its file was deleted."""
        self._stored.pop(token, None)

    async def start(self, remote: RemoteFile, slot: str | None) -> None:
        """See `Driver.start`."""
        known = self._session.prints.get(remote.token)
        if known is None or known.file != remote.path:
            self._free()
            raise Refused(f"{remote.path} was not uploaded from here: upload it again")
        try:
            launch = await self._send(known, slot)
        except Unreachable:
            self._session.prints.note(known.token, ended=Outcome.FAILED)  # nothing left: that much is certain
            raise
        await self._accepted(launch)

    async def _send(self, known: Print, slot: str | None) -> Launch:
        """Everything up to the moment at which the command leaves. Whatever is raised here, it did not."""
        self._free()
        places = self._places(known, slot)
        await self._look_for(known)
        await self._freshen()
        self._free()
        await self._put_error_away()
        session, now = self._session, asyncio.get_running_loop().time
        known = replace(
            known, subtask_id=self._new_id(), sent_at=self._wall(), before=session.state, begun=False, stopped=False, ended=None
        )
        session.prints.put(known)
        try:
            await self._save()
            self._free()
        except OSError as error:
            session.prints.put(replace(known, subtask_id=""))
            raise Refused(f"the start cannot be written down ({error.strerror}), so it was not sent", retryable=True) from error
        except DriverError:
            session.prints.put(replace(known, subtask_id=""))
            raise
        command = session.commands.start(known, places, self._options.model, self._options.url)
        launch = Launch(known.token, command.sequence_id, now(), session.state, session.error_number, session.hms)
        session.launching(launch, command)
        if not self._link.send():
            session.launch = None
            raise Unreachable(f"the link broke before the start of {known.token} was sent")
        self._link.soon()
        return launch

    async def _accepted(self, launch: Launch) -> None:
        await self._waiters.until(lambda: launch.landed or launch.begun or launch.refusal is not None, ANSWER_SECONDS)
        match launch.refusal:
            case Refusal.LOCKED:
                raise Unauthorized(launch.words)
            case Refusal.BUSY:
                raise Busy(launch.words)
            case Refusal.REFUSED:
                raise Refused(f"the printer did not start {launch.token}: {launch.words}")
        if not (launch.landed or launch.begun):
            raise Unreachable(f"the printer does not say whether it took the start of {launch.token}")

    def _free(self) -> None:
        """Raises what keeps the printer from being started at this moment."""
        session = self._session
        if not self._link.up:
            raise Unreachable(f"no link to the printer: {self._link.words}")
        if is_locked(session.picture):
            raise Unauthorized(LOCKED_WORDS)
        if session.launch is not None:
            raise Busy(f"the start of {session.launch.token} is on its way")
        if session.stranger_until:
            raise Busy(f"somebody else's start is on its way ({session.identity.subtask_name or session.identity.file})")
        if session.state not in REST:
            raise Busy(f"the printer is at work ({session.state or 'it tells no state'})")
        if session.fault is not None and session.fault.kind is Kind.MACHINE:
            raise Refused(f"{session.fault}; put the message on the printer's screen away when it is mended", retryable=True)

    def _places(self, known: Print, slot: str | None) -> Mapping2:
        """Where the filament comes from: as named, or the only place there is."""
        session = self._session
        spools = {spool.slot: spool for spool in session.spools or ()}
        if slot is None and session.has_changer:
            if len(spools) != 1:
                raise Refused(f"the printer could print from {', '.join(spools) or 'no place, all are empty'}: name one")
            slot = next(iter(spools))
        if slot is not None and slot not in spools and (session.has_changer or slot != EXTERNAL):
            raise Refused(f"nothing lies in {slot}; loaded is {', '.join(spools) or 'nothing that the printer knows of'}")
        spool = spools.get(slot or EXTERNAL)
        if spool is not None and spool.material and known.material and spool.material != known.material:
            raise Refused(f"{spool.slot} holds {spool.material}, and {known.token} was sliced for {known.material}")
        try:
            return mapping_for(slot, known.filaments, known.position)
        except ValueError as error:
            raise Refused(str(error)) from error

    async def _look_for(self, known: Print) -> None:
        """Starting a file that is not there, or not all of it, makes the printer complain of its card."""
        confirmed = self._stored.get(known.token)
        if confirmed is not None and asyncio.get_running_loop().time() - confirmed < STORED_TRUST:
            return
        size = await self._files.size(known.file)
        if size is None:
            raise Refused(f"{known.file} is not on the printer: upload it again")
        if size != known.size:
            raise Refused(f"{known.file} is {size} bytes on the printer, not {known.size}: upload it again")
        self.stored(known.token)

    async def _freshen(self) -> None:
        """See that what is known of the printer is of now: somebody may have started a print in a moment of silence."""
        session, loop = self._session, asyncio.get_running_loop()
        silent = loop.time() - session.heard_at
        if not session.gap and silent < session.timing.gap:
            return
        seen = session.fulls
        session.ask_all(loop.time(), urgent=True)
        self._link.send()
        if not await self._waiters.until(lambda: session.fulls > seen, FRESHEN_SECONDS):
            raise Unreachable(f"the printer fell silent ({max(silent, session.timing.gap):.0f} s) and does not tell its state anew")

    async def _put_error_away(self) -> None:
        """An error that a print before left on the screen makes some firmware refuse the next one."""
        session = self._session
        if number := session.error_number:
            session.say(*session.commands.forget_error(number, session.identity.subtask_id))
            self._link.send()
            await self._waiters.until(lambda: session.error_number == 0, PUT_AWAY_SECONDS)

    def _new_id(self) -> str:
        while True:
            subtask_id = str(secrets.randbelow(MOST_IDS) + 1)
            if self._session.prints.takes(subtask_id):
                return subtask_id


def check_ours(remote: RemoteFile, token: str | None) -> None:
    """Raises `NotOurs` for a file whose name does not say that it is `remote.token`'s."""
    if token != remote.token:
        raise NotOurs(f"{remote.path} was not uploaded by a farm under token {remote.token}")
