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


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 100_000)), min_size=1, max_size=100),
    st.integers(0, 10_000),
    st.decimals(0, 1, places=4),
)
def test_the_sums_always_add_up(each: list[tuple[int, int]], shipping: int, rate: Decimal) -> None:
    quoted = quote(lines(*each), shipping, TaxRule(rate))
    assert quoted.subtotal == sum(quantity * price for quantity, price in each)
    assert quoted.total == quoted.subtotal + quoted.shipping + quoted.tax
    assert 0 <= quoted.tax <= quoted.subtotal + quoted.shipping
