"""A repeated POST: answered with the same bytes, done once, also when both arrive at the same moment."""

import asyncio

from tests.farm import Farm, open_farm, order_body, with_farm

KEY = {"Idempotency-Key": "order-17"}


@with_farm()
async def test_the_same_request_is_done_once_and_answered_twice(farm: Farm) -> None:
    await farm.add_sku()
    first = await farm.operator.post("/api/orders", json=order_body(), headers=KEY)
    second = await farm.operator.post("/api/orders", json=order_body(), headers=KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (await farm.operator.get("/api/orders")).json()["total"] == 1


@with_farm()
async def test_the_same_key_for_something_else_is_refused(farm: Farm) -> None:
    await farm.add_sku()
    order = (await farm.operator.post("/api/orders", json=order_body(), headers=KEY)).json()
    for path, body in (("/api/orders", order_body(4)), (f"/api/orders/{order['id']}/cancel", {"reason": "x"})):
        answer = await farm.operator.post(path, json=body, headers=KEY)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (await farm.operator.get("/api/orders")).json()["data"][0]["status"] == "pending_payment"


@with_farm()
async def test_ten_at_the_same_moment_make_one_order(farm: Farm) -> None:
    await farm.add_sku()
    answers = await asyncio.gather(*(farm.operator.post("/api/orders", json=order_body(), headers=KEY) for _ in range(10)))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert [answer.headers.get("idempotent-replayed") for answer in answers].count("true") == 9
    assert (await farm.operator.get("/api/orders")).json()["total"] == 1


@with_farm()
async def test_two_callers_may_use_the_same_key(farm: Farm) -> None:
    await farm.add_sku()
    mine = await farm.operator.post("/api/orders", json=order_body(), headers=KEY)
    theirs = await farm.customer.post("/api/orders", json=order_body(), headers=KEY)
    assert mine.json()["id"] != theirs.json()["id"]


@with_farm()
async def test_a_refused_request_may_be_mended_under_its_key(farm: Farm) -> None:
    await farm.add_sku()
    assert (await farm.operator.post("/api/orders", json=order_body(0), headers=KEY)).status_code == 422
    assert (await farm.operator.post("/api/orders", json=order_body(1), headers=KEY)).status_code == 201


@with_farm()
async def test_paying_again_under_the_same_key_is_no_conflict(farm: Farm) -> None:
    await farm.add_sku()
    order = await farm.place()
    answers = [await farm.operator.post(f"/api/orders/{order['id']}/pay", headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].headers["idempotent-replayed"] == "true"


@with_farm()
async def test_a_key_is_short_and_printable(farm: Farm) -> None:
    await farm.add_sku()
    for key in ("", "x" * 256, "a\tb"):
        answer = await farm.operator.post("/api/orders", json=order_body(), headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_idempotency_key"), key
    assert (await farm.operator.post("/api/orders", json=order_body(), headers={"Idempotency-Key": "x" * 255})).status_code == 201


def test_an_answer_is_remembered_over_a_restart(tmp_path) -> None:
    async def main() -> None:
        async with open_farm(tmp_path) as farm:
            await farm.add_sku()
            first = await farm.operator.post("/api/orders", json=order_body(), headers=KEY)
            keys, world = farm.keys, farm.world
        async with open_farm(tmp_path, world=world, keys=keys) as farm:
            second = await farm.operator.post("/api/orders", json=order_body(), headers=KEY)
            assert second.content == first.content
            assert second.headers["idempotent-replayed"] == "true"

    asyncio.run(main())
