"""The double's reader of parameters: what the pinned library's own types know passes, everything else is named and refused."""

import typing
from typing import Any
from urllib.parse import urlencode

import pytest
import typing_extensions
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from tests.doubles.stripe_errors import Refused
from tests.doubles.stripe_params import LEAVES, LITERALS, check, choices, decode, fields, params_class
from tests.doubles.stripe_routes import ROUTES

SESSION = params_class("checkout._session_create_params", "SessionCreateParams")
REFUND = params_class("_refund_create_params", "RefundCreateParams")
EVENTS = params_class("_event_list_params", "EventListParams")


def encoded(params: dict[str, Any]) -> str:
    """As the library puts it on the wire."""
    return urlencode([(name, str(value)) for name, value in _api_encode(params)])


def read(kind: Any, params: dict[str, Any]) -> dict[str, Any]:
    return check(kind, decode(encoded(params)))


def line(**changes: Any) -> dict[str, Any]:
    price = {"currency": "usd", "unit_amount": 1250, "product_data": {"name": "20 mm cube"}}
    return {"price_data": price | changes, "quantity": 3}


def session(**changes: Any) -> dict[str, Any]:
    return {"mode": "payment", "line_items": [line(), line(unit_amount=376)], "success_url": "https://shop.example/ok"} | changes


def refusal(kind: Any, params: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        read(kind, params)
    assert caught.value.status == 400
    assert caught.value.error["type"] == "invalid_request_error"
    assert not caught.value.saved
    return caught.value


def test_what_the_library_sends_comes_back_as_it_was() -> None:
    given = session(
        metadata={"order_id": "order-000001"},
        expires_at=1_700_000_000,
        automatic_tax={"enabled": False},
        payment_intent_data={"capture_method": "manual", "metadata": {"order_id": "order-000001"}},
        shipping_options=[{"shipping_rate_data": {"display_name": "Post", "fixed_amount": {"amount": 800, "currency": "usd"}}}],
    )
    assert read(SESSION, given) == given


@pytest.mark.parametrize(
    ("kind", "params", "code", "param"),
    [
        (SESSION, session(payment_method_types=["card"]), "parameter_unknown", "payment_method_types"),
        (
            SESSION,
            session(line_items=[line(unit_amount=12.5)]),
            "parameter_invalid_integer",
            "line_items[0][price_data][unit_amount]",
        ),
        (
            SESSION,
            session(line_items=[line(unit_amount=True)]),
            "parameter_invalid_integer",
            "line_items[0][price_data][unit_amount]",
        ),
        (
            SESSION,
            session(line_items=[line(), line(product_data={"name": "x", "nme": "y"})]),
            "parameter_unknown",
            "line_items[1][price_data][product_data][nme]",
        ),
        (
            SESSION,
            session(line_items=[line(product_data={"description": "y"})]),
            "parameter_missing",
            "line_items[0][price_data][product_data][name]",
        ),
        (SESSION, session(mode="payments"), None, "mode"),
        (SESSION, session(automatic_tax={"enabled": "yes"}), None, "automatic_tax[enabled]"),
        (SESSION, session(client_reference_id=""), "parameter_invalid_empty", "client_reference_id"),
        (SESSION, session(line_items="none"), None, "line_items"),
        (SESSION, session(metadata={"note": "x" * 501}), None, "metadata[note]"),
        (SESSION, session(metadata={"n" * 41: "x"}), None, f"metadata[{'n' * 41}]"),
        (SESSION, session(metadata={f"n{number}": "x" for number in range(51)}), None, "metadata"),
        (REFUND, {"charge": "ch_1", "foo": 1}, "parameter_unknown", "foo"),
        (REFUND, {"charge": "ch_1", "reason": "changed_my_mind"}, None, "reason"),
        (REFUND, {"charge": "ch_1", "api_key": "sk"}, "parameter_unknown", "api_key"),
        (REFUND, {"amount": {"value": 1}}, None, "amount"),
        (EVENTS, {"delivery_success": "no"}, None, "delivery_success"),
        (EVENTS, {"created": {"since": 1}}, "parameter_unknown", "created[since]"),
    ],
)
def test_what_the_library_does_not_know_is_refused(kind: Any, params: dict[str, Any], code: str | None, param: str) -> None:
    refused = refusal(kind, params)
    assert (refused.error.get("code"), refused.error["param"]) == (code, param)


def test_a_number_or_an_object_where_both_are_known() -> None:
    assert read(EVENTS, {"created": 5}) == {"created": 5}
    assert read(EVENTS, {"created": {"gte": 5}, "types": ["refund.created"], "delivery_success": False}) == {
        "created": {"gte": 5},
        "types": ["refund.created"],
        "delivery_success": False,
    }


def test_an_empty_value_takes_metadata_away() -> None:
    assert read(REFUND, {"charge": "ch_1", "metadata": {"a": "", "b": "1"}})["metadata"] == {"b": "1"}
    assert read(REFUND, {"charge": "ch_1", "metadata": ""})["metadata"] == ""


def test_a_list_without_numbers_and_a_broken_one() -> None:
    assert check(EVENTS, decode("types[]=a&types[]=b")) == {"types": ["a", "b"]}
    with pytest.raises(Refused):
        check(EVENTS, decode("types[0]=a&types[2]=b"))
    with pytest.raises(Refused):
        decode("created=5&created[gte]=5")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_type_of_every_call_is_understood(route: Any) -> None:
    """A new kind of type in the library turns this red, not a test of an order."""
    seen: set[int] = set()
    waiting = [route.params]
    while waiting:
        hint = waiting.pop()
        origin = typing.get_origin(hint)
        if typing_extensions.is_typeddict(hint):
            if id(hint) not in seen:
                seen.add(id(hint))
                waiting.extend(kind for kind, _ in fields(hint).values())
        elif len(choices(hint)) > 1 or origin is typing.Union:
            waiting.extend(choices(hint))
        elif origin in (list, dict):
            waiting.append(typing.get_args(hint)[-1])
        else:
            assert origin in LITERALS or hint in LEAVES, f"{route.path}: {hint}"
    assert seen


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40), st.text(min_size=1, max_size=99), max_size=9
    )
)
def test_metadata_of_any_letters_survives_the_wire(metadata: dict[str, str]) -> None:
    given_ = {"charge": "ch_1"} | ({"metadata": metadata} if metadata else {})
    assert read(REFUND, given_) == given_
