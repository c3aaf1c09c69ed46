"""Money given back: a unit with its share of the tax, never more than was paid, and what a cancellation owes first."""

import pytest

from tests.farm import CUBE, Farm, with_farm


async def refund(farm: Farm, order: dict, status: int = 201, **wish) -> dict:
    answer = await farm.operator.post(f"/api/orders/{order['id']}/refunds", json=wish)
    assert answer.status_code == status, answer.text
    return answer.json()


@with_farm()
async def test_three_cubes_come_back_one_by_one_to_the_cent(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    line = order["lineItems"][0]["id"]
    # 3.76 tax on 37.50 + 8.00: the lines bear 3.10, the shipping 0.66
    amounts = [(await refund(farm, order, lineItemId=line, quantity=1, reason="scratched"))["amount"] for _ in range(3)]
    assert amounts == [13.54, 13.53, 13.53]
    assert round(sum(amounts), 2) == 37.5 + 3.1
    refused = await refund(farm, order, 409, lineItemId=line, quantity=1)
    assert refused["code"] == "refund_exceeds_captured"
    rest = await refund(farm, order, reason="late")
    assert rest["amount"] == 8.66
    assert (rest["order"]["status"], rest["order"]["paymentStatus"], rest["order"]["refunded"]) == ("refunded", "refunded", 49.26)


@with_farm()
async def test_a_line_without_a_quantity_is_what_is_left_of_it(farm: Farm) -> None:
    await farm.add_sku()
    await farm.add_sku(id="sku-two", unitPrice=1)
    order = await farm.place_paid(lineItems=[{"skuId": CUBE["id"], "quantity": 3}, {"skuId": "sku-two", "quantity": 7}])
    first, second = (line["id"] for line in order["lineItems"])
    one = await refund(farm, order, lineItemId=first, quantity=1)
    two = await refund(farm, order, lineItemId=first)
    assert (one["quantity"], two["quantity"]) == (1, 2)
    other = await refund(farm, order, lineItemId=second)
    tax_on_shipping = await refund(farm, order)
    total = sum(round(each["amount"] * 100) for each in (one, two, other, tax_on_shipping))
    assert total == round(order["total"] * 100)


@with_farm()
async def test_the_share_of_the_tax_is_the_one_that_was_charged(farm: Farm) -> None:
    """The farm's tax rule may change between the order and its refund."""
    await farm.add_sku()
    order = await farm.place_paid()
    object.__setattr__(farm.rooms.settings, "tax", type(farm.rooms.settings.tax)(0, "items"))
    assert (await refund(farm, order, lineItemId=order["lineItems"][0]["id"], quantity=1))["amount"] == 13.54


@pytest.mark.parametrize(
    ("wish", "status", "pointer"),
    [
        ({"amount": 49.27}, 409, None),
        ({"amount": 0}, 422, "/amount"),
        ({"amount": -1}, 422, "/amount"),
        ({"amount": "10"}, 422, "/amount"),
        ({"amount": 0.001}, 422, "/amount"),
        ({"quantity": 1}, 422, "/lineItemId"),
        ({"lineItemId": "li-nothing"}, 422, "/lineItemId"),
        ({"lineItemId": "the line", "quantity": 4}, 409, None),
        ({"lineItemId": "the line", "quantity": 0}, 422, "/quantity"),
        ({"lineItemId": "the line", "quantity": 1, "amount": 1}, 422, "/quantity"),
        ({"iban": "x"}, 422, "/iban"),
    ],
)
@with_farm()
async def test_a_refund_that_makes_no_sense_moves_no_money(farm: Farm, wish: dict, status: int, pointer: str | None) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    if wish.get("lineItemId") == "the line":
        wish = wish | {"lineItemId": order["lineItems"][0]["id"]}
    problem = await refund(farm, order, status, **wish)
    if pointer:
        assert problem["errors"][0]["pointer"] == pointer
    else:
        assert problem["code"] == "refund_exceeds_captured"
    assert (await farm.operator.get(f"/api/orders/{order['id']}")).json()["refunded"] == 0


@with_farm()
async def test_what_was_not_paid_cannot_come_back(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    assert (await refund(farm, order, 409, reason="x"))["code"] == "nothing_to_refund"


@with_farm()
async def test_a_cancelled_order_owes_until_somebody_hands_the_money_back(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    cancelled = (await farm.customer.post(f"/api/orders/{order['id']}/cancel")).json()
    assert [entry["code"] for entry in cancelled["attention"]] == ["refund_due"]
    part = await refund(farm, order, amount=10, reason="first half")
    assert (part["order"]["refunded"], part["order"]["cancellation"]["refund"]) == (10, "pending")
    assert "39.26 USD" in part["order"]["attention"][0]["detail"]
    rest = await refund(farm, order, reason="second half")
    after = rest["order"]
    assert (after["status"], after["paymentStatus"], after["cancellation"]["refund"]) == ("cancelled", "refunded", "succeeded")
    assert (rest["amount"], after["refunded"], after["attention"]) == (39.26, 49.26, [])
    assert (await refund(farm, order, 409))["code"] == "nothing_to_refund"
    listed = (await farm.customer.get(f"/api/orders/{order['id']}/refunds")).json()["data"]
    assert sorted(each["amount"] for each in listed) == [10, 39.26]


@with_farm()
async def test_a_part_given_back_before_the_cancellation_is_not_owed_again(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    await refund(farm, order, amount=9.26)
    await farm.customer.post(f"/api/orders/{order['id']}/cancel")
    assert (await refund(farm, order, 409, amount=40.01))["code"] == "refund_exceeds_captured"
    assert (await refund(farm, order))["amount"] == 40


@with_farm()
async def test_a_refund_repeated_under_its_key_is_one_refund(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    key = {"Idempotency-Key": "refund-1"}
    for _ in range(2):
        answer = await farm.operator.post(f"/api/orders/{order['id']}/refunds", json={"amount": 5}, headers=key)
        assert answer.status_code == 201
    assert (await farm.operator.get(f"/api/orders/{order['id']}")).json()["refunded"] == 5


@with_farm()
async def test_a_shipped_order_can_be_refunded(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    await farm.make_ready(order)
    await farm.operator.post(f"/api/orders/{order['id']}/ship", json={"trackingNumber": "1Z"})
    assert (await refund(farm, order, amount=1))["order"]["status"] == "shipped"
    assert (await refund(farm, order))["order"]["status"] == "refunded"
