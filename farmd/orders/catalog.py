"""Putting a SKU on sale: its options must make sense, and no choice of them may cost less than nothing."""

from decimal import Decimal

from farmd.domain.catalog import Option, Problem, Sku, check_options
from farmd.domain.refusals import Unacceptable
from farmd.store.catalog import change_sku, insert_sku, sku_row
from farmd.store.engine import Tx
from farmd.store.rows import Row


def offer(tx: Tx, sku: Sku) -> Row:
    """Write a new SKU. Raises `Unacceptable`, `Conflict` when its id is taken."""
    _check(sku)
    return insert_sku(tx, sku)


def revise(tx: Tx, sku: Sku) -> Row:
    """Replace what a SKU says. Raises `Missing`, `Unacceptable`, `Conflict`."""
    _check(sku)
    return change_sku(tx, sku_row(tx.connection, sku.id), sku)


def _check(sku: Sku) -> None:
    problems = check_options(sku.options, "/options")
    if len(set(sku.post_process)) != len(sku.post_process):
        problems.append(Problem("/postProcess", "a step stands twice; give each its own name"))
    if not problems and sku.unit_price + sum(_lowest(option) for option in sku.options) < 0:
        problems.append(Problem("/options", "with these price modifiers a choice could cost less than nothing"))
    if problems:
        raise Unacceptable("invalid", problems)


def _lowest(option: Option) -> Decimal:
    """The least that an option can add to the price."""
    if option.type != "number":
        return Decimal(min(option.price_modifier, 0))
    ends = [end for end in (option.minimum, option.maximum) if end is not None]
    if len(ends) < 2 and option.price_modifier:
        return Decimal(0) if option.price_modifier > 0 and option.minimum is not None else Decimal("-Infinity")
    return min((option.price_modifier * end for end in ends), default=Decimal(0))
