"""The tables of moves and the order's status as a fold: every pair of state and signal, and no way back."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.domain.lifecycle import (
    ATTEMPT_LIVE,
    ATTEMPT_MOVES,
    ATTEMPT_UNSETTLED,
    FORWARD,
    JOB_MOVES,
    AttemptSignal,
    AttemptState,
    IllegalMove,
    JobFact,
    JobSignal,
    JobState,
    OrderFacts,
    OrderStatus,
    move_attempt,
    move_job,
    order_status,
    path,
)

S = OrderStatus


@pytest.mark.parametrize(("state", "signal"), [*product(JobState, JobSignal)])
def test_a_job_moves_by_its_table_or_not_at_all(state: JobState, signal: JobSignal) -> None:
    if (state, signal) in JOB_MOVES:
        assert move_job(state, signal) is JOB_MOVES[state, signal]
    else:
        with pytest.raises(IllegalMove, match=f"state {state} .* '{signal}'"):
            move_job(state, signal)


@pytest.mark.parametrize(("state", "signal"), [*product(AttemptState, AttemptSignal)])
def test_an_attempt_moves_by_its_table_or_not_at_all(state: AttemptState, signal: AttemptSignal) -> None:
    if (state, signal) in ATTEMPT_MOVES:
        assert move_attempt(state, signal) is ATTEMPT_MOVES[state, signal]
    else:
        with pytest.raises(IllegalMove):
            move_attempt(state, signal)


def reached(moves: dict, start: object) -> set:
    found, new = {start}, {start}
    while new:
        new = {after for (before, _), after in moves.items() if before in new} - found
        found |= new
    return found


def test_every_state_can_be_reached_and_every_unfinished_one_left() -> None:
    assert reached(JOB_MOVES, JobState.CREATED) == set(JobState)
    assert reached(ATTEMPT_MOVES, AttemptState.ASSIGNED) == set(AttemptState)
    for job in set(JobState) - {JobState.CANCELLED}:
        assert JobState.CANCELLED in reached(JOB_MOVES, job)
    for attempt in ATTEMPT_UNSETTLED:
        assert reached(ATTEMPT_MOVES, attempt) & {AttemptState.FAILED, AttemptState.CANCELLED, AttemptState.SUCCEEDED}


def test_an_ended_attempt_stays_ended() -> None:
    ended = set(AttemptState) - ATTEMPT_UNSETTLED
    assert not [move for move in ATTEMPT_MOVES if move[0] in ended]
    assert ATTEMPT_LIVE | {AttemptState.UNKNOWN} == ATTEMPT_UNSETTLED


def facts(*jobs: tuple[JobState, int], **changes: object) -> OrderFacts:
    known = {"paid": True, "shipped": False, "cancelled": False, "captured": 100, "refunded": 0, "high_water": S.PENDING_PAYMENT}
    rows = tuple(JobFact(state, 2, 0, good) for state, good in jobs)
    return OrderFacts(**(known | {"jobs": rows} | changes))


J = JobState


@pytest.mark.parametrize(
    ("given_facts", "status"),
    [
        (facts(paid=False, captured=0), S.PENDING_PAYMENT),
        (facts(), S.PAID),
        (facts((J.CREATED, 0)), S.PAID),
        (facts((J.VALIDATING, 0), (J.CREATED, 0)), S.PROCESSING),
        (facts((J.SLICING, 0)), S.PROCESSING),
        (facts((J.QUEUED, 0)), S.PROCESSING),
        (facts((J.QUEUED, 1)), S.PRINTING),
        (facts((J.PRINTING, 0), (J.CREATED, 0)), S.PRINTING),
        (facts((J.READY, 2), (J.QUEUED, 0)), S.PRINTING),
        (facts((J.POST_PROCESSING, 0), (J.PRINTING, 0)), S.PRINTING),
        (facts((J.POST_PROCESSING, 0), (J.READY, 2)), S.POST_PROCESSING),
        (facts((J.READY, 2), (J.READY, 2)), S.READY),
        (facts((J.READY, 2), (J.CANCELLED, 0)), S.READY),
        (facts((J.CANCELLED, 0)), S.PAID),
        (facts((J.FAILED, 0)), S.PAID),
        (facts((J.FAILED, 0), (J.READY, 2)), S.PRINTING),
        (facts((J.QUEUED, 0), high_water=S.PRINTING), S.PRINTING),
        (facts((J.READY, 2), shipped=True), S.SHIPPED),
        (facts((J.READY, 2), shipped=True, refunded=99), S.SHIPPED),
        (facts((J.READY, 2), shipped=True, refunded=100), S.REFUNDED),
        (facts((J.CANCELLED, 0), cancelled=True, refunded=100), S.CANCELLED),
        (facts(paid=False, captured=0, cancelled=True), S.CANCELLED),
        (facts(captured=0), S.PAID),
    ],
)
def test_the_status_is_what_the_facts_say(given_facts: OrderFacts, status: OrderStatus) -> None:
    assert order_status(given_facts) is status


jobs_in_any_state = st.lists(st.tuples(st.sampled_from(JobState), st.integers(0, 2)), max_size=4)


@given(jobs_in_any_state, st.sampled_from(FORWARD), st.booleans(), st.booleans())
def test_the_status_never_falls_below_its_high_water_mark(jobs: list, mark: OrderStatus, paid: bool, shipped: bool) -> None:
    status = order_status(facts(*jobs, high_water=mark, paid=paid, shipped=shipped))
    assert FORWARD.index(status) >= FORWARD.index(mark)


@pytest.mark.parametrize(("since", "to"), [*product(OrderStatus, OrderStatus)])
def test_a_jump_tells_every_status_on_its_way(since: OrderStatus, to: OrderStatus) -> None:
    told = path(since, to)
    if since is to:
        assert told == ()
    elif since in FORWARD and to in FORWARD:
        assert [FORWARD.index(each) for each in told] == list(range(FORWARD.index(since) + 1, FORWARD.index(to) + 1))
    else:
        assert told == (to,)
