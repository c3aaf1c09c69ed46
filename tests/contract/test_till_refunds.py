"""Money on its way back: asked for here, asked for in the dashboard, at the same moment, and when it fails."""

import asyncio
from typing import Any

import pytest

from tests.till_farm import TillFarm, play, till_farm


async def paid(farm: TillFarm, quantity: int = 3) -> dict[str, Any]:
    return await farm.pay(await farm.place(quantity))


def given_back(farm: TillFarm) -> list[int]:
    return sorted(each["amount"] for each in farm.stripe.refunds.values() if each["status"] not in ("failed", "canceled"))


@play
async def test_units_of_a_line_go_back_with_their_share_of_the_tax_to_the_last_cent(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        line = order["lineItems"][0]["id"]
        amounts = []
        for _ in range(3):
            refund = await farm.post(order, "refunds", {"lineItemId": line, "quantity": 1, "reason": "scratched"}, status=201)
            assert refund["status"] == "pending"
            amounts.append(refund["amount"])
            await farm.is_quiet()
        assert amounts == [13.54, 13.53, 13.53]
        answer = await farm.farm.operator.post(f"/api/orders/{order['id']}/refunds", json={"lineItemId": line, "quantity": 1})
        assert answer.status_code == 409
        view = await farm.get(order)
        assert (view["paymentStatus"], view["refunded"], view["status"] == "refunded") == ("partially_refunded", 40.6, False)
        await farm.post(order, "refunds", {}, status=201)
        view = await farm.until(order, lambda view: view["paymentStatus"] == "refunded")
        assert (view["status"], view["refunded"]) == ("refunded", 49.26)
        assert given_back(farm) == [866, 1353, 1353, 1354]


BAD = {
    "nothing": ({"amount": 0}, 422),
    "negative": ({"amount": -1}, 422),
    "more than paid": ({"amount": 49.27}, 409),
    "half a cent": ({"amount": 1.005}, 422),
    "a line of another order": ({"lineItemId": "li-other"}, 422),
    "a quantity of nothing": ({"quantity": 1}, 422),
    "both": ({"amount": 1, "quantity": 1, "lineItemId": "mine"}, 422),
    "too many units": ({"lineItemId": "mine", "quantity": 4}, 409),
    "unknown key": ({"sum": 1}, 422),
    "text": ({"amount": "1"}, 422),
}


@pytest.mark.parametrize("what", BAD)
@play
async def test_a_refund_that_cannot_be_changes_nothing(tmp_path, what):
    body, status = BAD[what]
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        if body.get("lineItemId") == "mine":
            body = body | {"lineItemId": order["lineItems"][0]["id"]}
        answer = await farm.farm.operator.post(f"/api/orders/{order['id']}/refunds", json=body)
        assert answer.status_code == status, answer.text
        await farm.is_quiet()
        assert farm.stripe.refunds == {}
        assert (await farm.get(order))["refunded"] == 0


@play
async def test_what_is_not_paid_cannot_be_given_back(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        await farm.post(order, "refunds", {"amount": 1}, status=409)


@play
async def test_many_refunds_at_one_moment_never_come_to_more_than_was_paid(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        asked = [farm.farm.operator.post(f"/api/orders/{order['id']}/refunds", json={"amount": 20}) for _ in range(6)]
        codes = sorted(answer.status_code for answer in await asyncio.gather(*asked))
        assert codes == [201, 201, 409, 409, 409, 409]
        await farm.post(order, "cancel")
        await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert given_back(farm) == [926, 2000, 2000]


@pytest.mark.parametrize("seen_by", ["webhook", "sweep"])
@play
async def test_a_refund_made_in_the_dashboard_is_seen_and_counted(tmp_path, seen_by):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        if seen_by == "sweep":
            farm.stripe.webhooks.drop()
        farm.stripe.dashboard_refund(farm.intent(order), 1000)
        await (farm.sweep() if seen_by == "sweep" else farm.is_quiet())
        view = await farm.until(order, lambda view: view["refunded"] == 10)
        assert view["paymentStatus"] == "partially_refunded"
        await farm.post(order, "refunds", {"amount": 39.27}, status=409)
        farm.stripe.dashboard_refund(farm.intent(order))
        await (farm.sweep() if seen_by == "sweep" else farm.is_quiet())
        view = await farm.until(order, lambda view: view["paymentStatus"] == "refunded")
        assert view["status"] == "refunded"
        listed = (await farm.farm.operator.get(f"/api/orders/{order['id']}/refunds")).json()["data"]
        assert [(each["cause"], each["amount"], each["status"]) for each in listed] == [
            ("provider", 10.0, "succeeded"),
            ("provider", 39.26, "succeeded"),
        ]


@pytest.mark.parametrize("elsewhere", [1000, 4926], ids=["a part", "all of it"])
@play
async def test_a_cancel_after_a_refund_in_the_dashboard_that_nobody_told_gives_back_the_rest_alone(tmp_path, elsewhere):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.is_quiet()  # nothing is looked at any more that would find it by chance
        farm.stripe.webhooks.drop()
        farm.stripe.dashboard_refund(farm.intent(order), elsewhere)
        await farm.post(order, "cancel")
        await farm.is_quiet()
        await farm.forward(5)  # what was refused is asked for again a little later
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["paymentStatus"], view["refunded"], view["attention"]) == ("refunded", 49.26, [])
        assert farm.stripe.refunded(farm.intent(order)) == 4926


@play
async def test_a_refund_that_takes_its_time_is_pending_until_it_is_done(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.refunds_start_as("pending")
        order = await paid(farm)
        await farm.post(order, "cancel")
        await farm.is_quiet()
        assert (await farm.get(order))["cancellation"]["refund"] == "pending"
        farm.stripe.webhooks.drop()
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "succeeded")
        await farm.forward(301)
        assert (await farm.get(order))["cancellation"]["refund"] == "succeeded"


@play
async def test_a_refund_that_fails_days_later_calls_for_a_person_who_may_ask_again(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.post(order, "cancel")
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "failed")
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "failed")
        assert (view["status"], view["paymentStatus"], farm.attention(view)) == ("cancelled", "refund_failed", {"refund_failed"})
        await farm.forward(86_400)
        await farm.sweep()
        assert len(farm.stripe.refunds) == 1, "it is not asked again by itself"
        await farm.post(order, "refunds", {"reason": "once more"}, status=201)
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["paymentStatus"], view["attention"]) == ("refunded", [])


