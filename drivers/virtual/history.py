"""What truly happened on a virtual machine, for whoever checks a farm against it.

No protocol shows this. It must record every print that was begun, whatever the software on top believed.
"""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"  # the link or the firmware gave up
    LOST = "lost"  # the power went; the machine itself knows nothing of it
    RESTARTED = "restarted"  # begun anew from a pause


@dataclass(slots=True)
class PrintRecord:
    """One print begun on this machine; times are seconds since the epoch."""

    path: str
    user: str | None
    started: float
    on_occupied_bed: bool
    outcome: Outcome = Outcome.RUNNING
    ended: float | None = None

    def close(self, outcome: Outcome, at: float) -> None:
        self.outcome, self.ended = outcome, at
