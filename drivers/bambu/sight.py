"""What the farm is shown of a Bambu printer: its session's knowledge in the words of the driver port.

FINISH, FAILED and IDLE all mean that it rests; whose part lies on the bed is told by the names alone. A start on its way makes it
BUSY, whatever old state it still shows.
"""

from collections.abc import Mapping

from drivers.bambu import fields
from drivers.bambu.faults import Fault, Kind, first, pause_words
from drivers.bambu.prints import Print
from drivers.bambu.session import Session
from drivers.bambu.trays import awaited
from drivers.contract import Concern, Outcome, Phase, Snapshot

NO_REPORT = "connected, but the printer has not told its state yet"


class Sight:
    """Makes snapshots of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def snapshot(self) -> Snapshot:
        """The picture of this moment."""
        session = self._session
        if not session.ready or not session.state:
            return Snapshot(Phase.OFFLINE, session.epoch, message=NO_REPORT)
        picture, at_hand = session.picture, session.identity
        phase, message = self._phase()
        own = session.token if phase in (Phase.PRINTING, Phase.PAUSED, Phase.STOPPING, Phase.FINISHED) else None
        file = at_hand.subtask_name or at_hand.file.rpartition("/")[2] or None
        at_work = phase in (Phase.PRINTING, Phase.PAUSED, Phase.STOPPING)
        percent, layer = session.advance
        minutes = fields.minutes_left(picture) if at_work else None
        return Snapshot(
            phase=phase,
            epoch=session.epoch,
            token=own,
            file=None if session.token is not None and own is None else file,
            progress=percent / 100 if at_work else (1.0 if phase is Phase.FINISHED else None),
            seconds_left=None if minutes is None else minutes * 60,
            position=percent + 1000 * layer if at_work else None,
            temperatures=fields.temperatures_of(picture, chamber=session.model.chamber),
            message=message,
            concerns=self._concerns(phase),
            spools=session.spools,
        )

    def _phase(self) -> tuple[Phase, str | None]:
        session = self._session
        fault, state = session.fault, session.state
        if session.launch is not None:
            return Phase.BUSY, f"the start of {session.launch.token} is on its way"
        if session.stranger_until:
            return Phase.BUSY, "somebody else's start is on its way"
        if state in fields.ACTIVE:
            if session.stopping is not None and session.stopping[0] == session.token:
                return Phase.STOPPING, None
            return (Phase.PAUSED if state == "PAUSE" else Phase.PRINTING), _words(fault)
        if fault is not None and fault.kind is Kind.MACHINE:
            return Phase.ERROR, f"{fault}; put the message on its screen away when it is mended"
        if state == "FINISH" and self._ran_to_its_end():
            return Phase.FINISHED, _words(fault)
        return Phase.IDLE, _words(fault)

    def _ran_to_its_end(self) -> bool:
        """A stranger's print that shows FINISH did; of ours that is written down, because FINISH may still be the print before."""
        session = self._session
        known: Print | None = session.prints.get(session.token)
        return session.token is None or (known is not None and known.ended is Outcome.SUCCEEDED)

    def _concerns(self, phase: Phase) -> Mapping[Concern, str]:
        session = self._session
        faults = session.hms if session.fault is None else (session.fault, *session.hms)
        found = {}
        if phase is Phase.PAUSED and (words := self._why_held(faults)) is not None:
            found[Concern.HELD] = words
        if (broken := first(faults, Kind.MACHINE)) is not None:
            found[Concern.MACHINE_FAULT] = str(broken)
        if (storage := first(faults, Kind.STORAGE)) is not None:
            found[Concern.STORAGE] = str(storage)
        elif session.card is not None:
            found[Concern.STORAGE] = session.card
        if (locked := session.locked) is not None:
            found[Concern.LOCKED] = locked
        return found

    def _why_held(self, faults: tuple[Fault, ...]) -> str | None:
        picture = self._session.picture
        held = first(faults, Kind.HELD)
        words = str(held) if held is not None else pause_words(picture.get("stg_cur"))
        if words is not None and "run out" in words and (slot := awaited(picture)) is not None:
            words += f" (it waits for {slot})"
        return words


def _words(fault: Fault | None) -> str | None:
    return str(fault) if fault is not None and fault.kind is not Kind.NOTE else None
