"""What reaches farmd from Stripe: which webhooks are genuine, what they are a hint to, and what each kind of failure means.

The library is the real one down to its HTTP client; only the wire under that is the test's.
"""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.config import StripeSettings
from farmd.payments.inbox import Inbox
from farmd.payments.stripe_api import Refused, Shut, StripeApi, StripeProblem, Unavailable, read_event
from farmd.payments.stripe_shapes import EVENT_TYPES
from farmd.store import till
from tests.doubles.stripe_webhooks import signature
from tests.farm import FarmWorld, open_store

NOW = 1_800_000_000
SECRET, OLD, KEY = "whsec_current", "whsec_before", "sk_test_51Double0000000000001"
EVENT = {"id": "evt_1", "object": "event", "type": "checkout.session.completed", "created": NOW - 5, "data": {"object": {}}}
BODY = json.dumps(EVENT).encode()


def read(body: bytes = BODY, header: str | None = None, secrets: tuple[str, ...] = (SECRET,), now: float = NOW) -> dict[str, Any]:
    return read_event(body, signature(body, [SECRET], NOW) if header is None else header, secrets, now)


# signatures


@pytest.mark.parametrize("signed_with", [[SECRET], [OLD], [OLD, SECRET], ["whsec_other", SECRET]])
def test_each_of_our_secrets_opens_what_was_signed_while_one_was_rolled(signed_with):
    assert read(header=signature(BODY, signed_with, NOW), secrets=(SECRET, OLD)) == EVENT


@pytest.mark.parametrize("secrets", [(), ("",), ("  ",), (OLD,), ("", OLD)])
def test_without_the_secret_nothing_is_genuine_and_none_is_told(secrets):
    with pytest.raises(Refused, match="webhook_secrets") as caught:
        read(header=signature(BODY, [SECRET, ""], NOW), secrets=secrets)
    assert OLD not in str(caught.value)


MARK = signature(BODY, [SECRET], NOW).partition("v1=")[2]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "=",
        ",",
        "t=",
        f"t={NOW}",
        f"v1={MARK}",
        f"t=soon,v1={MARK}",
        f"t={NOW},v0={MARK}",
        f"t={NOW},v1={MARK[:-1]}",
        f"t={NOW},v1={MARK.upper()}",
        f"t={NOW + 1},v1={MARK}",
        f"t={NOW},v1=ü{MARK}",
        f"t={'9' * 5000},v1={MARK}",
        f"t={NOW},v1",
        "x" * 100_000,
    ],
)
def test_a_header_that_is_not_stripes_is_refused(header):
    with pytest.raises(Refused, match="no signature"):
        read(header=header)


WORDS = st.sampled_from(["t=1", f"t={NOW}", "t=", "t=-1", "v1=0", "v1=", "v0=1", "=", "==", "é", "\x00", " "])


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, max_size=6).map(",".join))
def test_no_header_raises_anything_but_a_refusal(header):
    with pytest.raises(Refused):
        read(header=header)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=80))
def test_other_bytes_than_those_that_were_signed_are_refused(body):
    with pytest.raises(Refused, match="no signature"):
        read(body, signature(BODY, [SECRET], NOW))


@pytest.mark.parametrize(("age", "heard"), [(0, True), (299, True), (300, True), (301, False), (86_400, False), (-86_400, True)])
def test_what_was_signed_too_long_ago_is_refused_and_a_fast_clock_of_the_signers_is_not(age, heard):
    if heard:
        assert read(now=NOW + age) == EVENT
    else:
        with pytest.raises(Refused, match="five minutes"):
            read(now=NOW + age)


@pytest.mark.parametrize("added", [f",t={NOW + 9999}", ",t=later", ",v1=0", ",v2=x"])
def test_what_somebody_added_to_an_old_header_makes_it_no_younger(added):
    header = signature(BODY, [SECRET], NOW) + added
    assert read(header=header) == EVENT
    with pytest.raises(Refused, match="five minutes"):
        read(header=header, now=NOW + 301)


