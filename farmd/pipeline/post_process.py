"""Post-processing: an operator settles units that wait at a step. Good ones move on, scrapped ones are printed again.

A job's steps form a line: printed units wait at the first, and a unit is good only past the last. What the job prints
meanwhile does not matter. Counts can never take more units from a step than wait there.
"""

from dataclasses import dataclass

from farmd.domain.catalog import Problem
from farmd.domain.lifecycle import JobState
from farmd.domain.refusals import NotNow, Unacceptable
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.printing import PRINTABLE
from farmd.store.rows import Row, change, get
from farmd.store.work import follow_ledger

_OPEN = PRINTABLE | {JobState.FAILED}
"""A job that failed at printing may still hold good prints."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of the units of one call: `good` went past the step, `scrapped` are to be printed again."""

    good: int
    scrapped: int

    @property
    def units(self) -> int:
        return self.good + self.scrapped


def settle_step(tx: Tx, job_id: str, step: str | int, settled: Settled) -> Row:
    """Record what became of units that waited at `step` (its name, or its index from 0); returns the job as it is then.

    Raises `Missing`, `Unacceptable` (no such step, counts that settle nothing) and `NotNow` (not that many wait there).
    """
    if settled.good < 0 or settled.scrapped < 0 or settled.units < 1:
        detail = "good and scrapped count units, and at least one unit must be settled"
        raise Unacceptable("nothing_settled", [Problem("/good", detail)])
    job = get(tx.connection, t.jobs, job_id)
    if not job["steps"]:
        raise NotNow("no_post_processing", f"{job_id} has no post-processing; its prints are good as they come off the bed")
    at = _find_step(job, step)
    if JobState(job["state"]) not in _OPEN or job["at_step"][at] < settled.units:
        raise NotNow("not_that_many_units", _too_many(job, at, settled))
    change(tx, t.jobs, job, **_moved(job, at, settled))
    return follow_ledger(tx, job_id)


def _find_step(job: Row, step: str | int) -> int:
    """The step's index; of two with the same name, the first at which units wait."""
    steps: list[str] = job["steps"]
    named = [index for index, name in enumerate(steps) if step in (index, name)]
    if not named:
        detail = f"{step!r} is no step of this job; its steps are {', '.join(steps)}"
        raise Unacceptable("unknown_step", [Problem("/step", detail)])
    return next((index for index in named if job["at_step"][index]), named[0])


def _too_many(job: Row, at: int, settled: Settled) -> str:
    return (
        f"{settled.units} unit(s) were reported (good {settled.good}, scrapped {settled.scrapped}), but {job['at_step'][at]} "
        f"wait at {job['steps'][at]!r} and the job is {job['state']}"
    )


def _moved(job: Row, at: int, settled: Settled) -> dict[str, object]:
    """The ledger after the call."""
    at_step = list(job["at_step"])
    at_step[at] -= settled.units
    last = at + 1 == len(at_step)
    if not last:
        at_step[at + 1] += settled.good
    done = settled.good if last else 0
    return {
        "at_step": at_step,
        "good": job["good"] + done,
        "printed": job["printed"] - done - settled.scrapped,
        "scrapped": job["scrapped"] + settled.scrapped,
        "waiting": job["waiting"] + settled.scrapped,
    }