@play
async def test_a_part_given_back_after_a_refund_that_failed_leaves_the_rest_of_a_cancelled_order_to_a_person(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.post(order, "cancel")
        await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "failed")
        await farm.until(order, lambda view: view["paymentStatus"] == "refund_failed")
        for part, so_far in ((2000, 20.0), (2925, 49.25)):
            farm.stripe.dashboard_refund(farm.intent(order), part)
            view = await farm.until(order, lambda view, so_far=so_far: view["refunded"] == so_far)
            assert (view["paymentStatus"], view["cancellation"]["refund"]) == ("refund_failed", "failed")
            assert farm.attention(view) == {"refund_failed"}
        farm.stripe.dashboard_refund(farm.intent(order))
        view = await farm.until(order, lambda view: view["refunded"] == 49.26)
        assert (view["paymentStatus"], view["cancellation"]["refund"], view["attention"]) == ("refunded", "succeeded", [])
        assert len(farm.stripe.calls("POST", "/v1/refunds")) == 1, "what failed is not asked again by itself"


@pytest.mark.parametrize("busy", [0, 4], ids=["repeated", "looked for before it is repeated"])
@pytest.mark.parametrize("verb", ["refunds", "cancel"])
@play
async def test_a_refund_that_was_on_its_way_when_somebody_else_gave_a_part_back_gives_back_the_rest(tmp_path, verb, busy):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        farm.stripe.webhooks.drop()
        farm.stripe.fail_next("POST", "/v1/refunds", kind="drop_before", times=3)
        if busy:
            farm.stripe.fail_next("POST", "/v1/refunds", kind="429", times=busy)
        await farm.post(order, verb, {}, status=201 if verb == "refunds" else 200)
        await farm.until(order, lambda _view: len(farm.stripe.calls("POST", "/v1/refunds")) == 3)
        await farm.is_quiet()
        farm.stripe.dashboard_refund(farm.intent(order), 1000)
        for _ in range(8):
            await farm.forward(60)
        view = await farm.until(order, lambda view: view["refunded"] == 49.26)
        assert (view["paymentStatus"], view["attention"]) == ("refunded", [])
        assert given_back(farm) == [1000, 3926]
        asked = {call.idempotency_key: int(call.params["amount"]) for call in farm.stripe.calls("POST", "/v1/refunds")}
        assert sorted(asked.values()) == [3926, 4926], "each amount has a key of its own"


@play
async def test_a_refund_whose_answer_was_lost_for_longer_than_its_key_lives_is_looked_for_and_not_repeated(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        farm.stripe.webhooks.drop()
        farm.stripe.fail_next("POST", "/v1/refunds", kind="drop_after", times=3)
        await farm.post(order, "refunds", {"amount": 5}, status=201)
        await farm.until(order, lambda _view: len(farm.stripe.calls("POST", "/v1/refunds")) == 3)
        await farm.is_quiet()
        farm.stripe.down()
        await farm.forward(2 * 86_400)
        farm.stripe.up()
        await farm.forward(1000)
        view = await farm.until(order, lambda view: view["refunded"] == 5)
        assert view["paymentStatus"] == "partially_refunded"
        assert given_back(farm) == [500]
        assert len(farm.stripe.calls("POST", "/v1/refunds")) == 3


@play
async def test_a_second_cancel_and_a_refund_after_it_change_nothing(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        first = await farm.post(order, "cancel", {"reason": "a"})
        second = await farm.post(order, "cancel", {"reason": "b"})
        assert first["cancellation"]["reason"] == second["cancellation"]["reason"] == "a"
        await farm.post(order, "refunds", {"amount": 1}, status=409)
        await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        await farm.post(order, "refunds", {"amount": 1}, status=409)
        assert given_back(farm) == [4926]