def test_a_body_of_many_megabytes_is_judged_in_a_moment():
    event = EVENT | {"data": {"object": {"id": "x" * 4_000_000}}}
    body = json.dumps(event).encode()
    began = time.monotonic()
    assert read(body, signature(body, [SECRET], NOW)) == event
    with pytest.raises(Refused):
        read(body, f"t={NOW},v1={MARK}")
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no snapshot event"),
        (b"null", "no snapshot event"),
        (b'"evt_1"', "no snapshot event"),
        (b"{}", "no snapshot event"),
        (b'{"id": 7}', "no snapshot event"),
        (b'{"id": "evt_1", "object": "v2.core.event"}', "no snapshot event"),
        (b"\xff\xfe", "no signature"),
    ],
)
def test_a_signed_body_that_is_no_event_is_refused_with_the_reason(body, why):
    with pytest.raises(Refused, match=why):
        read(body, signature(body, [SECRET], NOW))


# hints


def kept_of(*events: dict[str, Any]) -> Callable[..., list[dict[str, Any]]]:
    """What the inbox keeps of these events, on a store in a folder."""

    async def keep(tmp_path: Any) -> list[dict[str, Any]]:
        stripe = StripeSettings(KEY, webhook_secrets=(SECRET,))
        async with open_store(tmp_path) as store:
            api = StripeApi(stripe)
            inbox = Inbox(store, FarmWorld(), api, stripe)
            await inbox.keep(list(events))
            await inbox.keep(list(events))
            await api.close()
            return [dict(row) for row in await store.read(till.new_messages)]

    return lambda tmp_path: asyncio.run(keep(tmp_path))


def event(number: int, kind: Any, thing: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"evt_{number}", "object": "event", "type": kind, "created": NOW, "data": {"object": thing}} | more


def test_a_message_is_kept_once_as_the_ids_it_names(tmp_path):
    own = {"order_id": "ord-1", "checkout_id": "co-1"}
    rows = kept_of(
        event(
            1,
            "checkout.session.completed",
            {"id": "cs_1", "payment_intent": "pi_1", "client_reference_id": "ord-1", "metadata": own},
        ),
        event(2, "payment_intent.succeeded", {"id": "pi_1", "metadata": own}),
        event(3, "charge.refunded", {"id": "ch_1", "payment_intent": {"id": "pi_1"}, "metadata": {}}),
        event(4, "charge.dispute.created", {"id": "du_1", "payment_intent": None, "metadata": "none"}),
        event(5, "refund.failed", ["no object"]),
        event(6, "refund.failed", None, data="nothing at all"),
    )(tmp_path)
    hints = {row["id"]: row["hint"] for row in rows}
    assert hints["evt_1"] == {"session": "cs_1", "intent": "pi_1", "own": "co-1", "order": "ord-1"}
    assert hints["evt_2"] == {"session": None, "intent": "pi_1", "own": "co-1", "order": "ord-1"}
    assert hints["evt_3"] == {"session": None, "intent": "pi_1", "own": None, "order": None}
    assert hints["evt_4"] == {"session": None, "intent": None, "own": None, "order": None}
    assert hints["evt_5"] == hints["evt_6"] == {}
    assert len(rows) == 6
    assert rows[0]["told_at"].timestamp() == NOW


def test_messages_that_are_not_about_this_farms_payments_are_not_kept(tmp_path):
    thing = {"id": "cs_1"}
    rows = kept_of(
        event(1, "customer.created", thing),
        event(2, None, thing),
        event(3, ["checkout.session.completed"], thing),
        event(4, "checkout.session.completed", thing, account="acct_other"),
        event(5, "checkout.session.completed", thing, livemode=True),  # our key is one of the test mode
        event(6, "checkout.session.completed", thing, livemode=False),
        event(7, "checkout.session.completed", thing, livemode="perhaps", created="lately"),
    )(tmp_path)
    assert {row["id"] for row in rows} == {"evt_6", "evt_7"}


def test_a_list_of_events_may_be_filtered_by_all_the_types_that_matter():
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES) <= 20


# what an answer means


