"""What a basket costs: every line against the catalog, every fault of every line at once.

Prices come from the SKU and the farm's own rules, never from whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from farmd.config import Settings
from farmd.domain import pricing
from farmd.domain.catalog import Problem, Sku, resolve_options, unit_price
from farmd.domain.money import scale
from farmd.domain.pricing import PricedLine, Quote
from farmd.domain.refusals import Unacceptable
from farmd.domain.tariffs import ShippingTable, parcel_weight, shipping_for, tax_rule_for
from farmd.store.catalog import skus_by_id, to_sku
from farmd.store.engine import Tx

MAX_TOTAL = 2_000_000_000
"""Minor units an order may come to; every column and every payment provider holds as much."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line as it was asked for."""

    sku_id: str
    quantity: int
    options: Mapping[str, Any]


def quote(tx: Tx, settings: Settings, lines: Sequence[Line], address: Mapping[str, Any]) -> Quote:
    """Price a basket that goes to `address` (empty: it is collected). Raises `Unacceptable` with every unknown SKU and every
    impossible option."""
    rows = skus_by_id(tx.connection, (line.sku_id for line in lines))
    catalog = {sku_id: to_sku(row) for sku_id, row in rows.items() if row["active"]}
    unknown = [_unknown(index, line) for index, line in enumerate(lines) if line.sku_id not in catalog]
    priced, faults = _price(catalog, lines, settings.coin)
    if unknown or faults:
        raise Unacceptable("unknown_sku" if unknown else "bad_option", [*unknown, *faults])
    weight = parcel_weight([(catalog[line.sku_id].weight_grams, line.quantity) for line in lines])
    table = ShippingTable(settings.shipping_flat, settings.shipping_rules, settings.shipping_free_over)
    shipping = shipping_for(address, weight, sum(line.total for line in priced), table)
    rule = replace(tax_rule_for(address, settings.tax_zones, settings.tax), coin=settings.coin)
    quoted = pricing.quote(priced, scale(shipping.price, Decimal(1), coin=settings.coin), rule, shipping.method)
    if quoted.total > MAX_TOTAL:
        raise Unacceptable("order_too_large", [Problem("/lineItems", "the order is too large; split it")])
    return quoted


def _unknown(index: int, line: Line) -> Problem:
    return Problem(f"/lineItems/{index}/skuId", f"{line.sku_id!r} is not for sale; GET /api/skus lists what is")


def _price(catalog: Mapping[str, Sku], lines: Sequence[Line], coin: int) -> tuple[list[PricedLine], list[Problem]]:
    priced, problems = [], []
    for index, line in enumerate(lines):
        sku, pointer = catalog.get(line.sku_id), f"/lineItems/{index}/options"
        if sku is None:
            continue
        options, faults = resolve_options(sku, line.options, pointer)
        problems += faults
        if faults:
            continue
        price = unit_price(sku, options, coin)
        if price < 0:
            problems.append(Problem(pointer, f"these options make {sku.id} cheaper than nothing; the shop must mend its prices"))
        priced.append(PricedLine(line.sku_id, line.quantity, price, {key: plain(value) for key, value in options.items()}))
    return priced, problems


def plain(value: Any) -> Any:
    """An option's value as the store keeps it: a whole number stays whole, a decimal becomes a plain number."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)
