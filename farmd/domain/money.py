"""Money is an integer of minor units (cents) plus an ISO 4217 currency, everywhere inside farmd.

Decimals exist only at the JSON edge. Nothing here ever touches a float, and nothing outside rounds money by itself.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, Decimal, InvalidOperation

ZERO_DECIMAL = frozenset(
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"]
)
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])

ROUNDINGS = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "up": ROUND_UP}


class MoneyError(ValueError):
    """An amount that cannot be paid: not a number, negative, or finer than the currency's smallest coin."""


def exponent(currency: str) -> int:
    """How many decimals `currency` has (2 for USD, 0 for JPY, 3 for KWD)."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def to_minor(amount: Decimal | str | int, currency: str) -> int:
    """Minor units of a decimal amount. Raises `MoneyError` when it is not finite or has more decimals than the currency."""
    try:
        value = Decimal(amount)
    except InvalidOperation as error:
        raise MoneyError(f"{amount!r} is not an amount of money") from error
    if not value.is_finite():
        raise MoneyError(f"{amount!r} is not an amount of money")
    scaled = value.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise MoneyError(f"{amount} has more than the {exponent(currency)} decimals of {currency}")
    return int(scaled)


def to_text(minor: int, currency: str) -> str:
    """The exact decimal text of an amount, as it stands in JSON: 1250 USD is `12.50`, 500 JPY is `500`."""
    return str(Decimal(minor).scaleb(-exponent(currency)))


def card_coin(currency: str) -> int:
    """The least step, in minor units, in which an amount can be charged to a card: the networks know two decimals of dinars and
    none of the Icelandic crown (docs.stripe.com/currencies)."""
    return 10 if currency in THREE_DECIMAL else 100 if currency == "ISK" else 1


def scale(minor: int, factor: Decimal, rounding: str = "half_up", coin: int = 1) -> int:
    """`minor` times `factor`, rounded once to whole coins (of so many minor units) by a name from `ROUNDINGS`."""
    return coin * int((minor * factor / coin).quantize(Decimal(1), rounding=ROUNDINGS[rounding]))


def contained(minor: int, rate: Decimal, rounding: str = "half_up", coin: int = 1) -> int:
    """The tax at `rate` that stands in `minor` already, rounded once to whole coins by a name from `ROUNDINGS`."""
    # one division at the very end: what comes out even stays even, also where rate / (1 + rate) has no end
    return coin * int((minor * rate / ((1 + rate) * coin)).quantize(Decimal(1), rounding=ROUNDINGS[rounding]))


def share_out(total: int, weights: Sequence[int], coin: int = 1) -> list[int]:
    """Split `total` in proportion to `weights` so that the parts sum to it exactly (largest remainder, earlier part first). Each
    part is whole coins if `total` is."""
    if coin > 1 and total % coin == 0:
        return [coin * part for part in share_out(total // coin, weights)]
    whole = sum(weights)
    if whole == 0:
        return [total, *[0] * (len(weights) - 1)] if weights else []
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % whole), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts
