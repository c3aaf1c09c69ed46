"""The table that says what a printer is told: total, and safe whatever the machine shows."""

from itertools import product

import pytest

from farmd.domain.lifecycle import ATTEMPT_UNSETTLED, AttemptState
from farmd.domain.reconcile import (
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
OURS, OTHER = "att-1", "att-2"
BEFORE_START = (A.ASSIGNED, A.UPLOADING, A.UPLOADED)
AFTER_START = (A.STARTING, A.PRINTING, A.PAUSED, A.UNKNOWN)
COMMANDS = {Step.START, Step.CANCEL, Step.PAUSE, Step.RESUME}


def every_case():
    flags = (False, True)
    wanted = product(sorted(ATTEMPT_UNSETTLED), flags, flags, Wish, flags)
    observed = list(product(Seen, (None, OURS, OTHER), History, (0.0, START_PATIENCE, OFFLINE_PATIENCE)))
    for (state, cancel, sent, wish, needed), (seen, token, history, settled) in product(wanted, observed):
        yield Wanted(state, OURS, cancel, sent, wish, needed), Observed(seen, token, history, settled)


ALL = list(every_case())


def test_every_combination_has_an_answer():
    assert len(ALL) > 10_000
    assert all(isinstance(next_step(wanted, observed), Step) for wanted, observed in ALL)


def test_a_start_is_sent_only_from_uploaded_and_only_to_a_resting_machine():
    starts = [(wanted, observed) for wanted, observed in ALL if next_step(wanted, observed) is Step.START]
    assert starts
    assert {wanted.state for wanted, _ in starts} == {A.UPLOADED}
    assert {observed.seen for _, observed in starts} == {Seen.IDLE, Seen.FINISHED}
    assert not any(wanted.cancel_wanted for wanted, _ in starts)


def test_no_command_leaves_for_a_print_that_is_not_ours():
    for wanted, observed in ALL:
        step = next_step(wanted, observed)
        if step in COMMANDS - {Step.START}:
            assert observed.token == OURS
            assert observed.seen in (Seen.PRINTING, Seen.PAUSED)


def test_success_needs_our_token_finished_or_the_machine_s_own_history():
    for wanted, observed in ALL:
        if next_step(wanted, observed) is Step.SUCCEED:
            shown = observed.token == OURS and observed.seen is Seen.FINISHED
            assert shown or observed.history is History.SUCCEEDED


def test_a_lost_link_or_a_busy_machine_decides_nothing_once_a_start_may_be_out():
    for wanted, observed in ALL:
        if observed.seen in (Seen.OFFLINE, Seen.BUSY) and wanted.state in AFTER_START:
            assert next_step(wanted, observed) is Step.WAIT


@pytest.mark.parametrize("seen", [Seen.OFFLINE, Seen.BUSY, Seen.ERROR])
@pytest.mark.parametrize("state", BEFORE_START)
def test_a_plate_not_started_is_given_to_another_printer_when_its_own_stays_away(state, seen):
    assert next_step(Wanted(state, OURS), Observed(seen)) is Step.WAIT
    assert next_step(Wanted(state, OURS), Observed(seen, settled_for=OFFLINE_PATIENCE)) is Step.RELEASE
    assert next_step(Wanted(state, OURS, cancel_wanted=True), Observed(seen)) is Step.SETTLE_CANCELLED


def test_only_what_was_never_started_is_given_back():
    for wanted, observed in ALL:
        if next_step(wanted, observed) in (Step.RELEASE, Step.SURRENDER):
            assert wanted.state in BEFORE_START


def test_idle_after_a_start_is_never_started_again_and_never_called_failed_without_the_history():
    for wanted, observed in ALL:
        if wanted.state in AFTER_START and observed.seen is Seen.IDLE and observed.history is History.SILENT:
            assert next_step(wanted, observed) in (Step.WAIT, Step.LOSE, Step.SETTLE_CANCELLED)
            if wanted.plate_wanted:
                assert next_step(wanted, observed) is not Step.SETTLE_CANCELLED


def test_a_fresh_start_has_patience_before_it_is_called_lost():
    starting = Wanted(A.STARTING, OURS)
    assert next_step(starting, Observed(Seen.IDLE)) is Step.ASK_HISTORY
    assert next_step(starting, Observed(Seen.IDLE, history=History.SILENT, settled_for=5)) is Step.WAIT
    assert next_step(starting, Observed(Seen.IDLE, history=History.SILENT, settled_for=START_PATIENCE)) is Step.LOSE
    assert next_step(starting, Observed(Seen.PRINTING, OURS)) is Step.MARK_PRINTING


@pytest.mark.parametrize("state", BEFORE_START)
def test_a_machine_somebody_took_is_given_back(state):
    assert next_step(Wanted(state, OURS), Observed(Seen.PRINTING, None)) is Step.SURRENDER


@pytest.mark.parametrize(
    ("wanted", "seen", "step"),
    [
        (Wanted(A.PRINTING, OURS), Seen.PRINTING, Step.WAIT),
        (Wanted(A.PRINTING, OURS, wish=Wish.PAUSE), Seen.PRINTING, Step.PAUSE),
        (Wanted(A.PRINTING, OURS), Seen.PAUSED, Step.MARK_PAUSED),
        (Wanted(A.PAUSED, OURS, wish=Wish.RESUME), Seen.PAUSED, Step.RESUME),
        (Wanted(A.PAUSED, OURS), Seen.PRINTING, Step.MARK_PRINTING),
        (Wanted(A.PAUSED, OURS, answer=1), Seen.PAUSED, Step.ANSWER),
        (Wanted(A.PRINTING, OURS, answer=1), Seen.PRINTING, Step.WAIT),
        (Wanted(A.PAUSED, OURS, answer=1, cancel_wanted=True), Seen.PAUSED, Step.CANCEL),
        (Wanted(A.PRINTING, OURS, cancel_wanted=True), Seen.PRINTING, Step.CANCEL),
        (Wanted(A.PRINTING, OURS, cancel_wanted=True), Seen.STOPPING, Step.WAIT),
        (Wanted(A.UNKNOWN, OURS), Seen.PRINTING, Step.MARK_PRINTING),
        (Wanted(A.PRINTING, OURS), Seen.FINISHED, Step.SUCCEED),
        (Wanted(A.PRINTING, OURS, cancel_wanted=True), Seen.FINISHED, Step.SUCCEED),
    ],
)
def test_a_print_of_ours_on_the_machine(wanted, seen, step):
    assert next_step(wanted, Observed(seen, OURS)) is step


def test_a_cancel_we_sent_ends_as_cancelled_and_one_from_the_machine_s_panel_as_failed():
    gone = Observed(Seen.IDLE, history=History.CANCELLED)
    assert next_step(Wanted(A.PRINTING, OURS, cancel_wanted=True, cancel_sent=True), gone) is Step.SETTLE_CANCELLED
    assert next_step(Wanted(A.PRINTING, OURS), gone) is Step.FAIL


def test_only_the_ghost_of_a_cancelled_print_or_of_a_start_nobody_saw_is_stopped():
    every = product(A, Seen, (False, True))
    stopped = {
        (state, start_seen) for state, seen, start_seen in every if ghost_step(state, seen, start_seen=start_seen) is Step.CANCEL
    }
    assert stopped == {(A.CANCELLED, False), (A.CANCELLED, True), (A.FAILED, False)}
