"""The tables of `[tax]` and `[shipping]` as they are written: what becomes of them, and what is said about a mistake."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from farmd.config_file import ConfigError, load_settings
from farmd.domain.pricing import TaxRule
from farmd.domain.tariffs import ShippingRule, TaxZone


def load(tmp_path, text, environ=None):
    (tmp_path / "farmd.toml").write_text(text)
    return load_settings(tmp_path / "farmd.toml", environ or {}, {})


def refusals(tmp_path, text, environ=None):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, environ)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


def test_without_rules_it_is_the_flat_price_and_the_one_rate(tmp_path):
    settings = load(tmp_path, "[tax]\nrate = '0.0826'\n[shipping]\nflat = '8.00'\n")
    assert settings.tax == TaxRule(Decimal("0.0826"), "items+shipping", "half_up", "order", included=False, name=None)
    assert (settings.tax_zones, settings.shipping_rules, settings.shipping_free_over) == ((), (), None)


def test_both_tables(tmp_path):
    text = """
[tax]
rate = "0.0826"
base = "items"
rounding = "half_even"
round_at = "line"
prices_include_tax = true
[[tax.rules]]
country = "us"
state = "OR"
zip_prefix = "972"
rate = "0"
[[tax.rules]]
country = "DE"
rate = "0.19"
base = "items+shipping"
name = "VAT"
[shipping]
flat = "8.00"
free_over = "50.00"
[[shipping.rules]]
countries = ["DE", "at"]
max_weight_g = 500
min_subtotal = "1"
max_subtotal = "49.99"
price = "3.90"
name = "letter"
[[shipping.rules]]
price = "20"
"""
    settings = load(tmp_path, text)
    general = TaxRule(Decimal("0.0826"), "items", "half_even", "line", included=True)
    assert settings.tax == general
    assert settings.tax_zones == (
        TaxZone("US", TaxRule(Decimal(0), "items", "half_even", "line", included=True, name="US OR 972"), "OR", "972"),
        TaxZone("DE", TaxRule(Decimal("0.19"), "items+shipping", "half_even", "line", included=True, name="VAT")),
    )
    assert settings.shipping_free_over == 5000
    assert settings.shipping_rules == (
        ShippingRule(390, frozenset({"DE", "AT"}), 500, 100, 4999, "letter"),
        ShippingRule(2000),
    )


def test_amounts_are_of_the_farms_currency(tmp_path):
    text = "[farm]\ncurrency = '{}'\n[[shipping.rules]]\nprice = '{}'\n"
    assert load(tmp_path, text.format("KWD", "1.250")).shipping_rules[0].price == 1250
    assert load(tmp_path, text.format("JPY", "800")).shipping_rules[0].price == 800
    (complaint,) = refusals(tmp_path, text.format("JPY", "800.5"))
    assert complaint.startswith("[[shipping.rules]] number 1: price: 800.5 has more than the 0 decimals of JPY")


def test_the_rules_of_the_example_hold_when_they_are_taken_in(tmp_path):
    text = (Path(__file__).parents[2] / "config" / "farmd.example.toml").read_text()
    rules = re.findall(r"^# \[\[(?:tax|shipping)\.rules\]\]\n(?:# .*\n)+", text, re.M)
    settings = load(tmp_path, text + "\n" + re.sub("^# ", "", "".join(rules), flags=re.M))
    assert [zone.tax.name for zone in settings.tax_zones] == ["Portland"]
    assert [rule.name for rule in settings.shipping_rules] == ["letter"]


TAX = "[tax]\nrate = '0.1'\n\n[[tax.rules]]\ncountry = 'US'\nrate = '0'\n"
SHIPPING = "[[shipping.rules]]\nprice = '1'\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (TAX + "stat = 'OR'", "[[tax.rules]] number 1: stat: did you mean state? farmd.toml:7"),
        (
            TAX + "rounding = 'up'",
            "[[tax.rules]] number 1: rounding: no such key; known are base, country, name, rate, state, zip_pre",
        ),
        (
            TAX + "zip_prefix = 97",
            "[[tax.rules]] number 1: zip_prefix: expected text in quotes, found a whole number. farmd.toml:7",
        ),
        (
            TAX + "zip_prefix = ' '",
            "[[tax.rules]] number 1: zip_prefix: write some text on one line, or leave the key out. farmd.toml:7",
        ),
        (TAX + "base = 'all'", "[[tax.rules]] number 1: base: expected 'items' or 'items+shipping'. farmd.toml:7"),
        (
            TAX + "[[tax.rules]]\ncountry = 'America'\nrate = '0'",
            "[[tax.rules]] number 2: country: use the two letters of ISO 3166-1, for example US. farmd.toml:8",
        ),
        (TAX + "[[tax.rules]]\n\ncountry = 'DE'", "[[tax.rules]] number 2: rate is missing. farmd.toml:7"),
        (
            TAX + "[[tax.rules]]\ncountry = 'DE'\nrate = 0.19",
            "[[tax.rules]] number 2: rate: expected text in quotes, found a number. farmd.toml:9",
        ),
        (
            TAX + "[[tax.rules]]\ncountry = 'DE'\nrate = '19'",
            '[[tax.rules]] number 2: rate: use a fraction in quotes: 8.26 % is "0.0826". farmd.toml:9',
        ),
        (
            TAX + "# again\n[[tax.rules]]\ncountry = 'us'\nrate = '0.2'",
            "[[tax.rules]] number 2: rule number 1 is for US already; keep one of the two. farmd.toml:8",
        ),
        (
            "[tax]\nrules = [\n {country='GB', zip_prefix='SW1 A', rate='0'},\n {country='GB', zip_prefix='sw1a', rate='0'}]",
            "[[tax.rules]] number 2: rule number 1 is for GB sw1a already; keep one of the two. farmd.toml:2",
        ),
        ("[tax]\nrules = 5", "[tax] rules: expected a list in [brackets], found a whole number. farmd.toml:2"),
        ("[tax]\nround_at = 'unit'", "[tax] round_at: expected 'order' or 'line'. farmd.toml:2"),
        ("[tax]\nprices_include_tax = 'yes'", "[tax] prices_include_tax: "),
        ("[shipping]\nfree_over = 50", "[shipping] free_over: expected text in quotes, found a whole number. farmd.toml:2"),
        ("[shipping]\nfree_over = '-1'", "[shipping] free_over: an amount cannot be negative. farmd.toml:2"),
        ("[[shipping.rules]]\nname = 'x'", "[[shipping.rules]] number 1: price is missing. farmd.toml:1"),
        (SHIPPING + "price_g = 1", "[[shipping.rules]] number 1: price_g: did you mean price? farmd.toml:3"),
        (SHIPPING + "max_weight_g = -1", "[[shipping.rules]] number 1: max_weight_g: input should be greater than or equal to 0"),
        (
            SHIPPING + "countries = []",
            "[[shipping.rules]] number 1: countries: name a country, or leave the key out for everywhere",
        ),
        (SHIPPING + "countries = ['DE', 'Austria']", "[[shipping.rules]] number 1: countries: use the two letters of ISO 3166-1"),
        (SHIPPING + "min_subtotal = '-5'", "[[shipping.rules]] number 1: min_subtotal: an amount cannot be negative. farmd.toml:3"),
        (
            SHIPPING + "max_subtotal = '5'\nmin_subtotal = '6'",
            "[[shipping.rules]] number 1: max_subtotal: is less than min_subtotal. farmd.toml:3",
        ),
        (
            SHIPPING + "countries = ['DE', 'AT']\n" + SHIPPING + "countries = ['AT', 'DE']",
            "[[shipping.rules]] number 2: rule number 1 is for the same case already; keep one of the two. farmd.toml:4",
        ),
    ],
)
def test_a_mistake_in_a_rule_is_named_with_its_number_line_and_cure(tmp_path, text, complaint):
    (told,) = refusals(tmp_path, text)
    assert told.startswith(complaint)


@pytest.mark.parametrize("name", ["FARMD__TAX__RULES", "FARMD__TAX__RULES__0__RATE", "FARMD__SHIPPING__RULES__1__PRICE"])
def test_a_variable_for_a_rule_is_refused_rather_than_lost(tmp_path, name):
    (told,) = refusals(tmp_path, TAX, {name: "0.5"})
    assert told == f"environment variable {name}: rules stand in the file alone; write them there"


def test_the_other_keys_may_come_from_the_environment(tmp_path):
    environ = {"FARMD__TAX__PRICES_INCLUDE_TAX": "true", "FARMD__SHIPPING__FREE_OVER": "50"}
    settings = load(tmp_path, TAX, environ)
    assert (settings.tax.included, settings.tax_zones[0].tax.included, settings.shipping_free_over) == (True, True, 5000)
