"""The whole safety argument in one function: what is wanted (an attempt row) against what is observed (a snapshot) gives one step.

The supervisor performs the step, records what came of it and asks again. Nothing else decides what a printer is told. The rule
the table defends: a start is sent at most once per attempt, and after a start that was not proven refused, an idle printer proves
nothing. Pure; times are seconds on the caller's monotonic clock.
"""

from dataclasses import dataclass
from enum import StrEnum

from farmd.domain.lifecycle import AttemptState


class Seen(StrEnum):
    """A driver's phase, as far as the decision needs it."""

    OFFLINE = "offline"
    IDLE = "idle"
    BUSY = "busy"
    PRINTING = "printing"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    ERROR = "error"


class History(StrEnum):
    """What the printer's own history said about our token, once asked."""

    NOT_ASKED = "not_asked"
    SILENT = "silent"  # asked; it cannot tell
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Step(StrEnum):
    """The one thing to do next."""

    WAIT = "wait"
    UPLOAD = "upload"
    START = "start"
    MARK_PRINTING = "mark_printing"
    MARK_PAUSED = "mark_paused"
    PAUSE = "pause"
    RESUME = "resume"
    ANSWER = "answer"
    CANCEL = "cancel"
    ASK_HISTORY = "ask_history"
    SUCCEED = "succeed"
    FAIL = "fail"
    SETTLE_CANCELLED = "settle_cancelled"
    LOSE = "lose"
    SURRENDER = "surrender"  # nothing was started, and somebody else uses the printer: give the plate back, distrust the bed
    RELEASE = "release"  # nothing was started, and the printer stays away: give the plate back


class Wish(StrEnum):
    """What an operator asked of a running print; forgotten once seen."""

    NONE = ""
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The attempt row, reduced to what the decision needs. A row in STARTING or later may have had its start sent."""

    state: AttemptState
    token: str
    cancel_wanted: bool = False
    cancel_sent: bool = False
    wish: Wish = Wish.NONE
    plate_wanted: bool = True  # False once the job was cancelled: nobody will print this plate again
    lasts: float = 0.0  # seconds the slicer expects the print to take
    answer: int | None = None  # the choice a person made of those the machine gives


@dataclass(frozen=True, slots=True)
class Observed:
    """The snapshot, with what this connection has learned so far."""

    seen: Seen
    token: str | None = None
    history: History = History.NOT_ASKED
    settled_for: float = 0.0  # seconds the printer has been seen like this, unbroken


START_PATIENCE = 30.0
"""Seconds an accepted start may take to show before the attempt is called UNKNOWN."""
OFFLINE_PATIENCE = 120.0
"""Seconds a printer may stay away before a plate that was not started goes to another one."""
AWAY_FACTOR, AWAY_MARGIN = 1.2, 900.0
"""A printer that stays away for longer than `AWAY_FACTOR` times the whole print and `AWAY_MARGIN` seconds has ended it by now, in
one way or another: a person must be told instead of waiting for ever for a machine that may be dead."""

_BEFORE_START = (AttemptState.ASSIGNED, AttemptState.UPLOADING, AttemptState.UPLOADED)
_ACTIVE = (Seen.PRINTING, Seen.PAUSED, Seen.STOPPING)


def next_step(wanted: Wanted, observed: Observed) -> Step:
    """What to do now. Total: every combination has an answer, and doubt is answered with WAIT, ASK_HISTORY or LOSE, never START."""
    if wanted.state in _BEFORE_START:
        return _before_start(wanted, observed)
    ours = observed.token == wanted.token
    if observed.seen in (Seen.OFFLINE, Seen.BUSY):
        return _out_of_sight(wanted, observed)
    if ours and observed.seen in _ACTIVE:
        return _running(wanted, observed)
    if ours and observed.seen is Seen.FINISHED:
        return Step.SUCCEED
    return _gone(wanted, observed)


def _before_start(wanted: Wanted, observed: Observed) -> Step:
    if wanted.cancel_wanted:
        return Step.SETTLE_CANCELLED
    if observed.seen in (Seen.OFFLINE, Seen.BUSY, Seen.ERROR):
        return Step.RELEASE if observed.settled_for >= OFFLINE_PATIENCE else Step.WAIT
    if observed.seen in _ACTIVE:
        return Step.SURRENDER
    return Step.START if wanted.state is AttemptState.UPLOADED else Step.UPLOAD


def _out_of_sight(wanted: Wanted, observed: Observed) -> Step:
    """A lost link proves nothing, however long: a print that is called lost is taken up again when it is seen."""
    over = observed.settled_for >= AWAY_FACTOR * wanted.lasts + AWAY_MARGIN
    return Step.LOSE if over and wanted.state is not AttemptState.UNKNOWN else Step.WAIT


def _running(wanted: Wanted, observed: Observed) -> Step:
    if observed.seen is Seen.STOPPING:
        return Step.WAIT
    if wanted.cancel_wanted and wanted.state is not AttemptState.UNKNOWN:  # what came back is taken up first: it soils the bed
        return Step.CANCEL
    if observed.seen is Seen.PAUSED:
        if wanted.state is not AttemptState.PAUSED:
            return Step.MARK_PAUSED
        if wanted.answer is not None:
            return Step.ANSWER
        return Step.RESUME if wanted.wish is Wish.RESUME else Step.WAIT
    if wanted.state is not AttemptState.PRINTING:
        return Step.MARK_PRINTING
    return Step.PAUSE if wanted.wish is Wish.PAUSE else Step.WAIT


def _gone(wanted: Wanted, observed: Observed) -> Step:
    """Ours is not on the machine (any more): only the printer's history may say how it ended."""
    match observed.history:
        case History.NOT_ASKED:
            return Step.ASK_HISTORY
        case History.SUCCEEDED:
            return Step.SUCCEED
        case History.FAILED | History.CANCELLED:
            return Step.SETTLE_CANCELLED if wanted.cancel_sent else Step.FAIL
    resting = observed.seen not in _ACTIVE and observed.seen is not Seen.ERROR
    if wanted.state is AttemptState.STARTING and resting and observed.settled_for < START_PATIENCE:
        return Step.WAIT
    if not wanted.plate_wanted:
        return Step.SETTLE_CANCELLED  # a start that comes late after all is stopped by its token, see `ghost_step`
    return Step.WAIT if wanted.state is AttemptState.UNKNOWN else Step.LOSE


def ghost_step(state: AttemptState, seen: Seen, *, start_seen: bool) -> Step:
    """What to do about a running print that carries the token of an attempt which does not hold the printer any more.

    A cancelled print that runs after all is stopped. So is one that was settled as failed before its start was ever seen to work:
    the command arrives late, and its units are being made elsewhere by now. Anything else (somebody printed the file again by hand)
    is left alone.
    """
    unwanted = state is AttemptState.CANCELLED or (state is AttemptState.FAILED and not start_seen)
    return Step.CANCEL if unwanted and seen in (Seen.PRINTING, Seen.PAUSED) else Step.WAIT
