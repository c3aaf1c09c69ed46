"""What truly happened at a virtual Bambu printer, for whoever judges a farm by it.

No protocol shows this. Every print that put plastic on the bed stands here, whatever its reports said, and everything a client did
that a printer would not forgive.
"""

from dataclasses import dataclass, field

from drivers.virtual.history import Outcome


@dataclass(slots=True)
class PrintMade:
    """One print begun on this machine; moments are seconds of its own time. `fed`: the trays whose filament was used, -1 for the
    spool outside; `filaments` what the file wanted of each."""

    file: str
    plate: int
    subtask_id: str
    subtask_name: str
    started: float
    on_occupied_bed: bool
    fed: tuple[int, ...]
    filaments: tuple[str, ...]
    outcome: Outcome = Outcome.RUNNING
    ended: float | None = None
    hottest: float = 0.0  # what its nozzle was sent to, degrees Celsius
    pauses: int = 0
    layers: int = 0  # printed by its end

    def close(self, outcome: Outcome, at: float) -> None:
        if self.ended is None:
            self.outcome, self.ended = outcome, at


@dataclass(slots=True)
class FileTaken:
    """An upload as it lies on the card."""

    path: str
    size: int
    whole: bool


@dataclass(slots=True)
class Record:
    """`starts` has the subtask_id of every start that arrived, also of those that came to nothing. `complaints` is what a client
    did wrong, in words; `pushalls` when the whole state was asked for."""

    prints: list[PrintMade] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    uploads: list[FileTaken] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    pushalls: list[float] = field(default_factory=list)

    @property
    def running(self) -> PrintMade | None:
        last = self.prints[-1] if self.prints else None
        return last if last is not None and last.ended is None else None
