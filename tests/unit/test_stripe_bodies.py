"""What farmd writes to Stripe, for baskets of every kind: the sum is the order's to the last coin, and nothing in it is refused by
the library's own types or by the rules of Checkout as the double knows them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stripe._encode import _api_encode

from farmd.config import StripeSettings
from farmd.domain.money import card_coin, exponent
from farmd.domain.pricing import PricedLine, Quote, TaxRule, quote
from farmd.payments.stripe_bodies import MAX_LINES, refund_body, session_body, void_body
from farmd.payments.stripe_shapes import CHECKOUT_KEY, ORDER_KEY, REFUND_KEY, own_id, refund_seen, sighting
from tests.doubles import stripe_checkout as checkout
from tests.doubles.stripe_books import Books
from tests.doubles.stripe_currencies import GREATEST, check_amount
from tests.doubles.stripe_params import check, decode, params_class

SESSION = params_class("checkout._session_create_params", "SessionCreateParams")
REFUND = params_class("_refund_create_params", "RefundCreateParams")
CANCEL = params_class("_payment_intent_cancel_params", "PaymentIntentCancelParams")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = NOW + timedelta(hours=23.9)
SETTINGS = StripeSettings("sk_test_x")
CURRENCIES = ["USD", "EUR", "GBP", "JPY", "KRW", "KWD", "TND", "ISK"]
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300).filter(str.strip)


def wire(kind: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The body as it arrives at Stripe: encoded by the library, read and held against its types."""
    return check(kind, decode(urlencode([(name, str(value)) for name, value in _api_encode(body)])))


def order_of(priced: Quote, currency: str, **changes: Any) -> dict[str, Any]:
    """An order's row, as `insert_order` writes it."""
    known = {
        "id": "ord-000001",
        "currency": currency,
        "shipping": priced.shipping,
        "shipping_method": priced.method,
        "tax": priced.tax,
        "tax_included": priced.rule.included,
        "tax_rule": priced.rule.name,
        "total": priced.total,
        "address": {"name": "Jane Smith"},
    }
    return known | changes


def lines_of(priced: Quote, names: list[str]) -> list[tuple[Any, str]]:
    numbered = enumerate(zip(priced.lines, names, strict=True))
    return [
        ({"id": f"li-{place}", "unit_price": line.unit_price, "quantity": line.quantity, "total": line.total}, name)
        for place, (line, name) in numbered
    ]


def body_of(order: Any, lines: Any, stripe: StripeSettings = SETTINGS) -> dict[str, Any]:
    return session_body(order, lines, "co-000002", END, stripe, "https://shop.test/ok?session_id={CHECKOUT_SESSION_ID}")


def basket(*prices: int, shipping: int = 0, rate: str = "0.0826", names: list[str] | None = None, **rule: Any) -> Any:
    priced = quote([PricedLine("sku", 1, price, {}) for price in prices], shipping, TaxRule(Decimal(rate), **rule))
    return order_of(priced, "USD"), lines_of(priced, names or [f"thing {place}" for place in range(len(prices))])


def asked_for(body: dict[str, Any]) -> int:
    lines = sum(line["price_data"]["unit_amount"] * line["quantity"] for line in body["line_items"])
    return lines + sum(each["shipping_rate_data"]["fixed_amount"]["amount"] for each in body.get("shipping_options", []))


@st.composite
def baskets(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[Any, str]]]:
    """Few lines or very many, every kind of tax and currency. Amounts are whole coins of the card networks, as the catalog has
    them."""
    currency = draw(st.sampled_from(CURRENCIES))
    coin = card_coin(currency)
    count = draw(st.one_of(st.integers(1, 4), st.integers(97, 130)))
    kinds = draw(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 500), NAME), min_size=1, max_size=3))
    chosen = [kinds[place % len(kinds)] for place in range(count)]
    rule = TaxRule(
        Decimal(draw(st.integers(0, 3000))) / 10_000,
        draw(st.sampled_from(["items", "items+shipping"])),
        draw(st.sampled_from(["half_up", "half_even", "up"])),
        draw(st.sampled_from(["order", "line"])),
        draw(st.booleans()),
        draw(st.none() | NAME),
        coin,
    )
    shipping = coin * draw(st.sampled_from([0, 1, 800]))
    priced = quote(
        [PricedLine("sku", quantity, price * coin, {}) for price, quantity, _ in chosen], shipping, rule, draw(st.none() | NAME)
    )
    return order_of(priced, currency), lines_of(priced, [name for _, _, name in chosen])


@settings(max_examples=15, deadline=None)
@given(baskets(), st.sampled_from(["automatic", "when_sliced"]))
def test_a_checkout_asks_for_the_total_in_a_form_that_stripe_takes(given_, capture):
    order, lines = given_
    read = wire(SESSION, body_of(order, lines, StripeSettings("sk_test_x", capture=capture)))
    assert asked_for(read) == order["total"]
    assert 1 <= len(read["line_items"]) <= MAX_LINES
    assert {line["price_data"]["currency"] for line in read["line_items"]} == {order["currency"].lower()}
    for line in read["line_items"]:
        check_amount(line["price_data"]["unit_amount"], order["currency"].lower(), "unit_amount")
        assert len(line["price_data"]["product_data"]["name"]) <= 250
    assert (read["payment_intent_data"].get("capture_method") == "manual") == (capture == "when_sliced")
    if order["total"] == 0 or 20_000 <= order["total"] <= GREATEST:
        session = checkout.create(Books(NOW.timestamp, Random(1)), read)
        seen = sighting(session, None, (), ())
        assert (seen.total, seen.currency, seen.order_id) == (order["total"], order["currency"], order["id"])
        assert own_id(session, CHECKOUT_KEY) == "co-000002"
        assert seen.expires_at == END.replace(microsecond=0)


