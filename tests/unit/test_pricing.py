"""What an order comes to, and how its tax is shared out again when a part of it goes back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.domain.pricing import PricedLine, TaxRule, quote


def lines(*each: tuple[int, int]) -> list[PricedLine]:
    return [PricedLine(f"sku-{index}", quantity, price, {}) for index, (quantity, price) in enumerate(each)]


def test_the_documented_example() -> None:
    quoted = quote(lines((3, 1250)), 800, TaxRule(Decimal("0.0826")))
    assert (quoted.subtotal, quoted.shipping, quoted.tax, quoted.total) == (3750, 800, 376, 4926)
    assert (quoted.lines[0].tax, quoted.shipping_tax) == (310, 66)


@pytest.mark.parametrize(
    ("rule", "tax"),
    [
        (TaxRule(Decimal("0.0826"), "items"), 310),
        (TaxRule(Decimal("0.0825"), rounding="up"), 376),
        (TaxRule(Decimal("0.0825")), 375),
        (TaxRule(Decimal(0)), 0),
    ],
)
def test_the_tax_rule_says_of_what_and_how_it_is_rounded(rule: TaxRule, tax: int) -> None:
    assert quote(lines((3, 1250)), 800, rule).tax == tax


def test_at_the_line_each_line_and_the_shipping_are_rounded_by_themselves() -> None:
    basket, rate = lines((1, 5), (1, 5), (1, 5)), Decimal("0.1")
    whole, single = (quote(basket, 5, TaxRule(rate, round_at=at)) for at in ("order", "line"))
    assert (whole.tax, [line.tax for line in whole.lines], whole.shipping_tax) == (2, [1, 1, 0], 0)
    assert (single.tax, [line.tax for line in single.lines], single.shipping_tax) == (4, [1, 1, 1], 1)
    assert quote(basket, 5, TaxRule(rate, "items", round_at="line")).tax == 3


@pytest.mark.parametrize(
    ("rate", "rounding", "gross", "tax"),
    [
        ("0.19", "half_up", 11900, 1900),
        ("0.19", "half_up", 1250, 200),  # 199.58
        ("0.2", "half_up", 3, 1),  # 0.5
        ("0.2", "half_even", 3, 0),
        ("0.2", "up", 6, 1),  # 1 exactly, although 0.2 / 1.2 has no end
        ("0.2", "up", 7, 2),
        ("0", "up", 100, 0),
    ],
)
def test_a_tax_that_the_prices_include_is_taken_out_of_them(rate: str, rounding: str, gross: int, tax: int) -> None:
    quoted = quote(lines((1, gross)), 0, TaxRule(Decimal(rate), rounding=rounding, included=True))
    assert (quoted.subtotal, quoted.tax, quoted.total) == (gross, tax, gross)


RULES = st.builds(
    TaxRule,
    st.decimals(0, Decimal("0.9999"), places=4),
    st.sampled_from(["items", "items+shipping"]),
    st.sampled_from(["half_up", "half_even", "up"]),
    st.sampled_from(["order", "line"]),
    st.booleans(),
)
BASKETS = st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 100_000)), min_size=1, max_size=20)


@given(BASKETS, st.integers(0, 10_000), RULES)
def test_the_sums_always_add_up(each: list[tuple[int, int]], shipping: int, rule: TaxRule) -> None:
    quoted = quote(lines(*each), shipping, rule)
    assert quoted.subtotal == sum(quantity * price for quantity, price in each)
    assert quoted.total == quoted.subtotal + quoted.shipping + (0 if rule.included else quoted.tax)
    assert sum(line.tax for line in quoted.lines) + quoted.shipping_tax == quoted.tax
    assert all(0 <= line.tax <= line.total for line in quoted.lines)
    assert 0 <= quoted.shipping_tax <= (shipping if rule.base == "items+shipping" else 0)


@given(BASKETS, st.integers(0, 10_000), RULES)
def test_every_share_is_less_than_a_coin_from_its_own_tax(each: list[tuple[int, int]], shipping: int, rule: TaxRule) -> None:
    factor = rule.rate / (1 + rule.rate) if rule.included else rule.rate
    near = Decimal("1.0000001") if rule.round_at == "line" else Decimal(2)  # the order's rounding, and the sharing out
    for line in quote(lines(*each), shipping, rule).lines:
        assert abs(line.tax - line.total * factor) < near


@given(st.integers(0, 10**9), st.integers(0, 10**9), RULES)
def test_who_buys_more_never_pays_less_tax(amount: int, more: int, rule: TaxRule) -> None:
    assert rule.of(amount) <= rule.of(amount + more)
