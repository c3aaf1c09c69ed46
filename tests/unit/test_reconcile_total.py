"""The step table over the whole product of what can be wanted and seen: what it may never answer, and what each answer may do to
the attempt's state."""

from itertools import product

import pytest

from farmd.domain.lifecycle import ATTEMPT_BEFORE_START, ATTEMPT_LIVE, ATTEMPT_UNSETTLED, AttemptSignal, AttemptState, move_attempt
from farmd.domain.reconcile import (
    AWAY_FACTOR,
    AWAY_MARGIN,
    OFFLINE_PATIENCE,
    START_PATIENCE,
    History,
    Observed,
    Seen,
    Step,
    Wanted,
    Wish,
    ghost_step,
    next_step,
)

A = AttemptState
OURS, FOREIGN = "att-1", (None, "att-2")
LASTS = 600.0
GONE = AWAY_FACTOR * LASTS + AWAY_MARGIN
PATIENCE = (0.0, START_PATIENCE - 0.1, START_PATIENCE, OFFLINE_PATIENCE, GONE - 1, GONE, 10 * GONE)
ACTIVE = (Seen.PRINTING, Seen.PAUSED, Seen.STOPPING)
FLAGS = (False, True)

WANTED = [Wanted(*row) for row in product(sorted(ATTEMPT_UNSETTLED), [OURS], FLAGS, FLAGS, Wish, FLAGS, [LASTS], (None, 1))]
OBSERVED = [Observed(*row) for row in product(Seen, (OURS, *FOREIGN), History, PATIENCE)]
ANSWERS = [(wanted, observed, next_step(wanted, observed)) for wanted, observed in product(WANTED, OBSERVED)]

MOVES = {
    Step.MARK_PRINTING: AttemptSignal.SEEN_PRINTING,
    Step.MARK_PAUSED: AttemptSignal.SEEN_PAUSED,
    Step.SUCCEED: AttemptSignal.SUCCEED,
    Step.FAIL: AttemptSignal.FAIL,
    Step.SETTLE_CANCELLED: AttemptSignal.CANCEL,
    Step.LOSE: AttemptSignal.LOSE,
    Step.SURRENDER: AttemptSignal.FAIL,
    Step.RELEASE: AttemptSignal.FAIL,
    Step.START: AttemptSignal.SEND_START,
}


def given(*steps: Step):
    return [(wanted, observed) for wanted, observed, step in ANSWERS if step in steps]


def test_every_step_occurs_and_every_case_has_one():
    assert {step for _, _, step in ANSWERS} == set(Step)


def test_every_step_is_a_legal_move_of_the_state_it_is_taken_in():
    for wanted, _, step in ANSWERS:
        if step in MOVES:
            move_attempt(wanted.state, MOVES[step])  # raises IllegalMove
        if step is Step.UPLOAD:
            assert wanted.state in (A.ASSIGNED, A.UPLOADING)


def test_nothing_is_sent_or_started_that_is_not_wanted_any_more():
    for wanted, _ in given(Step.UPLOAD, Step.START, Step.PAUSE, Step.RESUME):
        assert not wanted.cancel_wanted


def test_a_start_leaves_only_from_uploaded_for_a_machine_at_rest():
    for wanted, observed in given(Step.START):
        assert wanted.state is A.UPLOADED
        assert observed.seen in (Seen.IDLE, Seen.FINISHED)


def test_once_a_start_may_be_out_neither_file_nor_start_goes_out_again_nor_is_the_plate_given_back_unasked():
    for wanted, _ in given(Step.UPLOAD, Step.START, Step.RELEASE, Step.SURRENDER):
        assert wanted.state in ATTEMPT_BEFORE_START


@pytest.mark.parametrize("token", FOREIGN)
def test_a_foreign_print_is_never_commanded_and_never_taken_for_ours(token):
    for wanted, observed, step in ANSWERS:
        if observed.seen in ACTIVE and observed.token == token:
            allowed = {Step.WAIT, Step.ASK_HISTORY, Step.LOSE, Step.SURRENDER, Step.SETTLE_CANCELLED}
            if observed.history is History.SUCCEEDED:
                allowed.add(Step.SUCCEED)
            if observed.history in (History.FAILED, History.CANCELLED):
                allowed.add(Step.FAIL)
            assert step in allowed, (wanted, observed)


def test_what_came_back_from_the_unknown_is_taken_up_before_anything_is_told_to_it():
    for wanted, observed, step in ANSWERS:
        if wanted.state is A.UNKNOWN and observed.token == OURS and observed.seen in ACTIVE:
            assert step in (Step.MARK_PRINTING, Step.MARK_PAUSED, Step.WAIT)


def test_a_failure_or_a_success_is_never_guessed():
    for wanted, observed in given(Step.FAIL):
        assert observed.history in (History.FAILED, History.CANCELLED), (wanted, observed)
    for _, observed in given(Step.SUCCEED):
        assert observed.history is History.SUCCEEDED or (observed.seen is Seen.FINISHED and observed.token == OURS)


def test_units_are_given_back_without_proof_only_when_nobody_wants_them():
    for wanted, observed in given(Step.SETTLE_CANCELLED):
        proof = wanted.cancel_sent and observed.history in (History.FAILED, History.CANCELLED)
        assert wanted.state in ATTEMPT_BEFORE_START or not wanted.plate_wanted or proof, (wanted, observed)


def test_no_live_attempt_waits_for_ever_on_a_machine_that_is_gone():
    for wanted, observed, step in ANSWERS:
        if observed.seen is Seen.OFFLINE and observed.settled_for >= GONE and wanted.state in ATTEMPT_LIVE:
            assert step is not Step.WAIT, (wanted, observed)


def test_a_lost_link_shorter_than_the_whole_print_decides_nothing():
    for wanted, observed, step in ANSWERS:
        if observed.seen in (Seen.OFFLINE, Seen.BUSY) and observed.settled_for < GONE and wanted.state not in ATTEMPT_BEFORE_START:
            assert step is Step.WAIT


def test_a_resting_machine_keeps_nobody_waiting_for_ever():
    """Once the history was asked and the patience is over, only an attempt already in a person's hands waits."""
    for wanted, observed, step in ANSWERS:
        if observed.seen in (Seen.IDLE, Seen.FINISHED, Seen.ERROR) and observed.settled_for >= GONE and step is Step.WAIT:
            assert wanted.state is A.UNKNOWN
            assert observed.history is History.SILENT


def test_a_ghost_is_stopped_only_when_it_runs_and_nobody_can_want_it():
    for state, seen, start_seen in product(A, Seen, FLAGS):
        step = ghost_step(state, seen, start_seen=start_seen)
        assert step in (Step.WAIT, Step.CANCEL)
        if step is Step.CANCEL:
            assert state is A.CANCELLED or (state is A.FAILED and not start_seen)
            assert seen in (Seen.PRINTING, Seen.PAUSED)
