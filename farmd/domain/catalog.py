"""What can be bought: a SKU, its options, and the price of one unit with the options a customer chose.

Pure. Choices are checked here and nowhere else; every problem is reported with the JSON pointer of the field that has it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from farmd.domain.money import scale

COLOR = re.compile(r"#[0-9a-f]{6}")
DEFAULT_TIERS: Mapping[str, Decimal] = {"draft": Decimal("0.8"), "standard": Decimal(1), "fine": Decimal("1.4")}

OptionType = Literal["select", "number", "boolean", "color"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: where (RFC 6901 pointer) and what to do."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Option:
    """Something a customer may choose. `price_modifier` (minor units) is added per unit: for a boolean when true, for a select
    when the choice is not the default, for a number times the value."""

    key: str
    type: OptionType
    label: str = ""
    choices: tuple[str, ...] = ()
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    default: Any = None
    price_modifier: int = 0


@dataclass(frozen=True, slots=True)
class Sku:
    """A thing for sale and how it is made."""

    id: str
    name: str
    unit_price: int
    material: str
    color: str
    options: tuple[Option, ...] = ()
    quality_tiers: Mapping[str, Decimal] = field(default_factory=lambda: dict(DEFAULT_TIERS))
    post_process: tuple[str, ...] = ()
    profile: str | None = None
    active: bool = True
    weight_grams: int | None = None  # of one piece as it is sent; None: nobody weighed it

    def all_options(self) -> dict[str, Option]:
        """The SKU's own options over the farm's defaults."""
        tiers = tuple(self.quality_tiers)
        quality = "standard" if "standard" in tiers else tiers[0]
        defaults = (
            Option("color", "color", "Colour", default=self.color),
            Option("quality", "select", "Quality", choices=tiers, default=quality),
            Option("infill", "number", "Infill %", minimum=Decimal(0), maximum=Decimal(100), default=20),
        )
        return {option.key: option for option in (*defaults, *self.options)}


def _check(option: Option, value: Any) -> str | None:
    """Why `value` is not acceptable, or None."""
    if option.type == "boolean":
        return None if isinstance(value, bool) else "must be true or false"
    if option.type == "number":
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not Decimal(str(value)).is_finite():
            return "must be a number"
        number = Decimal(str(value))
        too_low = option.minimum is not None and number < option.minimum
        too_high = option.maximum is not None and number > option.maximum
        if too_low or too_high:
            return f"must lie between {option.minimum} and {option.maximum}"
        return None
    if option.choices:
        return None if value in option.choices else f"{value!r} is not offered; choose one of {', '.join(option.choices)}"
    if option.type == "color" or option.key == "color":
        known = isinstance(value, str) and COLOR.fullmatch(value.lower())
        return None if known else f"{value!r} is not a colour; write it as #rrggbb, for example #1a1a1a"
    return None if isinstance(value, str) else "must be text"


def _step(key: str) -> str:
    """A key as a step of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def resolve_options(sku: Sku, chosen: Mapping[str, Any], pointer: str) -> tuple[dict[str, Any], list[Problem]]:
    """The chosen options with defaults filled in, and every problem with them."""
    offered = sku.all_options()
    problems = [
        Problem(f"{pointer}/{_step(key)}", f"{sku.id} has no option {key!r}; it offers {', '.join(offered)}")
        for key in chosen
        if key not in offered
    ]
    resolved: dict[str, Any] = {}
    for key, option in offered.items():
        value = chosen.get(key, option.default)
        if value is None and key not in chosen:
            continue
        fault = _check(option, value)
        if fault:
            problems.append(Problem(f"{pointer}/{key}", fault))
        resolved[key] = value.lower() if key == "color" and isinstance(value, str) else value
    return resolved, problems


def _surcharge(option: Option, value: Any) -> int:
    if not option.price_modifier or value is None:
        return 0
    if option.type == "boolean":
        return option.price_modifier if value else 0
    if option.type == "number":
        return scale(option.price_modifier, Decimal(str(value)))
    return option.price_modifier if value != option.default else 0


def unit_price(sku: Sku, options: Mapping[str, Any], coin: int = 1) -> int:
    """Minor units for one piece with these resolved options, in whole coins: (price + surcharges) x the quality tier's factor."""
    offered = sku.all_options()
    price = sku.unit_price + sum(_surcharge(offered[key], value) for key, value in options.items())
    factor = sku.quality_tiers.get(str(options.get("quality")), Decimal(1))
    return scale(price, factor, coin=coin)


def check_options(options: Sequence[Option], pointer: str) -> list[Problem]:
    """Problems of an option table itself, when a SKU is written."""
    problems: list[Problem] = []
    seen: set[str] = set()
    for index, option in enumerate(options):
        where = f"{pointer}/{index}"
        if option.key in seen:
            problems.append(Problem(f"{where}/key", f"the option {option.key!r} stands twice"))
        seen.add(option.key)
        if option.type == "select" and not option.choices:
            problems.append(Problem(f"{where}/choices", "a select needs at least one choice"))
        if option.minimum is not None and option.maximum is not None and option.minimum > option.maximum:
            problems.append(Problem(f"{where}/min", "min is greater than max"))
        if option.default is not None and (fault := _check(option, option.default)):
            problems.append(Problem(f"{where}/default", fault))
    return problems
