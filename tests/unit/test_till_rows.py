"""The till's rows on a real store: what is due and in which order, what is wanted once, what is kept and for how long.

All tests share one SQLite file; what a test wrote is rolled back at its end.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from farmd.domain.lifecycle import JobState
from farmd.domain.pricing import PricedLine, TaxRule, quote
from farmd.domain.till import CheckoutState, RefundState, Want
from farmd.store import retention, till
from farmd.store.engine import Conflict, Tx, open_engine
from farmd.store.order_lists import order_row
from farmd.store.refunds import move_refund, refund_row
from farmd.store.rows import Row, add, change
from farmd.store.sales import NewOrder, insert_order, insert_refund, jobs_of, record_payment
from farmd.store.tables import jobs, metadata, orders, payment_calls, skus
from tests.farm import FarmWorld

START = datetime(2024, 1, 15, 10, tzinfo=UTC)
DAY = 86_400.0
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('till') / 'farmd.db'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def world() -> FarmWorld:
    return FarmWorld(START)


@pytest.fixture
def tx(engine: Engine, world: FarmWorld) -> Iterator[Tx]:
    with engine.connect().execution_options(writer=True) as connection:
        begun = connection.begin()
        tx = Tx(connection, world)
        add(tx, skus, id="sku", name="cube", unit_price=1000, material="PLA", color="#000000", created_at=START, updated_at=START)
        yield tx
        begun.rollback()


def order(tx: Tx, **changes: Any) -> Row:
    priced = quote([PricedLine("sku", 1, 1000, {})], 0, TaxRule(Decimal(0)))
    row = order_row(tx.connection, insert_order(tx, NewOrder("cust", "USD", priced, {}, None, START)))
    return change(tx, orders, row, **changes) if changes else row


def checkout(tx: Tx, of: Row | None = None, **changes: Any) -> Row:
    row = till.new_checkout(tx, of or order(tx), START + HOUR)
    if changes:
        till.change_checkout(tx, row, **changes)
    return till.checkout_row(tx.connection, row["id"])


def wanted(tx: Tx, place: Row, kind: Want = Want.OPEN, refund: str | None = None, wait: float = 0.0) -> Row:
    till.add_call(tx, kind, place, {"amount": 1}, refund, wait=wait)
    purpose = f"{kind.value}:{refund or place['id']}"
    (row,) = (call for call in till.wanted_calls(tx.connection, place["order_id"]) if call["purpose"] == purpose)
    return row


def refund(tx: Tx, place: Row, state: RefundState = RefundState.PENDING, **more: Any) -> str:
    of = order_row(tx.connection, place["order_id"])
    return insert_refund(tx, of, 100, cause="request", reason=None, state=state, checkout_id=place["id"], **more)


# what is due


def test_what_is_due_comes_longest_due_first_and_by_order(tx, world):
    first, second, third = (checkout(tx) for _ in range(3))
    late, early, soon = wanted(tx, first, wait=20), wanted(tx, second, wait=10), wanted(tx, third, wait=21)
    expire = wanted(tx, first, Want.EXPIRE, wait=5)
    world.forward(20)
    found = till.due(tx.connection, world.now(), (), 10)
    assert [(order_id, [call["id"] for call in calls]) for order_id, (calls, _) in found.items()] == [
        (first["order_id"], [expire["id"], late["id"]]),
        (second["order_id"], [early["id"]]),
    ]
    assert till.next_due(tx.connection, ()) == expire["next_at"]
    assert till.next_due(tx.connection, (first["order_id"], second["order_id"])) == soon["next_at"]


def test_requests_come_before_looks_and_the_limit_is_for_each(tx, world):
    places = [checkout(tx) for _ in range(4)]
    for number, place in enumerate(places):
        till.plan_look(tx, place["id"], START - timedelta(seconds=number))
    call = wanted(tx, places[0])
    found = till.due(tx.connection, START, (), 2)
    assert list(found) == [places[0]["order_id"], places[3]["order_id"], places[2]["order_id"]]
    assert ([each["id"] for each in found[places[0]["order_id"]][0]], found[places[0]["order_id"]][1]) == ([call["id"]], [])
    assert [len(looks) for _, looks in found.values()] == [0, 1, 1]


def test_an_order_that_is_worked_on_is_left_out(tx):
    busy, free = checkout(tx), checkout(tx)
    for place in (busy, free):
        wanted(tx, place)
        till.plan_look(tx, place["id"], START)
    assert list(till.due(tx.connection, START, (busy["order_id"],), 10)) == [free["order_id"]]
    assert till.due(tx.connection, START, (busy["order_id"], free["order_id"]), 10) == {}
    assert till.next_due(tx.connection, (busy["order_id"], free["order_id"])) is None


@pytest.mark.parametrize(("call_in", "look_in"), list(product((None, -1, 0, 1), repeat=2)))
def test_the_three_questions_about_what_is_due_agree(tx, call_in, look_in):
    place = checkout(tx)
    if call_in is not None:
        wanted(tx, place, wait=call_in)
    till.plan_look(tx, place["id"], None if look_in is None else START + timedelta(seconds=look_in))
    moments = [START + timedelta(seconds=each) for each in (call_in, look_in) if each is not None]
    expected = any(moment <= START for moment in moments)
    assert till.is_due(tx.connection, place["order_id"], START) == expected
    assert bool(till.due(tx.connection, START, (), 10)) == expected
    assert till.next_due(tx.connection, ()) == min(moments, default=None)


@pytest.mark.parametrize("end", ["DONE", "REFUSED", "DROPPED"])
def test_what_is_closed_is_never_due_again(tx, end):
    place = checkout(tx)
    till.close_call(tx, wanted(tx, place), end, "so it was")
    assert (till.due(tx.connection, START + HOUR, (), 10), till.next_due(tx.connection, ())) == ({}, None)
    assert till.wanted_calls(tx.connection, place["order_id"]) == []


# requests


def test_the_same_thing_is_wanted_once_and_under_a_new_key_only_after_the_old_request_ended(tx):
    place = checkout(tx)
    call = wanted(tx, place, Want.EXPIRE)
    tx.wakes.clear()
    till.add_call(tx, Want.EXPIRE, place, {"other": "body"})
    assert wanted(tx, place, Want.EXPIRE) == call
    assert tx.wakes == set()
    till.close_call(tx, call, "DONE")
    assert wanted(tx, place, Want.EXPIRE)["id"] != call["id"]
    assert till.TOPIC in tx.wakes


def test_each_refund_of_a_payment_has_a_request_of_its_own(tx):
    place = checkout(tx)
    ids = {wanted(tx, place, Want.REFUND, refund(tx, place))["id"] for _ in range(3)}
    assert len(ids) == len(till.wanted_calls(tx.connection, place["order_id"])) == 3


def test_the_store_itself_takes_no_second_request_for_one_purpose(tx):
    call = wanted(tx, checkout(tx))
    with pytest.raises(IntegrityError):
        tx.connection.execute(insert(payment_calls).values(dict(call) | {"id": "call-other"}))


@pytest.mark.parametrize(
    ("refusals", "wait", "pause"), [(0, 0, 0), (0, 60, 60), (1, 0, 2), (5, 0, 32), (1, 3600, 3600), (9, 0, 512), (12, 0, 900)]
)
def test_what_was_refused_before_is_asked_later_each_time(tx, refusals, wait, pause):
    place = checkout(tx)
    for number in range(refusals):
        till.close_call(tx, wanted(tx, place, Want.CAPTURE), "REFUSED", f"no {number}")
    for end in ("DONE", "DROPPED"):
        till.close_call(tx, wanted(tx, place, Want.CAPTURE), end)
    assert till.refused_before(tx.connection, f"capture:{place['id']}") == refusals
    assert wanted(tx, place, Want.CAPTURE, wait=wait)["next_at"] == START + timedelta(seconds=pause)
    assert wanted(tx, place, Want.VOID)["next_at"] == START, "what was refused was something else"


def test_a_request_knows_since_when_it_may_have_been_done_and_how_often_it_was_tried(tx, world):
    call = till.call_leaves(tx, wanted(tx, checkout(tx)))
    world.forward(60)
    till.call_waits(tx, call, 30, "no answer")
    waiting = till.call_row(tx.connection, call["id"])
    assert (waiting["next_at"], waiting["error"]) == (START + timedelta(seconds=90), "no answer")
    again = till.call_leaves(tx, waiting)
    assert (again["sent_at"], again["tries"]) == (START, 2)
    with pytest.raises(Conflict):
        till.call_leaves(tx, call)


def test_how_often_and_why_something_was_tried_in_vain_counts_all_its_requests(tx, world):
    place = checkout(tx)
    for why in ("first", "second"):
        till.close_call(tx, wanted(tx, place), "REFUSED", why)
        world.forward(1)
    call = wanted(tx, place)
    assert (till.tries_of(tx.connection, call), till.last_error(tx.connection, call)) == (2, "second")
    till.call_waits(tx, till.call_leaves(tx, call), 1, "third")
    call = till.call_row(tx.connection, call["id"])
    assert (till.tries_of(tx.connection, call), till.last_error(tx.connection, call)) == (3, "third")
    assert till.last_error(tx.connection, wanted(tx, checkout(tx))) == "no reason given"


def test_what_waited_for_the_end_of_a_dispute_is_due_at_once_and_nothing_else(tx, world):
    place, other = checkout(tx), checkout(tx)
    mine, others = wanted(tx, place, Want.REFUND, refund(tx, place), wait=3600), wanted(tx, other, wait=3600)
    world.forward(5)
    tx.wakes.clear()
    till.hurry(tx, place["id"])
    assert till.call_row(tx.connection, mine["id"])["next_at"] == world.now()
    assert till.call_row(tx.connection, others["id"]) == others
    assert tx.wakes == {till.TOPIC}


# looks


def test_a_look_that_is_wanted_while_one_is_under_way_is_not_lost(tx, world):
    """Whoever looks plans the next look only if nobody asked for one since the checkout was read."""
    place = checkout(tx)
    till.plan_look(tx, place["id"], START + HOUR, failed=2)
    assert till.untouched(tx, place), "a plan is no news"
    world.forward(1)
    till.look_soon(tx, [place["id"]])
    now = till.checkout_row(tx.connection, place["id"])
    assert (now["look_at"], now["looks_failed"]) == (world.now(), 2)
    assert not till.untouched(tx, place)


def test_more_looks_than_a_statement_has_room_for(tx):
    of = order(tx)
    ids = [checkout(tx, of)["id"] for _ in range(20)]
    till.look_soon(tx, [*(f"co-none-{number}" for number in range(1200)), *ids])
    assert all(row["look_at"] == START for row in till.checkouts_of(tx.connection, of["id"]))


def test_a_change_that_is_none_writes_nothing_and_one_on_an_old_row_is_refused(tx):
    place = checkout(tx)
    till.change_checkout(tx, place, state=place["state"], captured=0)
    assert till.untouched(tx, place)
    till.change_checkout(tx, place, captured=5)
    with pytest.raises(Conflict):
        till.change_checkout(tx, place, captured=6)


def test_a_checkout_is_found_by_any_id_that_a_message_may_name(tx):
    place = checkout(tx, session_id="cs_1", intent_id="pi_1")
    other = checkout(tx, session_id="cs_2", intent_id="pi_2")
    for ids in ({"session": "cs_1"}, {"intent": "pi_1"}, {"own": place["id"]}, {"session": "cs_0", "intent": "pi_1"}):
        assert till.find_checkout(tx.connection, **ids)["id"] == place["id"]
    assert till.find_checkout(tx.connection, session="cs_2", intent="pi_1", own=place["id"])["id"] == other["id"]
    assert till.find_checkout(tx.connection, session="cs_0", intent="pi_0", own="co-0") is None
    assert till.find_checkout(tx.connection) is None


def test_the_places_to_pay_of_an_order_are_counted(tx):
    of = order(tx)
    assert [checkout(tx, of)["number"] for _ in range(3)] == [1, 2, 3]
    assert checkout(tx)["number"] == 1
    assert [row["number"] for row in till.checkouts_of(tx.connection, of["id"])] == [1, 2, 3]


# orders that wait


@pytest.mark.parametrize("state", CheckoutState)
def test_an_order_that_somebody_may_be_paying_is_not_given_up(tx, world, state):
    place = checkout(tx, state=state.value, session_id="cs_1")
    world.forward(10)
    waiting = state in (CheckoutState.WANTED, CheckoutState.OPEN, CheckoutState.PROCESSING)
    assert till.can_be_paid(tx.connection, place["order_id"]) == waiting
    assert till.unpaid_since(tx.connection, world.now(), with_checkout=True) == ([] if waiting else [place["order_id"]])
    assert till.unfinished(tx.connection) == (waiting or state is CheckoutState.AUTHORIZED)
    assert list(till.open_sessions(tx.connection)) == (["cs_1"] if state is CheckoutState.OPEN else [])


def test_only_old_unpaid_orders_are_given_up_oldest_first(tx, world):
    gone = {"state": CheckoutState.EXPIRED.value}
    old = [checkout(tx, **gone)["order_id"]]
    by_hand = order(tx)["id"]
    world.forward(1)
    old.append(checkout(tx, **gone)["order_id"])
    for changes in ({"status": "paid"}, {"status": "cancelled"}, {"captured": 1}):
        checkout(tx, order(tx, **changes), **gone)
    world.forward(1)
    checkout(tx, **gone)
    assert till.unpaid_since(tx.connection, world.now(), with_checkout=True) == old
    assert set(till.unpaid_since(tx.connection, world.now(), with_checkout=False)) == {*old, by_hand}


def test_an_order_with_much_under_way_is_one_order(tx):
    of = order(tx)
    for number in range(3):
        wanted(tx, checkout(tx, of, state=CheckoutState.OPEN.value, session_id=f"cs_{number}"), Want.EXPIRE)
    assert till.unfinished(tx.connection) == 1


@pytest.mark.parametrize("state", JobState)
def test_a_promise_is_ready_to_be_collected_when_no_job_is_before_the_queue(tx, state):
    of = order(tx)
    record_payment(tx, of, None, hold="capture")
    (job,) = jobs_of(tx.connection, of["id"])
    change(tx, jobs, job, state=state.value)
    before = state in (JobState.CREATED, JobState.VALIDATING, JobState.SLICING, JobState.FAILED)
    assert till.waiting_for_capture(tx.connection) == [of["id"]]
    assert till.ready_for_capture(tx.connection) == ([] if before else [of["id"]])


def test_what_is_held_for_another_reason_or_not_at_all_is_not_collected(tx):
    for hold in (None, "dispute", "review"):
        order(tx, hold=hold)
    assert (till.waiting_for_capture(tx.connection), till.ready_for_capture(tx.connection)) == ([], [])


def test_a_wish_without_a_request_is_a_loose_end(tx):
    unopened = checkout(tx)
    paid = {"state": CheckoutState.PAID.value}
    unsent, known, done = checkout(tx, **paid), checkout(tx, **paid), checkout(tx, **paid)
    refund(tx, unsent)
    refund(tx, known, provider_id="re_1")
    refund(tx, done, RefundState.SUCCEEDED)
    cancelled = [checkout(tx, order(tx, cancelled_at=START), state=state.value) for state in CheckoutState]
    undone = {
        each["order_id"]
        for each in cancelled
        if each["state"] in (CheckoutState.OPEN, CheckoutState.AUTHORIZED, CheckoutState.WANTED)
    }
    checkout(tx, state=CheckoutState.OPEN.value)
    found = till.unsettled(tx.connection)
    assert sorted(found) == sorted({unopened["order_id"], unsent["order_id"], *undone})
    wanted(tx, unopened)
    move_refund(tx, refund_row(tx.connection, refund(tx, known)), RefundState.FAILED)
    assert set(till.unsettled(tx.connection)) == set(found) - {unopened["order_id"]}


def test_a_paid_order_of_which_nothing_is_made_is_found(tx):
    made, lost = order(tx), order(tx, status="paid")
    record_payment(tx, made, None)
    order(tx)
    assert till.paid_without_jobs(tx.connection) == [lost["id"]]


# messages


def test_a_message_is_kept_once_however_often_it_comes_and_whatever_became_of_it(tx, world):
    def keep(event_id: str) -> bool:
        return till.keep_message(tx, event_id, "refund.updated", {"intent": event_id}, START)

    assert [keep("evt_1"), keep("evt_2"), keep("evt_1")] == [True, True, False]
    till.settle_messages(tx, ["evt_1"], "IGNORED", "not ours")
    tx.wakes.clear()
    world.forward(1)
    assert [keep("evt_1"), keep("evt_2")] == [False, False]
    assert tx.wakes == set(), "nobody is woken for what is known"
    assert [(row["id"], row["hint"], row["received_at"]) for row in till.new_messages(tx.connection)] == [
        ("evt_2", {"intent": "evt_2"}, START)
    ]
    assert keep("evt_3")
    assert tx.wakes == {till.INBOX}


def test_messages_are_dealt_with_in_the_order_in_which_they_came(tx, world):
    for event_id in ("evt_b", "evt_a"):
        till.keep_message(tx, event_id, "refund.updated", {}, START - HOUR)
    world.forward(1)
    till.keep_message(tx, "evt_0", "refund.updated", {}, START - 2 * HOUR)
    assert [row["id"] for row in till.new_messages(tx.connection)] == ["evt_a", "evt_b", "evt_0"]
    assert [row["id"] for row in till.new_messages(tx.connection, limit=2)] == ["evt_a", "evt_b"]
    till.settle_messages(tx, ["evt_a", "evt_0"], "DONE")
    till.settle_messages(tx, [], "DONE")
    assert [row["id"] for row in till.new_messages(tx.connection)] == ["evt_b"]


def test_a_message_is_forgotten_long_after_stripe_forgot_it_and_never_before_it_was_dealt_with(tx, world):
    for event_id, state in (("evt_done", "DONE"), ("evt_ignored", "IGNORED"), ("evt_new", None)):
        till.keep_message(tx, event_id, "refund.updated", {}, START)
        if state:
            till.settle_messages(tx, [event_id], state)
    world.forward(60 * DAY)
    assert retention.forget(tx) == 0
    assert not till.keep_message(tx, "evt_done", "refund.updated", {}, START)
    world.forward(1)
    assert retention.forget(tx) == 2
    assert [row["id"] for row in till.new_messages(tx.connection)] == ["evt_new"]
    assert retention.forget(tx) == 0


def test_what_the_sweep_remembers_is_the_last_that_it_was_told(tx):
    assert till.noted(tx.connection, "stripe:last-event") is None
    for value in ("evt_1", "evt_2", "evt_2"):
        till.note(tx, "stripe:last-event", value)
        assert till.noted(tx.connection, "stripe:last-event") == value
