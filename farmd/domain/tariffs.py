"""Which tax and which shipping a farm's tables hold ready for an address: the most specific rule wins.

Pure look-ups. What a rule then comes to in money is `pricing`'s. An order without an address is collected: no place's rule is for
it, it pays the farm's general rate of tax and the flat price of shipping.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farmd.domain.pricing import TaxRule


def same(text: str | None) -> str:
    """A country, state or zip code as it is compared: without regard to case and blanks."""
    return "".join((text or "").split()).casefold()


@dataclass(frozen=True, slots=True)
class TaxZone:
    """A place with a tax of its own: a country, or a state or the zip codes with one beginning in it."""

    country: str
    tax: TaxRule
    state: str | None = None
    zip_prefix: str | None = None

    @property
    def place(self) -> tuple[str, str, str]:
        """What is compared; no two zones of a table may have the same."""
        return same(self.country), same(self.state), same(self.zip_prefix)

    def covers(self, address: Mapping[str, Any]) -> bool:
        """Whether an address (keys as in the order API) lies in here."""
        country, state, prefix = self.place
        return (
            country == same(address.get("country"))
            and state in ("", same(address.get("state")))
            and same(address.get("zip")).startswith(prefix)
        )


def tax_rule_for(address: Mapping[str, Any], zones: Sequence[TaxZone], general: TaxRule) -> TaxRule:
    """The tax of an address: the longest zip prefix before a state, a state before the country; `general` where no zone is."""
    covering = [zone for zone in zones if zone.covers(address)]
    # zones of one place are refused when the table is read, so there is never a tie
    return max(covering, key=lambda zone: (len(zone.place[2]), zone.place[1] != "")).tax if covering else general


@dataclass(frozen=True, slots=True)
class ShippingRule:
    """A price of shipping and what it is for. Every limit is inclusive; no `countries` means everywhere."""

    price: int
    countries: frozenset[str] = frozenset()
    max_weight: int | None = None
    min_subtotal: int = 0
    max_subtotal: int | None = None
    name: str | None = None

    def takes(self, country: str, weight: int | None, subtotal: int) -> bool:
        """Whether a parcel goes by this rule. A parcel of unknown weight goes by no rule that has a limit of weight."""
        heavy = self.max_weight is not None and (weight is None or weight > self.max_weight)
        dear = self.max_subtotal is not None and subtotal > self.max_subtotal
        near = not self.countries or same(country) in {same(each) for each in self.countries}
        return near and not heavy and not dear and subtotal >= self.min_subtotal


@dataclass(frozen=True, slots=True)
class ShippingTable:
    """All of a farm's prices of shipping, in minor units."""

    flat: int
    rules: tuple[ShippingRule, ...] = ()
    free_over: int | None = None


@dataclass(frozen=True, slots=True)
class Shipping:
    """What sending costs, and the name of the rule it goes by."""

    price: int
    method: str | None = None


def shipping_for(address: Mapping[str, Any], weight: int | None, subtotal: int, table: ShippingTable) -> Shipping:
    """What it costs to send `weight` grams (None: nobody knows) worth `subtotal` to an address.

    A rule that names the country comes before one for everywhere, then the one with the least limit of weight, then the first in
    the file. Without a rule it is the flat price. From `free_over` on it costs nothing, whichever way it goes.
    """
    fitting = [rule for rule in table.rules if address and rule.takes(address["country"], weight, subtotal)]
    chosen = min(fitting, key=_generality, default=None)
    price = table.flat if chosen is None else chosen.price
    free = table.free_over is not None and subtotal >= table.free_over
    return Shipping(0 if free else price, chosen.name if chosen else None)


def _generality(rule: ShippingRule) -> tuple[bool, bool, int]:
    return not rule.countries, rule.max_weight is None, rule.max_weight or 0


def parcel_weight(units: Sequence[tuple[int | None, int]]) -> int | None:
    """Grams of so many pieces of (grams, quantity); None as soon as the weight of one of them is not known."""
    return None if any(grams is None for grams, _ in units) else sum((grams or 0) * quantity for grams, quantity in units)
