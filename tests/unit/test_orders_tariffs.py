"""Orders, quotes and refunds of a farm with tables of tax and shipping: what is charged, shown, kept and given back."""

from decimal import Decimal
from typing import Any

import pytest

from farmd.domain.pricing import TaxRule
from farmd.domain.tariffs import ShippingRule, TaxZone
from farmd.store import tables as t
from farmd.store.rows import get
from tests.farm import ADDRESS, CUBE, Farm, order_body, with_farm

GERMANY = ADDRESS | {"city": "Berlin", "state": None, "zip": "10115", "country": "DE"}
del GERMANY["state"]
SUMS = ("subtotal", "shipping", "tax", "total", "shippingTax")
RULES = ("taxRate", "taxRule", "taxIncluded", "shippingMethod")
TABLES: dict[str, Any] = {
    "tax_zones": (
        TaxZone("DE", TaxRule(Decimal("0.19"), "items", name="VAT")),
        TaxZone("US", TaxRule(Decimal(0), name="Oregon"), "OR"),
    ),
    "shipping_rules": (
        ShippingRule(650, frozenset({"DE"}), max_weight=1000, name="parcel"),
        ShippingRule(2000, name="world"),
    ),
    "shipping_free_over": 10_000,
}


async def refund(farm: Farm, order: dict[str, Any], **wish: Any) -> Any:
    answer = await farm.operator.post(f"/api/orders/{order['id']}/refunds", json=wish)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("address", "quantity", "sums", "rules"),
    [
        (GERMANY, 3, (37.5, 6.5, 7.13, 51.13, 0), (0.19, "VAT", False, "parcel")),
        (GERMANY, 6, (75, 20, 14.25, 109.25, 0), (0.19, "VAT", False, "world")),
        (GERMANY, 8, (100, 0, 19, 119, 0), (0.19, "VAT", False, "world")),
        (ADDRESS, 3, (37.5, 20, 0, 57.5, 0), (0, "Oregon", False, "world")),
        (ADDRESS | {"state": "WA"}, 3, (37.5, 20, 4.75, 62.25, 1.65), (0.0826, None, False, "world")),
        (None, 3, (37.5, 8, 3.76, 49.26, 0.66), (0.0826, None, False, None)),
    ],
)
@with_farm(**TABLES)
async def test_an_order_costs_what_its_quote_said(farm: Farm, address: Any, quantity: int, sums: tuple, rules: tuple) -> None:
    await farm.add_sku(weightGrams=200)
    body = order_body(quantity, **({"shippingAddress": address} if address else {}))
    if address is None:
        del body["shippingAddress"]
    quoted = (
        await farm.customer.post("/api/quotes", json={k: body[k] for k in body if k in ("lineItems", "shippingAddress")})
    ).json()
    placed = (await farm.customer.post("/api/orders", json=body)).json()
    for answer in (quoted, placed):
        assert tuple(answer[key] for key in SUMS) == sums
        assert tuple(answer[key] for key in RULES) == rules
    assert quoted["lineItems"][0]["tax"] == placed["lineItems"][0]["tax"] == round(sums[2] - sums[4], 2)
    (event,) = (await farm.operator.get("/api/events")).json()["data"]
    told = event["data"]["order"]
    assert [told[key] for key in SUMS] == [round(value * 100) for value in sums]
    assert tuple(told[key] for key in RULES) == rules


