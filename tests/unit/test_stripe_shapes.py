"""Odd answers of Stripe: nothing raises, and nothing is concluded that the answer does not say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.domain.till import CheckoutState
from farmd.payments.stripe_shapes import moment, sighting

SESSION = {"id": "cs_1", "status": "complete", "payment_status": "paid", "amount_total": 100, "currency": "usd"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
SESSION_KEYS = ("id", "status", "payment_status", "amount_total", "currency", "expires_at", "url", "metadata", "payment_intent")
INTENT_KEYS = ("id", "status", "amount", "amount_received", "amount_capturable", "latest_charge", "metadata")


@pytest.mark.parametrize("status", [None, "brand_new", 7, "processing", "requires_action"])
def test_a_payment_whose_state_cannot_be_read_is_looked_at_again(status):
    assert sighting(SESSION, {"id": "pi_1", "status": status}, (), ()).state is CheckoutState.PROCESSING


@pytest.mark.parametrize("status", ["requires_payment_method", "canceled"])
def test_a_payment_that_will_not_come_is_over(status):
    assert sighting(SESSION, {"id": "pi_1", "status": status}, (), ()).state is CheckoutState.VOIDED


@pytest.mark.parametrize("seconds", [253_402_300_800, 2**40 - 1, 2**63, 0, -1, True, "1", None])
def test_a_time_that_is_none_is_none(seconds):
    assert moment({"at": seconds}, "at") is None


def test_the_last_second_of_all_is_a_time():
    assert moment({"at": 253_402_300_799}, "at").year == 9999


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from(SESSION_KEYS), JSON), st.dictionaries(st.sampled_from(INTENT_KEYS), JSON), st.lists(JSON))
def test_no_answer_raises_and_only_a_success_is_a_payment(session, intent, others):
    things = [each for each in others if isinstance(each, dict)]
    seen = sighting(session, intent or None, things, things)
    if seen.state is CheckoutState.PAID:
        said = intent.get("status") == "succeeded" or (
            not intent and session.get("payment_status") in ("paid", "no_payment_required")
        )
        assert said
