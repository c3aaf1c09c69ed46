"""Amounts: exact text both ways, one rounding, and shares that add up."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.api.answers import money, to_json
from farmd.domain.money import ROUNDINGS, MoneyError, exponent, scale, share_out, to_minor, to_text


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (1250, "USD", "12.50"),
        (800, "USD", "8.00"),
        (0, "USD", "0.00"),
        (5, "USD", "0.05"),
        (-1250, "USD", "-12.50"),
        (500, "JPY", "500"),
        (1, "KWD", "0.001"),
        (2_000_000_000, "USD", "20000000.00"),
    ],
)
def test_an_amount_is_written_with_its_currencys_decimals(minor: int, currency: str, text: str) -> None:
    assert to_text(minor, currency) == text
    assert to_json({"a": money(minor, currency)}) == f'{{"a":{text}}}'.encode()
    assert to_minor(text, currency) == minor


@pytest.mark.parametrize("amount", ["12.505", "0.001", "NaN", "Infinity", "-Infinity", "twelve", "", "1e-9"])
def test_what_no_coin_can_pay_is_no_amount(amount: str) -> None:
    with pytest.raises(MoneyError):
        to_minor(amount, "USD")


def test_a_yen_has_no_cents() -> None:
    assert exponent("JPY") == 0
    with pytest.raises(MoneyError, match="0 decimals"):
        to_minor("1.5", "JPY")


@pytest.mark.parametrize(
    ("minor", "factor", "rounding", "expected"),
    [
        (4550, "0.0826", "half_up", 376),  # 375.83
        (4550, "0.0825", "half_up", 375),  # 375.375
        (4550, "0.0825", "up", 376),
        (50, "0.05", "half_up", 3),  # 2.5
        (50, "0.05", "half_even", 2),
        (0, "0.2", "up", 0),
    ],
)
def test_rounding_happens_once_and_by_name(minor: int, factor: str, rounding: str, expected: int) -> None:
    assert scale(minor, Decimal(factor), rounding) == expected


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_shares_add_up_and_are_fair_to_less_than_one_coin(total: int, weights: list[int]) -> None:
    parts = share_out(total, weights)
    assert sum(parts) == total
    if sum(weights):
        assert all(abs(part - Decimal(total) * weight / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


@given(st.integers(0, 10**9), st.sampled_from(["USD", "JPY", "KWD"]))
def test_text_and_back_is_the_same_amount(minor: int, currency: str) -> None:
    assert to_minor(Decimal(to_text(minor, currency)), currency) == minor


@given(st.integers(0, 10**8), st.decimals(0, 2, places=4), st.sampled_from(sorted(ROUNDINGS)))
def test_a_rounded_product_is_less_than_one_coin_away(minor: int, factor: Decimal, rounding: str) -> None:
    assert abs(scale(minor, factor, rounding) - minor * factor) < 1
