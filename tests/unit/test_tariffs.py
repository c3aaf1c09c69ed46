"""Which rule of tax and of shipping an address gets, looked up in tables and by chance."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.domain.pricing import TaxRule
from farmd.domain.tariffs import (
    Shipping,
    ShippingRule,
    ShippingTable,
    TaxZone,
    parcel_weight,
    shipping_for,
    tax_rule_for,
)

GENERAL = TaxRule(Decimal("0.0826"))


def zone(country, state=None, zip_prefix=None):
    name = " ".join(part for part in (country, state, zip_prefix) if part)
    return TaxZone(country, TaxRule(Decimal("0.1"), name=name), state, zip_prefix)


ZONES = (
    zone("US"),
    zone("US", "OR"),
    zone("US", "OR", "97"),
    zone("US", None, "972"),
    zone("US", "WA", "98"),
    zone("US", None, "98"),
    zone("GB", None, "SW1A"),
)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ({"country": "US", "state": "OR", "zip": "97201"}, "US 972"),
        ({"country": "US", "state": "OR", "zip": "97001"}, "US OR 97"),
        ({"country": "US", "state": "OR", "zip": "98001"}, "US 98"),
        ({"country": "US", "state": "WA", "zip": "98001"}, "US WA 98"),
        ({"country": "US", "state": "or"}, "US OR"),
        ({"country": "US", "state": "NV", "zip": "89101"}, "US"),
        ({"country": "US"}, "US"),
        ({"country": "us", "zip": "9 7 2 01"}, "US 972"),
        ({"country": "GB", "zip": "sw1a 1aa"}, "GB SW1A"),
        ({"country": "GB", "zip": "SW1 1AA"}, None),
        ({"country": "GB"}, None),
        ({"country": "DE", "state": "OR", "zip": "97201"}, None),
        ({}, None),
    ],
)
def test_the_most_specific_place_wins(address, name):
    assert tax_rule_for(address, ZONES, GENERAL).name == name
    assert tax_rule_for(address, ZONES[::-1], GENERAL).name == name


PLACES = st.builds(zone, st.sampled_from(["US", "DE"]), st.sampled_from([None, "A", "B"]), st.sampled_from([None, "1", "12", "2"]))
ADDRESSES = st.fixed_dictionaries(
    {"country": st.sampled_from(["US", "DE", "FR"])},
    optional={"state": st.sampled_from(["A", "b", "C"]), "zip": st.text("12 ", min_size=1, max_size=4)},
)


@given(st.lists(PLACES, unique_by=lambda each: each.place), ADDRESSES, st.randoms())
def test_whatever_the_order_of_the_rules_no_covering_one_is_more_specific(zones, address, random):
    chosen = tax_rule_for(address, zones, GENERAL)
    covering = [each for each in zones if each.covers(address)]
    assert (chosen is GENERAL) == (not covering)
    if covering:
        (place,) = [each.place for each in covering if each.tax is chosen]
        assert all(place[2].startswith(each.place[2]) for each in covering)
        assert all(each.place[2] != place[2] or place[1] or not each.place[1] for each in covering)
    random.shuffle(zones)
    assert tax_rule_for(address, zones, GENERAL) == chosen


TABLE = ShippingTable(
    800,
    (
        ShippingRule(2500, name="world"),
        ShippingRule(1900, max_weight=2000, name="world, small"),
        ShippingRule(690, frozenset({"DE", "AT"}), 5000, name="parcel"),
        ShippingRule(390, frozenset({"DE"}), 500, name="letter"),
        ShippingRule(350, frozenset({"DE"}), 500, name="the same again"),
        ShippingRule(0, frozenset({"CH"}), min_subtotal=10_000, name="courtesy"),
        ShippingRule(1200, frozenset({"CH"}), max_subtotal=10_000),
    ),
)


@pytest.mark.parametrize(
    ("country", "weight", "subtotal", "price", "method"),
    [
        ("DE", 500, 1000, 390, "letter"),
        ("DE", 501, 1000, 690, "parcel"),
        ("de", 0, 1000, 390, "letter"),
        ("DE", 5001, 1000, 2500, "world"),
        ("DE", None, 1000, 2500, "world"),
        ("AT", 100, 1000, 690, "parcel"),
        ("US", 2000, 1000, 1900, "world, small"),
        ("US", 2001, 1000, 2500, "world"),
        ("CH", 100, 10_001, 0, "courtesy"),
        ("CH", 100, 10_000, 0, "courtesy"),
        ("CH", 100, 9_999, 1200, None),
    ],
)
def test_a_parcel_goes_by_the_rule_made_for_it(country, weight, subtotal, price, method):
    assert shipping_for({"country": country}, weight, subtotal, TABLE) == Shipping(price, method)


def test_what_is_collected_and_what_no_rule_takes_pays_the_flat_price():
    assert shipping_for({}, 100, 1000, TABLE) == Shipping(800)
    assert shipping_for({"country": "US"}, 100, 1000, ShippingTable(800, TABLE.rules[2:])) == Shipping(800)


@pytest.mark.parametrize(("subtotal", "price"), [(4999, 390), (5000, 0), (5001, 0)])
def test_a_great_order_is_sent_for_nothing_the_same_way(subtotal, price):
    table = ShippingTable(800, TABLE.rules, free_over=5000)
    assert shipping_for({"country": "DE"}, 100, subtotal, table) == Shipping(price, "letter")
    assert shipping_for({}, 100, subtotal, table) == Shipping(price and 800)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.none() | st.integers(0, 20), st.booleans()), max_size=6),
    st.integers(0, 25),
    st.integers(0, 25),
)
def test_a_heavier_parcel_never_goes_by_a_narrower_rule(rows, weight, more):
    rules = tuple(
        ShippingRule(price, frozenset({"US"}) if near else frozenset(), limit, name=f"{index}")
        for index, (price, limit, near) in enumerate(rows)
    )

    def width(grams):
        chosen = shipping_for({"country": "US"}, grams, 0, ShippingTable(99, rules))
        if chosen.method is None:
            return (2, 0.0)
        rule = rules[int(chosen.method)]
        return (0 if rule.countries else 1, float("inf") if rule.max_weight is None else rule.max_weight)

    assert width(weight) <= width(weight + more)


def test_a_piece_that_nobody_weighed_makes_the_parcel_unknown():
    assert parcel_weight([(4, 3), (0, 7), (100, 1)]) == 112
    assert parcel_weight([(4, 3), (None, 1)]) is None
    assert parcel_weight([]) == 0
