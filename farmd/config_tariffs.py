"""`[tax]` and `[shipping]` with their rules: what is wrong with them, and the tables of the domain they become.

Called by `config_file` with a document whose types were checked already. Money is text until here.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal

from farmd.config_lines import KeyPath
from farmd.config_models import Document
from farmd.config_models import TaxRule as Written
from farmd.domain.money import MoneyError, to_minor
from farmd.domain.pricing import TaxRule
from farmd.domain.tariffs import ShippingRule, TaxZone

Complaints = Iterator[tuple[KeyPath, str]]
_AMOUNTS = ("price", "min_subtotal", "max_subtotal")


def check_tariffs(document: Document) -> Complaints:
    """Every amount that is none, every pair of limits that lets nothing through, and the second of two rules for the same."""
    bad = list(_check_money(document))
    yield from bad
    zones = [(zone.place, _place(zone)) for zone in tax_zones(document)]
    yield from _check_twice(("tax", "rules"), zones)
    if not bad:
        rules = shipping_rules(document)
        for index, rule in enumerate(rules):
            if rule.max_subtotal is not None and rule.max_subtotal < rule.min_subtotal:
                yield ("shipping", "rules", index, "max_subtotal"), "max_subtotal: is less than min_subtotal"
        cases = [(rule.countries, rule.max_weight, rule.min_subtotal, rule.max_subtotal) for rule in rules]
        yield from _check_twice(("shipping", "rules"), [(case, "the same case") for case in cases])


def _check_money(document: Document) -> Complaints:
    for path, text in _amounts(document):
        try:
            if to_minor(text, document.farm.currency) < 0:
                yield path, f"{path[-1]}: an amount cannot be negative"
        except MoneyError as error:
            yield path, f'{path[-1]}: {error}; write it like "8.00"'


def _amounts(document: Document) -> Iterator[tuple[KeyPath, str]]:
    """Every amount of money that the file names, with its place."""
    yield ("shipping", "flat"), document.shipping.flat
    if document.shipping.free_over is not None:
        yield ("shipping", "free_over"), document.shipping.free_over
    for index, rule in enumerate(document.shipping.rules):
        for key in _AMOUNTS:
            if (text := getattr(rule, key)) is not None:
                yield ("shipping", "rules", index, key), text


def _check_twice(at: KeyPath, rules: Iterable[tuple[Hashable, str]]) -> Complaints:
    seen: dict[Hashable, int] = {}
    for index, (case, words) in enumerate(rules):
        if (first := seen.setdefault(case, index)) != index:
            yield (*at, index), f"rule number {first + 1} is for {words} already; keep one of the two"


def tax_rule(document: Document) -> TaxRule:
    """The farm's general rule of tax."""
    tax = document.tax
    return TaxRule(Decimal(tax.rate), tax.base, tax.rounding, tax.round_at, tax.prices_include_tax)


def tax_zones(document: Document) -> tuple[TaxZone, ...]:
    """The places with a tax of their own; what a rule does not say is as in [tax]."""
    general = tax_rule(document)
    return tuple(
        TaxZone(
            rule.country,
            replace(general, rate=Decimal(rule.rate), base=rule.base or general.base, name=rule.name or _place(rule)),
            rule.state,
            rule.zip_prefix,
        )
        for rule in document.tax.rules
    )


def _place(where: TaxZone | Written) -> str:
    """Such as `US OR 972`."""
    return " ".join(part for part in (where.country, where.state, where.zip_prefix) if part)


def shipping_rules(document: Document) -> tuple[ShippingRule, ...]:
    """The prices of shipping, in the order of the file. Raises `MoneyError` where `check_tariffs` complained of an amount."""
    currency = document.farm.currency
    return tuple(
        ShippingRule(
            to_minor(rule.price, currency),
            frozenset(rule.countries or ()),
            rule.max_weight_g,
            to_minor(rule.min_subtotal or "0", currency),
            None if rule.max_subtotal is None else to_minor(rule.max_subtotal, currency),
            rule.name,
        )
        for rule in document.shipping.rules
    )


def free_over(document: Document) -> int | None:
    """The subtotal from which shipping costs nothing, in minor units."""
    text = document.shipping.free_over
    return None if text is None else to_minor(text, document.farm.currency)