def answered(wire: Callable[[httpx.Request], httpx.Response]) -> Any:
    """What a question comes to when the wire answers so; the library's client and its errors are the real ones."""

    async def ask() -> Any:
        api = StripeApi(StripeSettings(KEY), retries=0)
        await api.close()
        api._http._client_async = httpx.AsyncClient(transport=httpx.MockTransport(wire))
        try:
            return await api.refund({"payment_intent": "pi_1"}, "farmd-call-1")
        finally:
            await api.close()

    return asyncio.run(ask())


def says(status: int, kind: str, code: str | None = None, headers: dict[str, str] | None = None, words: str = "No.") -> Any:
    error = {"type": kind, "message": words} | ({"code": code} if code else {})
    return lambda _request: httpx.Response(status, json={"error": error}, headers=headers)


def breaks(error: Exception) -> Any:
    def wire(_request: httpx.Request) -> httpx.Response:
        raise error

    return wire


INVALID, CARD, API, KEYS = "invalid_request_error", "card_error", "api_error", "idempotency_error"
MEANINGS = {
    "wrong parameter": (says(400, INVALID, "parameter_unknown"), Refused, "parameter_unknown"),
    "disputed": (says(400, INVALID, "charge_disputed"), Refused, "charge_disputed"),
    "no such thing": (says(404, INVALID, "resource_missing"), Refused, "resource_missing"),
    "declined": (says(402, CARD, "card_declined"), Refused, "card_declined"),
    "same key, other body": (says(400, KEYS), Refused, None),
    "no key": (says(401, INVALID), Shut, None),
    "not with this key": (says(403, INVALID, "more_permissions_required"), Shut, None),
    "same key, still at it": (says(409, KEYS, "idempotency_key_in_use"), Unavailable, None),
    "locked": (says(409, INVALID, "lock_timeout"), Unavailable, None),
    "too many": (says(429, INVALID, "rate_limit"), Unavailable, None),
    "too many, in other words": (says(400, INVALID, "rate_limit"), Unavailable, None),
    "broken": (says(500, API), Unavailable, None),
    "gateway": (says(502, API), Unavailable, None),
    "maintenance": (says(503, API), Unavailable, None),
    "a proxy's page": (lambda _request: httpx.Response(502, text="<html>Bad Gateway</html>"), Unavailable, None),
    "a portal's page": (lambda _request: httpx.Response(200, text="<html>Please log in</html>"), Unavailable, None),
    "refused": (breaks(httpx.ConnectError("refused")), Unavailable, None),
    "slow": (breaks(httpx.ReadTimeout("slow")), Unavailable, None),
    "busy": (breaks(httpx.PoolTimeout("busy")), Unavailable, None),
    "cut": (breaks(httpx.RemoteProtocolError("cut")), Unavailable, None),
}


@pytest.mark.parametrize("what", MEANINGS)
def test_every_failure_has_its_meaning(what):
    wire, meaning, code = MEANINGS[what]
    with pytest.raises(StripeProblem) as caught:
        answered(wire)
    assert (type(caught.value), caught.value.code) == (meaning, code)
    assert str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
    ],
)
def test_how_long_to_wait_is_taken_from_the_answer(headers, seconds):
    with pytest.raises(Unavailable) as caught:
        answered(says(429, INVALID, headers=headers))
    assert caught.value.retry_after == seconds


def test_a_key_in_stripes_own_words_does_not_come_through():
    with pytest.raises(Shut) as caught:
        answered(says(401, INVALID, words=f"Invalid API Key provided: {KEY}"))
    assert KEY not in str(caught.value)
    assert "Invalid API Key" in str(caught.value)


def test_an_answer_is_a_plain_dictionary_and_the_request_has_its_key():
    seen: list[httpx.Request] = []

    def wire(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "re_1", "object": "refund", "metadata": {"refund_id": "re-1"}})

    answer = answered(wire)
    assert (type(answer), answer) == (dict, {"id": "re_1", "object": "refund", "metadata": {"refund_id": "re-1"}})
    assert [request.headers["idempotency-key"] for request in seen] == ["farmd-call-1"]
