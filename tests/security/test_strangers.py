"""Keys that may not, at every operation there is: another customer's, a customer's at what is the shop's, an operator's at what is
the owner's. The operations are read from the API's own description, so that a new one is tried without being named here.
"""

import pytest

from tests.farm import Farm, with_farm
from tests.unit.test_api_door import problem_of

ENDLESS = "/api/events/stream"
FOR_CUSTOMERS = {  # whatever is not here is refused to a customer's key before anything is looked up
    "get /api/orders",
    "post /api/orders",
    "post /api/quotes",
    "get /api/orders/{order_id}",
    "post /api/orders/{order_id}/cancel",
    "post /api/orders/{order_id}/checkout",
    "get /api/orders/{order_id}/events",
    "get /api/orders/{order_id}/refunds",
    "get /api/jobs",
    "get /api/jobs/{job_id}",
    "get /api/skus",
    "get /api/skus/{sku_id}",
    "get /api/events",
    f"get {ENDLESS}",
}
FOR_ADMINS = {
    "post /api/skus",
    "patch /api/skus/{sku_id}",
    "put /api/skus/{sku_id}/model",
    "post /api/webhooks",
    "patch /api/webhooks/{webhook_id}",
    "delete /api/webhooks/{webhook_id}",
    "post /api/webhooks/{webhook_id}/test",
    "post /api/webhooks/{webhook_id}/deliveries/{number}/retry",
    "post /api/webhooks/{webhook_id}/replay",
}
BODIES = {
    "post /api/skus": {"id": "x", "name": "x", "unitPrice": 1, "material": "PLA", "color": "#000000"},
    "post /api/orders/{order_id}/ship": {"trackingNumber": "1"},
    "post /api/jobs/{job_id}/post-process": {"step": 0, "good": 1},
    "post /api/attempts/{attempt_id}/resolve": {"outcome": "failed"},
    "post /api/webhooks": {"url": "http://127.0.0.1:9/", "events": ["order.paid"]},
    "post /api/webhooks/{webhook_id}/replay": {"after": 0},
}


def operations(farm: Farm) -> list[str]:
    """`verb path` of everything that needs a key."""
    paths = farm.app.openapi()["paths"]
    return [f"{verb} {path}" for path, verbs in paths.items() for verb in verbs if path.startswith("/api/")]


async def ask(caller, operation, **ids):
    verb, path = operation.split(" ")
    filled = "/".join(str(ids.get(part[1:-1], "1")) if part.startswith("{") else part for part in path.split("/"))
    body = BODIES.get(operation, {} if verb in ("post", "patch") else None)
    return await caller.request(verb, filled, **({} if body is None else {"json": body}))


@with_farm()
async def test_another_customers_key_finds_nothing_of_an_order(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place_paid()
    job = (await farm.operator.get(f"/api/orders/{order['id']}")).json()["jobs"][0]["id"]
    before = (await farm.operator.get(f"/api/orders/{order['id']}")).json()
    tried = [each for each in operations(farm) if "{order_id}" in each or "{job_id}" in each]
    assert len(tried) >= 10
    for operation in tried:
        answer = await ask(farm.stranger, operation, order_id=order["id"], job_id=job)
        if operation in FOR_CUSTOMERS:
            problem_of(answer, 404, "not_found")
        else:
            problem_of(answer, 403, "forbidden")
    for path in (
        "/api/orders",
        f"/api/orders?customerId={order['customerId']}",
        "/api/jobs",
        f"/api/jobs?orderId={order['id']}",
        "/api/events",
    ):
        answer = await farm.stranger.get(path)
        assert answer.status_code == 200
        assert answer.json()["data"] == [], path
    assert (await farm.operator.get(f"/api/orders/{order['id']}")).json() == before


@with_farm()
async def test_a_customers_key_is_refused_all_that_is_the_shops(farm: Farm) -> None:
    kept = [each for each in operations(farm) if each not in FOR_CUSTOMERS]
    assert len(kept) >= 30
    assert set(operations(farm)) >= FOR_CUSTOMERS
    for operation in kept:
        problem_of(await ask(farm.customer, operation), 403, "forbidden")


@with_farm()
async def test_an_operators_key_is_refused_all_that_is_the_owners(farm: Farm) -> None:
    assert set(operations(farm)) >= FOR_ADMINS
    for operation in FOR_ADMINS:
        problem_of(await ask(farm.operator, operation), 403, "forbidden")
    for operation in set(operations(farm)) - FOR_ADMINS - {f"get {ENDLESS}"}:
        answer = await ask(farm.operator, operation)
        assert answer.status_code not in (401, 403), operation


@pytest.mark.parametrize("role", [None, "wrong"])
@with_farm()
async def test_without_a_key_not_one_operation_answers(farm: Farm, role: str | None) -> None:
    for operation in operations(farm):
        farm.admin.headers["X-API-Key"] = "" if role is None else "fk_nobody_nothing"
        problem_of(await ask(farm.admin, operation), 401, "unauthenticated")


@pytest.mark.parametrize("field", ["status", "total", "unitPrice", "paymentStatus", "id", "captured", "customer_id"])
@with_farm()
async def test_nobody_sets_what_only_farmd_may_say(farm: Farm, field: str) -> None:
    await farm.add_sku()
    order = await farm.place()
    body = {"customerId": order["customerId"], "lineItems": [{"skuId": order["lineItems"][0]["skuId"], "quantity": 1}]}
    for spoilt in (body | {field: 0}, body | {"lineItems": [body["lineItems"][0] | {field: 0}]}):
        problem_of(await farm.customer.post("/api/orders", json=spoilt), 422, "invalid")
    assert (await farm.operator.get("/api/orders")).json()["total"] == 1