@pytest.mark.parametrize(("currency", "decimals"), [("JPY", 0), ("USD", 2), ("KWD", 3)])
def test_amounts_are_the_minor_units_of_the_currency(currency, decimals):
    price = {0: 500, 2: 1250, 3: 12_500}[decimals]
    priced = quote([PricedLine("sku", 2, price, {})], 0, TaxRule(Decimal(0)))
    body = body_of(order_of(priced, currency), lines_of(priced, ["cube"]))
    assert exponent(currency) == decimals
    assert body["line_items"][0]["price_data"] == {
        "currency": currency.lower(),
        "unit_amount": price,
        "product_data": {"name": "cube", "metadata": {"line_item_id": "li-0"}},
    }


@pytest.mark.parametrize("taxed", [False, True])
@pytest.mark.parametrize("count", [1, 98, 99, 100, 101, 102, 250])
def test_beyond_a_hundred_lines_the_rest_stands_in_one_and_is_counted(count, taxed):
    order, lines = basket(*[100 + place for place in range(count)], rate="0.1" if taxed else "0")
    items = body_of(order, lines)["line_items"]
    assert len(items) == min(count + taxed, MAX_LINES)
    single = [item for item in items if "metadata" in item["price_data"]["product_data"]]
    collected = [item["price_data"]["product_data"]["name"] for item in items if "more items" in str(item)]
    assert collected == ([f"{count - len(single)} more items"] if count + taxed > MAX_LINES else [])
    assert sum(item["price_data"]["unit_amount"] for item in items) == order["total"]


def test_a_tax_that_prices_contain_is_not_asked_for_once_more():
    order, lines = basket(1000, rate="0.19", included=True, name="USt")
    assert [item["price_data"]["unit_amount"] for item in body_of(order, lines)["line_items"]] == [1000]
    order, lines = basket(1000, rate="0.19", name="USt")
    items = body_of(order, lines)["line_items"]
    assert [(each["price_data"]["product_data"]["name"], each["price_data"]["unit_amount"]) for each in items[1:]] == [("USt", 190)]


def test_what_is_not_there_is_left_out_and_never_empty():
    order, lines = basket(1000)
    bare = body_of(order | {"address": None}, lines)
    assert not {"shipping_options", "cancel_url", "customer_email"} & bare.keys()
    assert "capture_method" not in bare["payment_intent_data"]
    address = {"name": "Jane", "email": "jane@example.com"}
    full = body_of(order | {"shipping": 800, "address": address}, lines, StripeSettings("sk_test_x", cancel_url="https://a.test"))
    assert (full["customer_email"], full["cancel_url"]) == ("jane@example.com", "https://a.test")
    assert full["shipping_options"][0]["shipping_rate_data"]["display_name"] == "Shipping"


def test_the_session_and_its_payment_are_known_by_our_ids():
    """Whichever of the two a message names, and should the answer to its opening be lost."""
    body = wire(SESSION, body_of(*basket(1000)))
    for thing in (body, body["payment_intent_data"]):
        assert (own_id(thing, ORDER_KEY), own_id(thing, CHECKOUT_KEY)) == ("ord-000001", "co-000002")
    assert body["client_reference_id"] == "ord-000001"
    assert "{CHECKOUT_SESSION_ID}" in body["success_url"]


def test_the_same_order_gives_the_same_body():
    """Stripe refuses another body under the same key."""
    assert body_of(*basket(1000, 2000, shipping=800)) == body_of(*basket(1000, 2000, shipping=800))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, GREATEST),
    st.none() | st.just("") | st.text(st.characters(exclude_categories=["Cs"]), max_size=700),
    st.none() | st.just("li-000003"),
    st.sampled_from(["request", "cancellation", "duplicate"]),
)
def test_a_refund_is_taken_by_stripe_and_known_again_by_our_id(amount, reason, line, cause):
    row = {"id": "re-000009", "order_id": "ord-000001", "amount": amount, "reason": reason, "line_item_id": line, "cause": cause}
    read = wire(REFUND, refund_body(row, "pi_1"))
    assert (read["amount"], read["payment_intent"]) == (amount, "pi_1")
    assert read["reason"] == ("duplicate" if cause == "duplicate" else "requested_by_customer")
    assert (own_id(read, ORDER_KEY), read["metadata"].get("line_item_id")) == ("ord-000001", line)
    assert "" not in read["metadata"].values(), "an empty value would take the name away"
    seen = refund_seen(read | {"id": "re_stripes", "status": "succeeded"})
    assert seen is not None
    assert (seen.ours, seen.amount) == ("re-000009", amount)
    assert own_id(read, REFUND_KEY) == "re-000009"


def test_words_that_are_longer_than_stripe_takes_are_cut():
    order, lines = basket(1000, names=["n" * 1000])
    order = order | {"tax_rule": "t" * 1000}
    names = [item["price_data"]["product_data"]["name"] for item in body_of(order, lines)["line_items"]]
    assert names == ["n" * 250, "t" * 250]
    row = {"id": "re-1", "order_id": "ord-1", "amount": 1, "reason": "r" * 1000, "line_item_id": None, "cause": "request"}
    assert wire(REFUND, refund_body(row, "pi_1"))["metadata"]["reason_given"] == "r" * 500


def test_a_promise_is_given_back_with_a_word_that_stripe_knows():
    assert wire(CANCEL, void_body()) == {"cancellation_reason": "requested_by_customer"}
