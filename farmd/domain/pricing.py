"""What an order costs: line prices from the SKU's own table, shipping and tax by the farm's rules.

Pure arithmetic on minor units. A price never comes from the customer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from farmd.domain.money import scale


@dataclass(frozen=True, slots=True)
class TaxRule:
    """`rate` as a fraction (0.0826), on "items" or "items+shipping"."""

    rate: Decimal
    base: str = "items+shipping"
    rounding: str = "half_up"


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One line item with its price; `options` are the resolved ones (defaults filled in)."""

    sku_id: str
    quantity: int
    unit_price: int
    options: Mapping[str, Any]

    @property
    def total(self) -> int:
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Quote:
    """The seed's four sums, in minor units."""

    lines: tuple[PricedLine, ...]
    shipping: int
    tax: int

    @property
    def subtotal(self) -> int:
        return sum(line.total for line in self.lines)

    @property
    def total(self) -> int:
        return self.subtotal + self.shipping + self.tax


def quote(lines: Sequence[PricedLine], shipping: int, tax: TaxRule) -> Quote:
    """Price a basket."""
    subtotal = sum(line.total for line in lines)
    base = subtotal + shipping if tax.base == "items+shipping" else subtotal
    return Quote(tuple(lines), shipping, scale(base, tax.rate, tax.rounding))