@with_farm(**TABLES)
async def test_a_quote_needs_no_more_of_the_address_than_the_country(farm: Farm) -> None:
    await farm.add_sku(weightGrams=200)
    lines = order_body()["lineItems"]
    quoted = await farm.customer.post("/api/quotes", json={"lineItems": lines, "shippingAddress": {"country": "DE"}})
    assert (quoted.json()["taxRule"], quoted.json()["shippingMethod"]) == ("VAT", "parcel")
    refused = await farm.customer.post("/api/quotes", json={"lineItems": lines, "shippingAddress": {"zip": "10115"}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/shippingAddress/country")


@with_farm(**TABLES)
async def test_what_nobody_weighed_goes_by_no_rule_for_light_parcels(farm: Farm) -> None:
    await farm.add_sku()
    assert (await farm.place(shippingAddress=GERMANY))["shippingMethod"] == "world"
    await farm.admin.patch(f"/api/skus/{CUBE['id']}", json={"weightGrams": 0})
    assert (await farm.place(shippingAddress=GERMANY))["shippingMethod"] == "parcel"


@with_farm(**TABLES)
async def test_an_order_keeps_the_rules_it_was_placed_under(farm: Farm) -> None:
    await farm.add_sku(weightGrams=200)
    order = await farm.place_paid(shippingAddress=GERMANY)
    row = await farm.store.read(lambda connection: get(connection, t.orders, order["id"]))
    assert {key: row[key] for key in row if key.startswith(("tax", "shipping"))} == {
        "tax": 713,
        "tax_rate": "0.19",
        "tax_base": "items",
        "tax_rounding": "half_up",
        "tax_round_at": "order",
        "tax_included": False,
        "tax_rule": "VAT",
        "shipping": 650,
        "shipping_tax": 0,
        "shipping_method": "parcel",
    }
    object.__setattr__(farm.rooms.settings, "tax_zones", ())
    line = order["lineItems"][0]["id"]
    amounts = [(await refund(farm, order, lineItemId=line, quantity=1))["amount"] for _ in range(3)]
    assert amounts == [14.88, 14.88, 14.87]  # 12.50 and 2.38, 2.38, 2.37 of 7.13
    assert (await refund(farm, order))["amount"] == 6.5


@with_farm(tax=TaxRule(Decimal("0.1"), round_at="line"), shipping_flat=5)
async def test_taxes_rounded_at_the_line_go_back_with_it(farm: Farm) -> None:
    await farm.add_sku(unitPrice=0.05)
    order = await farm.place_paid(lineItems=[{"skuId": CUBE["id"], "quantity": quantity} for quantity in (1, 3)])
    assert ([line["tax"] for line in order["lineItems"]], order["shippingTax"], order["tax"]) == ([0.01, 0.02], 0.01, 0.04)
    first, second = (line["id"] for line in order["lineItems"])
    assert (await refund(farm, order, lineItemId=first))["amount"] == 0.06
    assert [(await refund(farm, order, lineItemId=second, quantity=1))["amount"] for _ in range(3)] == [0.06, 0.06, 0.05]
    assert (await refund(farm, order))["amount"] == 0.06


@with_farm(tax=TaxRule(Decimal("0.19"), included=True))
async def test_a_tax_inside_the_prices_is_shown_and_not_added(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.operator.post("/api/orders", json=order_body())
    assert '"subtotal":37.50,"shipping":8.00,"tax":7.26,"total":45.50' in answer.text
    order = answer.json()
    assert (order["taxIncluded"], order["lineItems"][0]["tax"], order["shippingTax"]) == (True, 5.98, 1.28)  # of 7.26
    paid = (await farm.operator.post(f"/api/orders/{order['id']}/pay")).json()
    assert paid["captured"] == 45.5
    line = order["lineItems"][0]["id"]
    assert [(await refund(farm, order, lineItemId=line, quantity=1))["amount"] for _ in range(3)] == [12.5] * 3
    last = await refund(farm, order)
    assert (last["amount"], last["order"]["paymentStatus"]) == (8, "refunded")


@pytest.mark.parametrize(
    ("currency", "flat", "price", "text", "unit"),
    [
        ("JPY", 800, 1251, '"subtotal":3753,"shipping":800,"tax":376,"total":4929,"currency":"JPY"', [1355, 1354, 1354]),
        ("KWD", 8000, 12.505, '"subtotal":37.515,"shipping":8.000,"tax":3.760,"total":49.275,"currency":"KWD"', [13.538] * 3),
    ],
)
def test_shares_are_of_the_currencys_own_smallest_coin(
    tmp_path: Any, currency: str, flat: int, price: float, text: str, unit: list[float]
) -> None:
    @with_farm(currency=currency, shipping_flat=flat)
    async def story(farm: Farm) -> None:
        await farm.add_sku(unitPrice=price)
        answer = await farm.operator.post("/api/orders", json=order_body())
        assert text in answer.text
        order = answer.json()
        await farm.operator.post(f"/api/orders/{order['id']}/pay")
        line = order["lineItems"][0]["id"]
        amounts = [(await refund(farm, order, lineItemId=line, quantity=1))["amount"] for _ in range(3)]
        assert amounts == unit
        assert round(sum(amounts), 3) == round(order["subtotal"] + order["lineItems"][0]["tax"], 3)

    story(tmp_path)


@with_farm(shipping_rules=(ShippingRule(2_000_000_000),))
async def test_an_order_that_is_too_large_with_its_shipping_is_refused(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.operator.post("/api/orders", json=order_body())
    assert (answer.status_code, answer.json()["code"]) == (422, "order_too_large")
