"""What a print leaves behind that nobody here booked: it ended unwatched, or a person called the bed clear while it still ran.

A memory over one supervisor's snapshots, without I/O. It only names what was left; whether a part of it may lie on a bed that is
called clear is judged by the rows.
"""

from dataclasses import dataclass

from drivers.contract import Phase, Snapshot


@dataclass(frozen=True, slots=True)
class Trace:
    """A print that rests on the machine. `watched`: its end was seen; otherwise its file was there when we came back."""

    token: str | None
    file: str | None
    watched: bool


class Traces:
    """Looks at every snapshot in turn; `unjudged` holds what was found, oldest first, until somebody takes it out."""

    def __init__(self) -> None:
        self.unjudged: list[Trace] = []
        self._running: Snapshot | None = None
        self._file: str | None = None  # the last file seen on the machine
        self._epoch: int | None = None  # None while the machine is out of sight

    def lost(self) -> None:
        """The machine is out of sight; anything may happen there."""
        self._epoch = None

    def look(self, snapshot: Snapshot) -> None:
        """Take in one more snapshot."""
        if snapshot.phase is Phase.OFFLINE:
            self.lost()
            return
        away = self._epoch != snapshot.epoch
        if snapshot.active:
            self._running = snapshot
        elif self._running is not None:
            self.unjudged.append(Trace(self._running.token, self._running.file, watched=True))
            self._running = None
        elif away and _may_have_run(snapshot) and snapshot.file != self._file:
            self.unjudged.append(Trace(snapshot.token, snapshot.file, watched=False))
        self._file, self._epoch = snapshot.file, snapshot.epoch


def _may_have_run(snapshot: Snapshot) -> bool:
    """A stranger's file may have been printed and stopped; one of ours that did not run to its end is only there to be started."""
    return snapshot.file is not None and (snapshot.token is None or snapshot.phase is Phase.FINISHED)
