"""Options: what may be chosen, what it costs, and where each fault is."""

from decimal import Decimal
from typing import Any

import pytest

from farmd.domain.catalog import Option, Sku, check_options, resolve_options, unit_price

CUBE = Sku(
    "sku-cube",
    "Cube",
    1250,
    "PLA",
    "#1a1a1a",
    options=(
        Option("engraving", "boolean", price_modifier=200),
        Option("finish", "select", choices=("raw", "matt"), default="raw", price_modifier=150),
        Option("height", "number", minimum=Decimal(1), maximum=Decimal("2.5"), default=1, price_modifier=10),
    ),
)


@pytest.mark.parametrize(
    ("chosen", "price"),
    [
        ({}, 1260),  # one unit of height is the default
        ({"quality": "draft"}, 1008),
        ({"quality": "fine"}, 1764),
        ({"engraving": True}, 1460),
        ({"engraving": False}, 1260),
        ({"finish": "raw"}, 1260),
        ({"finish": "matt"}, 1410),
        ({"height": Decimal("2.5")}, 1275),
        ({"height": Decimal("2.5"), "engraving": True, "finish": "matt", "quality": "fine"}, 2275),
        ({"infill": 100, "color": "#FFFFFF"}, 1260),
    ],
)
def test_a_choice_has_its_price(chosen: dict[str, Any], price: int) -> None:
    options, problems = resolve_options(CUBE, chosen, "/options")
    assert problems == []
    assert unit_price(CUBE, options) == price


@pytest.mark.parametrize(
    ("chosen", "pointer"),
    [
        ({"wings": True}, "/o/wings"),
        ({"a/b": 1}, "/o/a~1b"),
        ({"engraving": 1}, "/o/engraving"),
        ({"finish": "gloss"}, "/o/finish"),
        ({"finish": True}, "/o/finish"),
        ({"height": "2"}, "/o/height"),
        ({"height": True}, "/o/height"),
        ({"height": Decimal("0.99")}, "/o/height"),
        ({"height": Decimal("NaN")}, "/o/height"),
        ({"color": "black"}, "/o/color"),
        ({"color": "#12345"}, "/o/color"),
        ({"color": 7}, "/o/color"),
        ({"infill": -1}, "/o/infill"),
        ({"quality": "best"}, "/o/quality"),
    ],
)
def test_a_fault_is_told_at_its_option(chosen: dict[str, Any], pointer: str) -> None:
    _, problems = resolve_options(CUBE, chosen, "/o")
    assert [problem.pointer for problem in problems] == [pointer]


def test_a_colour_is_one_colour_however_it_is_written() -> None:
    options, _ = resolve_options(CUBE, {"color": "#ABCDEF"}, "")
    assert options["color"] == "#abcdef"


def test_an_own_option_stands_before_the_farms() -> None:
    sku = Sku("s", "S", 100, "PLA", "#000000", options=(Option("infill", "number", maximum=Decimal(50), default=10),))
    assert resolve_options(sku, {}, "")[0]["infill"] == 10
    assert resolve_options(sku, {"infill": 60}, "/o")[1][0].pointer == "/o/infill"


def test_a_farm_without_the_standard_tier_starts_at_its_first() -> None:
    sku = Sku("s", "S", 100, "PLA", "#000000", quality_tiers={"rough": Decimal("0.5"), "good": Decimal(1)})
    options, _ = resolve_options(sku, {}, "")
    assert (options["quality"], unit_price(sku, options)) == ("rough", 50)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ([Option("a", "boolean"), Option("a", "boolean")], "/options/1/key"),
        ([Option("a", "select")], "/options/0/choices"),
        ([Option("a", "number", minimum=Decimal(2), maximum=Decimal(1))], "/options/0/min"),
        ([Option("a", "number", maximum=Decimal(1), default=2)], "/options/0/default"),
        ([Option("a", "select", choices=("x",), default="y")], "/options/0/default"),
    ],
)
def test_a_table_of_options_must_make_sense(options: list[Option], pointer: str) -> None:
    assert [problem.pointer for problem in check_options(options, "/options")] == [pointer]
