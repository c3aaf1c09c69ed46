"""The order API to the letter, and what somebody who sends nonsense gets to see."""

import json

import pytest

from tests.farm import ADDRESS, CUBE, Farm, order_body, with_farm

SEED_KEYS = ("id", "status", "customerId", "lineItems", "subtotal", "shipping", "tax", "total", "createdAt")


@with_farm()
async def test_the_documented_order_costs_what_the_document_says(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.customer.post("/api/orders", json=order_body())
    assert answer.status_code == 201
    assert '"unitPrice":12.50,"total":37.50' in answer.text
    assert '"subtotal":37.50,"shipping":8.00,"tax":3.76,"total":49.26,"currency":"USD"' in answer.text
    order = answer.json()
    assert [key for key in order if key in SEED_KEYS] == list(SEED_KEYS)
    assert order["status"] == "pending_payment"
    assert order["customerId"] == "cust-uuid"
    assert order["createdAt"].startswith("2024-01-15T10:00:00")
    assert order["createdAt"].endswith("Z")
    assert {**order["lineItems"][0], "id": "li"} == {
        "id": "li",
        "skuId": CUBE["id"],
        "quantity": 3,
        "unitPrice": 12.5,
        "total": 37.5,
        "tax": 3.1,
        "options": {"color": "#1a1a1a", "quality": "standard", "infill": 20},
        "jobId": None,
    }
    assert (order["paymentStatus"], order["fulfillmentStatus"]) == ("unpaid", "unfulfilled")
    assert (order["checkoutUrl"], order["jobs"], order["attention"]) == (None, [], [])
    assert order["shippingAddress"] == ADDRESS
    assert (await farm.customer.get(f"/api/orders/{order['id']}")).text == answer.text


@with_farm()
async def test_a_quote_costs_the_same_and_keeps_nothing(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.customer.post("/api/quotes", json={"lineItems": order_body()["lineItems"]})
    assert answer.status_code == 200
    assert '"subtotal":37.50,"shipping":8.00,"tax":3.76,"total":49.26,"currency":"USD"' in answer.text
    assert (await farm.operator.get("/api/orders")).json()["total"] == 0


@with_farm(currency="JPY", shipping_flat=800)
async def test_a_currency_without_cents_has_none(farm: Farm) -> None:
    await farm.add_sku(unitPrice=1250)
    assert '"unitPrice":1250,"total":3750' in (await farm.operator.post("/api/orders", json=order_body())).text


@with_farm()
async def test_options_left_out_are_the_farms_defaults(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place(lineItems=[{"skuId": CUBE["id"], "quantity": 1}])
    assert order["lineItems"][0]["options"] == {"color": "#1a1a1a", "quality": "standard", "infill": 20}


@with_farm()
async def test_quality_and_options_make_the_price(farm: Farm) -> None:
    engraving = {"key": "engraving", "label": "Engraving", "type": "boolean", "priceModifier": 2}
    await farm.add_sku(options=[engraving])
    line = {"skuId": CUBE["id"], "quantity": 2, "options": {"quality": "fine", "engraving": True}}
    order = await farm.place(lineItems=[line])
    assert order["lineItems"][0]["unitPrice"] == 20.3  # (12.50 + 2.00) x 1.4
    assert order["subtotal"] == 40.6


def line(**changes: object) -> dict[str, object]:
    return order_body(lineItems=[{"skuId": CUBE["id"], "quantity": 1} | changes])


BAD_ORDERS = {
    "unknown SKU": (line(skuId="sku-nothing"), "/lineItems/0/skuId", "unknown_sku"),
    "unknown option": (line(options={"flavour": "mint"}), "/lineItems/0/options/flavour", "bad_option"),
    "no colour": (line(options={"color": "reddish"}), "/lineItems/0/options/color", "bad_option"),
    "unknown quality": (line(options={"quality": "best"}), "/lineItems/0/options/quality", "bad_option"),
    "infill over 100": (line(options={"infill": 101}), "/lineItems/0/options/infill", "bad_option"),
    "infill as text": (line(options={"infill": "20"}), "/lineItems/0/options/infill", "bad_option"),
    "option is an object": (line(options={"infill": {"a": 1}}), "/lineItems/0/options/infill", "invalid"),
    "option is null": (line(options={"color": None}), "/lineItems/0/options/color", "invalid"),
    "quantity 0": (line(quantity=0), "/lineItems/0/quantity", "invalid"),
    "quantity -1": (line(quantity=-1), "/lineItems/0/quantity", "invalid"),
    "quantity 1.5": (line(quantity=1.5), "/lineItems/0/quantity", "invalid"),
    "quantity 1e9": (line(quantity=10**9), "/lineItems/0/quantity", "invalid"),
    "quantity beyond 64 bits": (line(quantity=10**30), "/lineItems/0/quantity", "invalid"),
    "quantity as text": (line(quantity="3"), "/lineItems/0/quantity", "invalid"),
    "quantity true": (line(quantity=True), "/lineItems/0/quantity", "invalid"),
    "quantity null": (line(quantity=None), "/lineItems/0/quantity", "invalid"),
    "a price of one's own": (line(unitPrice=0.01), "/lineItems/0/unitPrice", "invalid"),
    "a status of one's own": (order_body(status="paid"), "/status", "invalid"),
    "no lines": (order_body(lineItems=[]), "/lineItems", "invalid"),
    "101 lines": (order_body(lineItems=[line()["lineItems"][0]] * 101), "/lineItems", "invalid"),
    "lines are an object": (order_body(lineItems={}), "/lineItems", "invalid"),
    "no customer": ({"lineItems": order_body()["lineItems"]}, "/customerId", "invalid"),
    "customer is a number": (order_body(customerId=7), "/customerId", "invalid"),
    "customer with a line break": (order_body(customerId="a\nb"), "/customerId", "invalid"),
    "address without a city": (order_body(shippingAddress=ADDRESS | {"city": None}), "/shippingAddress/city", "invalid"),
    "address with an unknown key": (order_body(shippingAddress=ADDRESS | {"planet": "Mars"}), "/shippingAddress/planet", "invalid"),
    "country in words": (order_body(shippingAddress=ADDRESS | {"country": "America"}), "/shippingAddress/country", "invalid"),
    "notes with a NUL": (order_body(notes="a\0b"), "/notes", "invalid"),
    "notes too long": (order_body(notes="x" * 5001), "/notes", "invalid"),
    "a list": ([], "", "invalid"),
    "null": (None, "", "invalid"),
}


@pytest.mark.parametrize("name", BAD_ORDERS)
@with_farm()
async def test_a_bad_order_is_refused_at_its_field(farm: Farm, name: str) -> None:
    body, pointer, code = BAD_ORDERS[name]
    await farm.add_sku()
    answer = await farm.operator.post("/api/orders", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert (await farm.operator.get("/api/orders")).json()["total"] == 0
    assert (await farm.operator.get("/api/events")).json()["data"] == []


@with_farm()
async def test_every_fault_of_an_order_is_told_at_once(farm: Farm) -> None:
    await farm.add_sku()
    lines = [
        {"skuId": "nothing", "quantity": 1},
        {"skuId": CUBE["id"], "quantity": 1, "options": {"infill": 200, "a/b~c": 1}},
    ]
    problem = (await farm.operator.post("/api/orders", json=order_body(lineItems=lines))).json()
    assert [error["pointer"] for error in problem["errors"]] == [
        "/lineItems/0/skuId",
        "/lineItems/1/options/a~1b~0c",
        "/lineItems/1/options/infill",
    ]


@with_farm()
async def test_what_is_not_for_sale_cannot_be_ordered(farm: Farm) -> None:
    await farm.add_sku(active=False)
    answer = await farm.operator.post("/api/orders", json=order_body())
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_sku")


@with_farm()
async def test_an_order_of_millions_is_refused_whole(farm: Farm) -> None:
    await farm.add_sku(unitPrice=900_000)
    answer = await farm.operator.post("/api/orders", json=order_body(10_000))
    assert (answer.status_code, answer.json()["code"]) == (422, "order_too_large")


@with_farm()
async def test_a_customer_orders_for_itself_alone(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.stranger.post("/api/orders", json=order_body())
    assert (answer.status_code, answer.json()["code"]) == (403, "not_your_customer")
    assert (await farm.operator.get("/api/orders")).json()["total"] == 0


@with_farm()
async def test_another_customers_order_does_not_exist(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    for path in ("", "/events", "/refunds"):
        answer = await farm.stranger.get(f"/api/orders/{order['id']}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await farm.stranger.post(f"/api/orders/{order['id']}/cancel", json={"reason": "spite"})
    assert answer.status_code == 404
    unknown = await farm.stranger.get("/api/orders/ord-nothing")
    assert unknown.json()["detail"].replace("ord-nothing", order["id"]) == answer.json()["detail"]
    assert (await farm.customer.get(f"/api/orders/{order['id']}")).json()["status"] == "pending_payment"


@pytest.mark.parametrize("action", ["pay", "ship", "refunds"])
@with_farm()
async def test_a_customer_may_not_act_for_the_shop(farm: Farm, action: str) -> None:
    await farm.add_sku()
    order = await farm.place()
    answer = await farm.customer.post(f"/api/orders/{order['id']}/{action}", json={"trackingNumber": "1Z"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@with_farm()
async def test_a_paid_order_has_one_job_for_each_line(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place(lineItems=[{"skuId": CUBE["id"], "quantity": 2}, {"skuId": CUBE["id"], "quantity": 1}])
    answer = await farm.operator.post(f"/api/orders/{order['id']}/pay", json={"reference": "receipt 7"})
    assert answer.status_code == 200
    paid = answer.json()
    assert (paid["status"], paid["paymentStatus"], paid["captured"]) == ("paid", "paid", paid["total"])
    assert [job["quantity"] for job in paid["jobs"]] == [2, 1]
    assert [job["lineItemId"] for job in paid["jobs"]] == [line["id"] for line in paid["lineItems"]]
    again = await farm.operator.post(f"/api/orders/{order['id']}/pay", json={"reference": "receipt 7"})
    assert (again.status_code, again.json()["code"]) == (409, "already_paid")
    assert len((await farm.operator.get(f"/api/orders/{order['id']}")).json()["jobs"]) == 2


@with_farm()
async def test_a_cancelled_order_cannot_be_paid(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    await farm.customer.post(f"/api/orders/{order['id']}/cancel")
    answer = await farm.operator.post(f"/api/orders/{order['id']}/pay")
    assert (answer.status_code, answer.json()["code"]) == (409, "order_cancelled")


@with_farm()
async def test_by_hand_there_is_no_checkout_and_the_answer_says_what_to_do(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    answer = await farm.customer.post(f"/api/orders/{order['id']}/checkout")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_checkout")
    assert f"/api/orders/{order['id']}/pay" in answer.json()["detail"]


@with_farm()
async def test_cancelling_twice_is_cancelling_once(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    first = await farm.customer.post(f"/api/orders/{order['id']}/cancel", json={"reason": "changed my mind"})
    farm.world.forward(60)
    second = await farm.customer.post(f"/api/orders/{order['id']}/cancel", json={"reason": "another reason"})
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.text == second.text
    cancelled = first.json()
    assert cancelled["status"] == "cancelled"
    assert cancelled["cancellation"] == {
        "reason": "changed my mind",
        "at": cancelled["cancellation"]["at"],
        "printers": "none",
        "refund": "pending",
    }
    assert [job["state"] for job in cancelled["jobs"]] == ["CANCELLED"]
    events = (await farm.operator.get(f"/api/orders/{order['id']}/events")).json()["data"]
    assert [event["type"] for event in events].count("order.cancelled") == 1


@with_farm()
async def test_a_cancel_needs_no_body(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    answer = await farm.customer.post(f"/api/orders/{order['id']}/cancel")
    assert answer.status_code == 200
    assert answer.json()["cancellation"]["refund"] == "none"


@with_farm()
async def test_an_order_ships_once_and_only_when_it_is_ready(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    parcel = {"carrier": "UPS", "trackingNumber": "1Z999"}
    early = await farm.operator.post(f"/api/orders/{order['id']}/ship", json=parcel)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    await farm.make_ready(order)
    nameless = await farm.operator.post(f"/api/orders/{order['id']}/ship", json={"carrier": "UPS"})
    assert (nameless.status_code, nameless.json()["errors"][0]["pointer"]) == (422, "/trackingNumber")
    shipped = await farm.operator.post(f"/api/orders/{order['id']}/ship", json=parcel)
    assert shipped.status_code == 200
    assert (shipped.json()["status"], shipped.json()["shipment"]["trackingNumber"]) == ("shipped", "1Z999")
    again = await farm.operator.post(f"/api/orders/{order['id']}/ship", json=parcel)
    assert (again.status_code, again.json()["code"]) == (409, "already_shipped")
    late = await farm.customer.post(f"/api/orders/{order['id']}/cancel", json={"reason": "too late"})
    assert (late.status_code, late.json()["code"]) == (409, "already_shipped")


@with_farm()
async def test_the_timeline_tells_each_status_once_and_in_order(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    await farm.make_ready(order)
    await farm.operator.post(f"/api/orders/{order['id']}/ship", json={"trackingNumber": "1Z"})
    events = (await farm.customer.get(f"/api/orders/{order['id']}/events")).json()["data"]
    assert [event["type"] for event in events if event["type"].startswith("order.")] == [
        "order.created",
        "order.paid",
        "order.processing",
        "order.printing",
        "order.post_processing",
        "order.ready",
        "order.shipped",
    ]
    sequences = [event["data"]["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    assert events[0]["data"]["order"]["total"] == 4926  # minor units in events
    rest = await farm.customer.get(f"/api/orders/{order['id']}/events?after={sequences[3]}&limit=2")
    assert [event["data"]["sequence"] for event in rest.json()["data"]] == sequences[4:6]
