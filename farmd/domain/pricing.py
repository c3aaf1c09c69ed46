"""What an order costs: line prices from the SKU's own table, shipping and tax by the farm's rules.

Pure arithmetic on minor units. A price never comes from the customer. Which tax and which shipping apply to an address is decided
in `tariffs`; here they are sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from farmd.domain.money import contained, scale, share_out


@dataclass(frozen=True, slots=True)
class TaxRule:
    """`rate` as a fraction (0.0826), on "items" or "items+shipping", rounded once for the "order" or for each "line" by itself.

    `included`: prices and shipping contain the tax already. `name`: of the place's own rule; None for the farm's general rate.
    `coin`: minor units that every rounded amount is whole multiples of.
    """

    rate: Decimal
    base: str = "items+shipping"
    rounding: str = "half_up"
    round_at: str = "order"
    included: bool = False
    name: str | None = None
    coin: int = 1

    def of(self, amount: int) -> int:
        """The tax on an amount, or the part of it that is tax."""
        return (contained if self.included else scale)(amount, self.rate, self.rounding, self.coin)


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One line item with its price; `options` are the resolved ones (defaults filled in), `tax` its share of the order's."""

    sku_id: str
    quantity: int
    unit_price: int
    options: Mapping[str, Any]
    tax: int = 0

    @property
    def total(self) -> int:
        return self.unit_price * self.quantity


@dataclass(frozen=True, slots=True)
class Quote:
    """The seed's four sums, in minor units, and by which rules they came about.

    `tax` is the sum of the lines' taxes and `shipping_tax`, exactly. `total` is subtotal, shipping and tax; a tax that prices
    include is not added again.
    """

    lines: tuple[PricedLine, ...]
    shipping: int
    tax: int
    shipping_tax: int
    rule: TaxRule
    method: str | None

    @property
    def subtotal(self) -> int:
        return sum(line.total for line in self.lines)

    @property
    def total(self) -> int:
        return self.subtotal + self.shipping + (0 if self.rule.included else self.tax)


def quote(lines: Sequence[PricedLine], shipping: int, tax: TaxRule, method: str | None = None) -> Quote:
    """Price a basket that is sent by `method` for `shipping`, and give every line its share of the tax."""
    taxed = [*(line.total for line in lines), shipping if tax.base == "items+shipping" else 0]
    shares = [tax.of(amount) for amount in taxed] if tax.round_at == "line" else share_out(tax.of(sum(taxed)), taxed, tax.coin)
    *on_lines, on_shipping = shares
    with_tax = tuple(replace(line, tax=share) for line, share in zip(lines, on_lines, strict=True))
    return Quote(with_tax, shipping, sum(shares), on_shipping, tax, method)
