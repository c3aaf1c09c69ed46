"""What the money does next: every state of a checkout against every wish, and random orders that are carried on to their end."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.domain.lifecycle import PaymentStatus
from farmd.domain.till import (
    CheckoutFacts,
    CheckoutState,
    IntentState,
    Missing,
    MoneyFacts,
    OrderMoney,
    RefundFacts,
    RefundState,
    Sighting,
    Want,
    kept,
    missing,
    payment_status,
    refund_stuck,
)

MINE, OTHER, PAID = "co-1", "co-2", 100
FAILED, PENDING, OWED, SUCCEEDED = RefundState.FAILED, RefundState.PENDING, RefundState.OWED, RefundState.SUCCEEDED
OVER = (CheckoutState.PROCESSING, CheckoutState.EXPIRED, CheckoutState.VOIDED, CheckoutState.FAILED)
"""States in which a checkout is out of our hands, for now or for good."""
FEW = settings(max_examples=40, deadline=None)


# one checkout, every combination


def checkouts() -> list[CheckoutFacts]:
    plain = [CheckoutFacts(MINE, state, asked) for state, asked in product(CheckoutState, (False, True))]
    taken = [CheckoutFacts(MINE, CheckoutState.PAID, captured=PAID, charged_back=lost) for lost in (0, 40, PAID)]
    return [each for each in plain if each.state is not CheckoutState.PAID] + taken


def refunds_of(checkout: CheckoutFacts) -> list[tuple[RefundFacts, ...]]:
    """None; one of every kind; and every pair of a failed one and another."""
    if checkout.state is not CheckoutState.PAID:
        return [()]
    causes = ("request", "cancellation", "duplicate", "provider")
    every = [
        RefundFacts("re-1", MINE, amount, state, known, cause)
        for state, known, cause, amount in product(RefundState, (False, True), causes, (30, PAID))
    ]
    failed = [replace(each, id="re-0") for each in every if each.state is FAILED and each.known and each.amount == 30]
    return [(), *((each,) for each in every), *product(failed, every)]


def orders() -> list[tuple[OrderMoney, CheckoutFacts]]:
    return [
        (OrderMoney(cancelled, paid_by, capture_now, (checkout,), refunds), checkout)
        for checkout in checkouts()
        for refunds in refunds_of(checkout)
        for cancelled, paid_by, capture_now in product((False, True), (None, MINE, OTHER), (False, True))
    ]


def unwanted(order: OrderMoney, checkout: CheckoutFacts) -> bool:
    return order.cancelled or order.paid_by not in (None, checkout.id)


@pytest.fixture(scope="module")
def every() -> list[tuple[OrderMoney, CheckoutFacts, list[Missing]]]:
    return [(order, checkout, missing(order)) for order, checkout in orders()]


def test_each_step_is_one_that_the_state_of_its_checkout_allows(every):
    from_state = {
        Want.OPEN: CheckoutState.WANTED,
        Want.EXPIRE: CheckoutState.OPEN,
        Want.CAPTURE: CheckoutState.AUTHORIZED,
        Want.VOID: CheckoutState.AUTHORIZED,
        Want.REFUND: CheckoutState.PAID,
    }
    seen = set()
    for order, checkout, steps in every:
        for step in steps:
            assert checkout.state is from_state[step.want], (order, step)
            seen.add(step.want)
    assert seen == set(Want)


def test_nothing_is_asked_of_what_is_over(every):
    assert [steps for _, checkout, steps in every if checkout.state in OVER and steps] == []


def test_only_a_wanted_promise_is_collected_and_only_when_it_is_time(every):
    for order, checkout, steps in every:
        collected = any(step.want is Want.CAPTURE for step in steps)
        promised = checkout.state is CheckoutState.AUTHORIZED and order.capture_now
        assert collected == (promised and order.paid_by == MINE and not order.cancelled), order


def test_what_is_unwanted_is_closed_and_what_is_wanted_is_left_alone(every):
    for order, checkout, steps in every:
        wants = {step.want for step in steps}
        if unwanted(order, checkout):
            assert (Want.EXPIRE in wants) == (checkout.state is CheckoutState.OPEN)
            assert (Want.VOID in wants) == (checkout.state is CheckoutState.AUTHORIZED)
            assert (Want.OPEN in wants) == (checkout.state is CheckoutState.WANTED and checkout.asked), "it may be open already"
        else:
            assert not wants & {Want.EXPIRE, Want.VOID}
            assert (Want.OPEN in wants) == (checkout.state is CheckoutState.WANTED)
            assert all(step.refund_id for step in steps if step.want is Want.REFUND), "nobody wanted this money to go back"


def test_never_more_goes_back_than_is_kept(every):
    for order, checkout, steps in every:
        fresh = sum(step.amount for step in steps if step.want is Want.REFUND and step.refund_id is None)
        going = sum(refund.amount for refund in order.refunds if refund.state is not FAILED)
        assert fresh <= kept(checkout, order.refunds)
        assert fresh == 0 or fresh + going + checkout.charged_back <= checkout.captured, order


def test_what_is_kept_goes_back_unless_it_failed_before(every):
    for order, checkout, steps in every:
        fresh = [step for step in steps if step.want is Want.REFUND and step.refund_id is None]
        cause = "cancellation" if order.cancelled else "duplicate"
        failed = any(refund.state is FAILED and refund.cause == cause for refund in order.refunds)
        wanted = unwanted(order, checkout) and kept(checkout, order.refunds) > 0 and not failed
        assert [(step.amount, step.cause) for step in fresh] == ([(kept(checkout, order.refunds), cause)] if wanted else [])


def test_a_refund_is_asked_for_until_the_provider_knows_it(every):
    for order, _, steps in every:
        asked = {(step.refund_id, step.amount) for step in steps if step.want is Want.REFUND and step.refund_id}
        assert asked == {(each.id, each.amount) for each in order.refunds if each.state is PENDING and not each.known}


def test_nothing_is_wanted_twice_at_once(every):
    for order, _, steps in every:
        purposes = [(step.want, step.checkout_id, step.refund_id) for step in steps]
        assert len(set(purposes)) == len(purposes), order


def test_a_refund_of_nobodys_checkout_is_a_persons(every):
    by_hand = RefundFacts("re-1", None, PAID, PENDING)
    assert missing(OrderMoney(True, None, False, (), (by_hand, replace(by_hand, id="re-2", checkout_id="co-gone")))) == []


@pytest.mark.parametrize("state", RefundState)
def test_what_is_kept_is_what_was_taken_less_what_goes_or_went_back(state):
    checkout = CheckoutFacts(MINE, CheckoutState.PAID, captured=PAID, charged_back=20)
    elsewhere = RefundFacts("re-0", OTHER, 50, SUCCEEDED)
    refunds = [elsewhere, RefundFacts("re-1", MINE, 30, state)]
    assert kept(checkout, refunds) == (80 if state is FAILED else 50)
    assert kept(checkout, [*refunds, RefundFacts("re-2", MINE, 90, SUCCEEDED)]) == 0


# orders that are carried on


def carried_out(order: OrderMoney, step: Missing, answer: RefundState = SUCCEEDED) -> OrderMoney:
    """The order after the provider did what was asked."""
    if step.want is Want.REFUND:
        before = [each for each in order.refunds if each.id != step.refund_id]
        refund_id = step.refund_id or f"re-new-{len(order.refunds)}"
        done = RefundFacts(refund_id, step.checkout_id, step.amount, answer, known=True, cause=step.cause)
        return replace(order, refunds=(*before, done))
    after = {
        Want.OPEN: {"state": CheckoutState.OPEN},
        Want.EXPIRE: {"state": CheckoutState.EXPIRED},
        Want.VOID: {"state": CheckoutState.VOIDED},
        Want.CAPTURE: {"state": CheckoutState.PAID, "captured": PAID},
    }[step.want]
    changed = [replace(each, **after) if each.id == step.checkout_id else each for each in order.checkouts]
    return replace(order, checkouts=tuple(changed))


@st.composite
def histories(draw: st.DrawFn) -> OrderMoney:
    """An order with up to four checkouts and as many refunds as were possible."""
    found, refunds = [], []
    for number in range(draw(st.integers(0, 4))):
        state = draw(st.sampled_from(CheckoutState))
        paid = state is CheckoutState.PAID
        lost = draw(st.integers(0, PAID)) if paid else 0
        found.append(CheckoutFacts(f"co-{number}", state, draw(st.booleans()), PAID if paid else 0, lost))
        left = PAID - lost
        for place in range(draw(st.integers(0, 3)) if paid and left else 0):
            amount, going = draw(st.integers(1, PAID)), draw(st.sampled_from(RefundState))
            if going is not FAILED:
                amount = min(amount, left)
                left -= amount
            cause = draw(st.sampled_from(["request", "cancellation", "duplicate", "provider"]))
            if amount:
                refunds.append(RefundFacts(f"re-{number}-{place}", found[-1].id, amount, going, draw(st.booleans()), cause))
    payer = draw(st.sampled_from([None, *(each.id for each in found)]))
    return OrderMoney(draw(st.booleans()), payer, draw(st.booleans()), tuple(found), tuple(refunds))


@FEW
@given(histories(), st.data())
def test_whatever_is_done_first_an_order_comes_to_rest_with_its_money_where_it_belongs(order, data):
    rounds = 0
    while steps := missing(order):
        step = data.draw(st.sampled_from(steps))
        order = carried_out(order, step, data.draw(st.sampled_from([SUCCEEDED, PENDING, FAILED])))
        rounds += 1
        assert rounds < 40, "it never came to rest"
    for checkout in order.checkouts:
        if not unwanted(order, checkout):
            continue
        assert checkout.state not in (CheckoutState.OPEN, CheckoutState.AUTHORIZED)
        assert checkout.state is not CheckoutState.WANTED or not checkout.asked
        cause = "cancellation" if order.cancelled else "duplicate"
        failed = any(each.state is FAILED and each.cause == cause and each.checkout_id == checkout.id for each in order.refunds)
        assert kept(checkout, order.refunds) == 0 or failed


@FEW
@given(histories())
def test_a_step_that_was_done_is_not_wanted_again(order):
    for step in missing(order):
        after = missing(carried_out(order, step))
        same = [
            each for each in after if (each.want, each.checkout_id, each.refund_id) == (step.want, step.checkout_id, step.refund_id)
        ]
        assert same == [], (order, step)


@FEW
@given(histories())
def test_a_refund_that_was_written_down_is_asked_for_and_no_second_one_is_written(order):
    for step in missing(order):
        if step.want is Want.REFUND and step.refund_id is None:
            written = RefundFacts("re-new", step.checkout_id, step.amount, PENDING, cause=step.cause)
            after = [each for each in missing(replace(order, refunds=(*order.refunds, written))) if each.want is Want.REFUND]
            mine = [
                (each.refund_id, each.amount)
                for each in after
                if each.refund_id == "re-new" or each.checkout_id == step.checkout_id
            ]
            assert ("re-new", step.amount) in mine
            assert None not in [refund_id for refund_id, _ in mine]


@FEW
@given(histories())
def test_an_unwanted_checkout_never_comes_to_a_collected_payment(order):
    before = {each.id: each.captured for each in order.checkouts}
    for _ in range(20):
        for step in missing(order):
            order = carried_out(order, step)
    for each in order.checkouts:
        assert each.captured == before[each.id] or not unwanted(order, each)


# a refund that is stuck


def lists_of_refunds() -> list[list[RefundFacts]]:
    kinds = list(product(RefundState, (30, PAID)))
    several = [list(each) for size in range(4) for each in product(kinds, repeat=size)]
    return [[RefundFacts(f"re-{place}", MINE, amount, state) for place, (state, amount) in enumerate(each)] for each in several]


def test_a_refund_is_stuck_when_one_failed_nothing_moves_and_nothing_made_up_for_it():
    outcomes = set()
    for refunds, cancelled in product(lists_of_refunds(), (False, True)):
        states = {each.state for each in refunds}
        stuck = refund_stuck(30, refunds, cancelled=cancelled)
        outcomes.add(stuck)
        assert not refund_stuck(0, refunds, cancelled=cancelled), "all of it went back"
        if not stuck:
            continue
        assert FAILED in states
        assert not states & {PENDING, OWED}
        assert refund_stuck(30, refunds, cancelled=True), "a cancelled order is never content with less"
    assert outcomes == {False, True}


def test_what_follows_a_failed_refund_decides_for_an_order_that_goes_on_and_not_for_a_cancelled_one():
    for refunds in lists_of_refunds():
        if {each.state for each in refunds} & {PENDING, OWED}:
            continue
        failed = [*refunds, RefundFacts("re-failed", MINE, 30, FAILED)]
        assert refund_stuck(1, failed, cancelled=False)
        less, all_of_it = (RefundFacts("re-good", MINE, amount, SUCCEEDED) for amount in (29, PAID))
        assert refund_stuck(1, [*failed, less], cancelled=False)
        assert not refund_stuck(1, [*failed, all_of_it], cancelled=False)
        assert refund_stuck(1, [*failed, all_of_it], cancelled=True)
        assert not refund_stuck(1, [*failed, RefundFacts("re-moving", MINE, 1, PENDING)], cancelled=True)


# the one word


def every_sum() -> list[MoneyFacts]:
    two = (False, True)
    return [
        MoneyFacts(*each)
        for each in product(two, two, two, (0, PAID), (0, PAID), (0, 40, PAID, 160), (0, 10), two, (0, 40, PAID), two)
    ]


def test_the_most_pressing_fact_is_the_word():
    found = set()
    for money in every_sum():
        back, lost = money.refunded, money.charged_back
        in_order = [
            (PaymentStatus.REVIEW, not money.agrees),
            (PaymentStatus.DISPUTED, money.disputed),
            (PaymentStatus.REFUND_FAILED, money.refund_failed),
            (PaymentStatus.REFUND_PENDING, money.owed > 0),
            (PaymentStatus.REFUNDED, money.captured > 0 and back >= money.captured),
            (PaymentStatus.CHARGED_BACK, money.captured > 0 and lost > 0),
            (PaymentStatus.PARTIALLY_REFUNDED, money.captured > 0 and back > 0),
            (PaymentStatus.PAID, money.captured > 0),
            (PaymentStatus.AUTHORIZED, money.authorized > 0),
            (PaymentStatus.PROCESSING, money.processing),
            (PaymentStatus.PAID, money.paid),
            (PaymentStatus.UNPAID, True),
        ]
        word = payment_status(money)
        assert word is next(word for word, true in in_order if true), money
        found.add(word)
    assert found == set(PaymentStatus), "every word can be heard"


# what a checkout amounts to


def test_a_checkout_is_paid_only_by_its_payment_or_for_nothing():
    two = (False, True)
    for is_open, expired, paid, intent in product(two, two, two, IntentState):
        seen = Sighting("cs_1", "ord-1", is_open, expired, paid, 100, "USD", intent=intent).state
        free = intent is IntentState.NONE and paid and not is_open and not expired
        assert (seen is CheckoutState.PAID) == (intent is IntentState.SUCCEEDED or free)
        assert (seen is CheckoutState.AUTHORIZED) == (intent is IntentState.AUTHORIZED)
        if seen in (CheckoutState.EXPIRED, CheckoutState.VOIDED):
            assert intent not in (IntentState.SUCCEEDED, IntentState.AUTHORIZED), "money is never overlooked"
        assert seen not in (CheckoutState.WANTED, CheckoutState.FAILED), "those are ours to say"
