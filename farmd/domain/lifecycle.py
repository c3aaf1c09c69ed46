"""Every state, signal and legal move of jobs and attempts, and the order status as a fold over its facts.

Rule one: whatever decides a status lives in this module. `store.transitions.advance` is its only caller that writes; an illegal
move raises `IllegalMove` and changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """One line item on its way from paid to good parts."""

    CREATED = "CREATED"
    VALIDATING = "VALIDATING"
    SLICING = "SLICING"
    QUEUED = "QUEUED"
    PRINTING = "PRINTING"
    POST_PROCESSING = "POST_PROCESSING"
    READY = "READY"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class JobSignal(StrEnum):
    """What may happen to a job."""

    VALIDATE = "validate"
    SLICE = "slice"
    QUEUE = "queue"
    PRINT = "print"
    REQUEUE = "requeue"
    PRINTED = "printed"
    FINISH = "finish"
    FAIL = "fail"
    RETRY = "retry"
    CANCEL = "cancel"


class AttemptState(StrEnum):
    """One plate on one printer, once."""

    ASSIGNED = "ASSIGNED"
    UPLOADING = "UPLOADING"
    UPLOADED = "UPLOADED"
    STARTING = "STARTING"
    PRINTING = "PRINTING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"


class AttemptSignal(StrEnum):
    """What may happen to an attempt."""

    UPLOAD = "upload"
    UPLOADED = "uploaded"
    SEND_START = "send_start"
    REFUSED = "refused"
    SEEN_PRINTING = "seen_printing"
    SEEN_PAUSED = "seen_paused"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    LOSE = "lose"


class OrderStatus(StrEnum):
    """The nine words of the order API."""

    PENDING_PAYMENT = "pending_payment"
    PAID = "paid"
    PROCESSING = "processing"
    PRINTING = "printing"
    POST_PROCESSING = "post_processing"
    READY = "ready"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"


class PaymentStatus(StrEnum):
    """Where the money is."""

    UNPAID = "unpaid"
    PROCESSING = "processing"  # the customer has paid, the bank takes its days
    AUTHORIZED = "authorized"  # promised, not collected yet
    PAID = "paid"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    REFUND_PENDING = "refund_pending"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    CHARGED_BACK = "charged_back"
    REVIEW = "review"  # what was paid is not what was asked for


class IllegalMove(Exception):
    """This state does not know this signal; nothing was changed."""

    def __init__(self, state: str, signal: str) -> None:
        super().__init__(f"a row in state {state} cannot take the signal {signal!r}")
        self.state, self.signal = state, signal


_J, _S = JobState, JobSignal

JOB_MOVES: dict[tuple[JobState, JobSignal], JobState] = {
    (_J.CREATED, _S.VALIDATE): _J.VALIDATING,
    (_J.VALIDATING, _S.SLICE): _J.SLICING,
    (_J.SLICING, _S.QUEUE): _J.QUEUED,
    (_J.QUEUED, _S.PRINT): _J.PRINTING,
    (_J.PRINTING, _S.REQUEUE): _J.QUEUED,
    (_J.PRINTING, _S.PRINTED): _J.POST_PROCESSING,
    (_J.QUEUED, _S.PRINTED): _J.POST_PROCESSING,
    (_J.POST_PROCESSING, _S.REQUEUE): _J.QUEUED,
    (_J.POST_PROCESSING, _S.PRINT): _J.PRINTING,
    (_J.POST_PROCESSING, _S.FINISH): _J.READY,
    **{
        (state, _S.FAIL): _J.FAILED for state in (_J.CREATED, _J.VALIDATING, _J.SLICING, _J.QUEUED, _J.PRINTING, _J.POST_PROCESSING)
    },
    (_J.FAILED, _S.RETRY): _J.CREATED,
    (_J.FAILED, _S.REQUEUE): _J.QUEUED,
    **{(state, _S.CANCEL): _J.CANCELLED for state in _J if state is not _J.CANCELLED},
}

_A, _T = AttemptState, AttemptSignal
_BEFORE_START = (_A.ASSIGNED, _A.UPLOADING, _A.UPLOADED)
_ON_MACHINE = (_A.STARTING, _A.PRINTING, _A.PAUSED)

ATTEMPT_MOVES: dict[tuple[AttemptState, AttemptSignal], AttemptState] = {
    (_A.ASSIGNED, _T.UPLOAD): _A.UPLOADING,
    (_A.UPLOADING, _T.UPLOADED): _A.UPLOADED,
    (_A.UPLOADED, _T.SEND_START): _A.STARTING,
    (_A.STARTING, _T.REFUSED): _A.UPLOADED,
    **{(state, _T.SEEN_PRINTING): _A.PRINTING for state in (_A.STARTING, _A.PAUSED, _A.UNKNOWN)},
    **{(state, _T.SEEN_PAUSED): _A.PAUSED for state in (_A.STARTING, _A.PRINTING, _A.UNKNOWN)},
    **{(state, _T.SUCCEED): _A.SUCCEEDED for state in (*_ON_MACHINE, _A.UNKNOWN)},
    **{(state, _T.FAIL): _A.FAILED for state in (*_BEFORE_START, *_ON_MACHINE, _A.UNKNOWN)},
    **{(state, _T.CANCEL): _A.CANCELLED for state in (*_BEFORE_START, *_ON_MACHINE, _A.UNKNOWN)},
    **{(state, _T.LOSE): _A.UNKNOWN for state in (*_BEFORE_START, *_ON_MACHINE)},
}

ATTEMPT_BEFORE_START = frozenset(_BEFORE_START)
"""An attempt whose start command has certainly not left, unless its row came out of a backup."""
ATTEMPT_LIVE = frozenset({*_BEFORE_START, *_ON_MACHINE})
"""An attempt that holds its printer."""
ATTEMPT_UNSETTLED = ATTEMPT_LIVE | {_A.UNKNOWN}
"""An attempt whose plate must not be printed again yet."""
JOB_ENDED = frozenset({_J.READY, _J.CANCELLED})
JOB_BEFORE_QUEUE = frozenset({_J.CREATED, _J.VALIDATING, _J.SLICING})


def move_job(state: JobState, signal: JobSignal) -> JobState:
    """The state after `signal`. Raises `IllegalMove`."""
    try:
        return JOB_MOVES[state, signal]
    except KeyError:
        raise IllegalMove(state, signal) from None


def move_attempt(state: AttemptState, signal: AttemptSignal) -> AttemptState:
    """The state after `signal`. Raises `IllegalMove`."""
    try:
        return ATTEMPT_MOVES[state, signal]
    except KeyError:
        raise IllegalMove(state, signal) from None


@dataclass(frozen=True, slots=True)
class JobFact:
    """What the order status needs to know of one job."""

    state: JobState
    ordered: int
    printed: int  # printed and not yet through post-processing
    good: int


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """All an order status is made of."""

    paid: bool
    shipped: bool
    cancelled: bool
    captured: int
    refunded: int  # minor units really returned
    jobs: tuple[JobFact, ...]
    high_water: OrderStatus


FORWARD = (
    OrderStatus.PENDING_PAYMENT,
    OrderStatus.PAID,
    OrderStatus.PROCESSING,
    OrderStatus.PRINTING,
    OrderStatus.POST_PROCESSING,
    OrderStatus.READY,
    OrderStatus.SHIPPED,
)
"""The life of an order that is not taken back; it never moves left."""

_IN_WORK = frozenset({_J.VALIDATING, _J.SLICING, _J.QUEUED})


def _fold_jobs(jobs: Iterable[JobFact]) -> OrderStatus:
    """How far the jobs have come together; cancelled ones do not count, failed ones hold the rest back."""
    living = [job for job in jobs if job.state is not _J.CANCELLED]
    if not living:
        return OrderStatus.PAID
    if all(job.state is _J.READY for job in living):
        return OrderStatus.READY
    if all(job.state in (_J.READY, _J.POST_PROCESSING) for job in living):
        return OrderStatus.POST_PROCESSING
    if any(job.state is _J.PRINTING or job.printed + job.good > 0 for job in living):
        return OrderStatus.PRINTING
    return OrderStatus.PROCESSING if any(job.state in _IN_WORK for job in living) else OrderStatus.PAID


def order_status(facts: OrderFacts) -> OrderStatus:
    """The one status of an order: a pure function of its facts that never moves backwards.

    `cancelled` stays whatever the money does; `refunded` is an order not cancelled whose whole captured amount was returned.
    """
    if facts.cancelled:
        return OrderStatus.CANCELLED
    if facts.captured > 0 and facts.refunded >= facts.captured:
        return OrderStatus.REFUNDED
    if facts.shipped:
        return OrderStatus.SHIPPED
    now = _fold_jobs(facts.jobs) if facts.paid else OrderStatus.PENDING_PAYMENT
    return max(now, facts.high_water, key=FORWARD.index)


def path(since: OrderStatus, to: OrderStatus) -> tuple[OrderStatus, ...]:
    """Every status entered on the way, so that a jump (a print that ended while the daemon was down) tells its story in order."""
    if to not in FORWARD or since not in FORWARD:
        return (to,) if since is not to else ()
    return FORWARD[FORWARD.index(since) + 1 : FORWARD.index(to) + 1]
