"""Rare turns of a payment, each of which once lost money, time or the truth."""

from typing import Any

import pytest

from farmd.domain.till import IntentState
from farmd.orders.cancel import cancel
from farmd.payments.build import build_payments
from farmd.payments.expiry import expire_unpaid
from farmd.payments.stripe_shapes import sighting
from tests.farm import FarmWorld, farm_settings, open_farm
from tests.till_farm import TillFarm, play, till_farm

DAY = 86_400.0


async def paid(farm: TillFarm, quantity: int = 3) -> dict[str, Any]:
    return await farm.pay(await farm.place(quantity))


@play
async def test_an_order_whose_whole_refund_fails_days_later_goes_on_and_tells_nothing_twice(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.post(order, "refunds", {}, status=201)
        await farm.until(order, lambda view: view["status"] == "refunded")
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "failed")
        view = await farm.until(order, lambda view: view["status"] == "paid")
        assert (view["paymentStatus"], view["refunded"], farm.attention(view)) == ("refund_failed", 0.0, {"refund_failed"})
        await farm.post(order, "refunds", {}, status=201)
        view = await farm.until(order, lambda view: view["status"] == "refunded")
        assert view["attention"] == []
        events = (await farm.farm.operator.get(f"/api/orders/{order['id']}/events")).json()["data"]
        words = [event["type"] for event in events]
        assert words.count("order.paid") == words.count("order.refunded") == 1


@pytest.mark.parametrize(
    ("path", "capture"), [(r"/v1/payment_intents/.*/capture", True), (r"/v1/checkout/sessions/.*/expire", False)]
)
@play
async def test_what_stripe_keeps_refusing_is_asked_less_and_less_often_and_told(tmp_path, path, capture):
    options = {"capture": "when_sliced", "on_deadline": "capture"} if capture else {}
    async with till_farm(tmp_path, **options) as farm:
        order = await farm.place()
        if capture:
            order = await farm.pay(order)
        farm.stripe.fail_next("POST", path, kind="400", times=1000)
        if capture:
            await farm.forward(6.5 * DAY)
            await farm.sweep()
        else:
            await farm.post(order, "cancel")
            await farm.is_quiet()
        for _ in range(5):
            await farm.forward(30)
        asked = [call for call in farm.stripe.requests if call.method == "POST" and call.path.endswith(("capture", "expire"))]
        assert 3 <= len(asked) <= 6
        assert len({call.idempotency_key for call in asked}) == len(asked)
        assert "payment_stuck" in farm.attention(await farm.get(order))


@play
async def test_an_old_refund_that_failed_keeps_nothing_of_a_cancelled_order(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.post(order, "refunds", {"amount": 5}, status=201)
        await farm.is_quiet()
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "failed")
        await farm.until(order, lambda view: view["paymentStatus"] == "refund_failed")
        await farm.post(order, "refunds", {"amount": 5}, status=201)
        view = await farm.until(order, lambda view: view["refunded"] == 5)
        assert (view["paymentStatus"], view["attention"]) == ("partially_refunded", [])
        await farm.post(order, "cancel")
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["refunded"], view["attention"]) == (49.26, [])


@play
async def test_money_given_back_in_another_way_ends_a_failed_refund(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        await farm.post(order, "cancel")
        await farm.is_quiet()
        (refund,) = farm.stripe.refunds
        farm.stripe.settle_refund(refund, "failed")
        await farm.until(order, lambda view: view["cancellation"]["refund"] == "failed")
        refund = await farm.post(order, "refunds", {"byHand": True, "reason": "bank transfer"}, status=201)
        assert refund["status"] == "succeeded"
        view = await farm.get(order)
        assert (view["cancellation"]["refund"], view["paymentStatus"], view["attention"]) == ("succeeded", "refunded", [])
        await farm.is_quiet()
        assert len(farm.stripe.refunds) == 1


@play
async def test_what_was_paid_by_hand_before_stripe_came_is_given_back_by_hand(tmp_path):
    world = FarmWorld()
    async with open_farm(tmp_path, world=world) as farm:
        await farm.add_sku()
        by_hand, waiting = await farm.place_paid(), await farm.place()
        keys = farm.keys
    async with till_farm(tmp_path, settings={"keys": keys}, sku=False, world=world) as shop:
        assert await expire_unpaid(shop.farm.store, shop.farm.world, shop.farm.rooms.payments, 0.0) == 0
        await shop.sweep()
        view = await shop.get(by_hand)
        assert (view["paymentStatus"], view["captured"]) == ("paid", 49.26)
        view = await shop.post(by_hand, "cancel")
        assert (view["cancellation"]["refund"], shop.attention(view)) == ("pending", {"refund_due"})
        await shop.post(by_hand, "refunds", {}, status=201)
        assert (await shop.get(by_hand))["cancellation"]["refund"] == "succeeded"
        view = await shop.post(waiting, "checkout")
        assert view["checkoutUrl"]
        assert (await shop.pay(waiting))["status"] == "paid"


@play
async def test_what_was_paid_by_card_is_given_back_by_card_although_the_shop_takes_cash_again(tmp_path):
    async with till_farm(tmp_path) as shop:
        order = await paid(shop)
        settings = {"payment_provider": "manual", "stripe": shop.farm.rooms.settings.stripe}
        provider = build_payments(farm_settings(tmp_path, **settings), shop.farm.store, shop.farm.world).provider
        await shop.farm.store.write(lambda tx: _cancel(tx, order["id"], provider))
        view = await shop.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert view["refunded"] == 49.26


def _cancel(tx: Any, order_id: str, provider: Any) -> None:
    cancel(tx, order_id, "no", provider.take_back)


@play
async def test_messages_about_strangers_payments_hold_up_nobody(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        farm.stripe.fail_next("GET", r"/v1/payment_intents/pi_stranger.*", kind="500", times=10_000)
        for number in range(30):
            thing = {"id": f"pi_stranger{number}", "object": "payment_intent", "metadata": {}}
            farm.stripe.forge("payment_intent.succeeded", thing, secret=farm.stripe.secret)
        view = await farm.pay(order)
        assert view["status"] == "paid"


def test_a_voucher_that_is_still_to_be_paid_is_no_refusal():
    session = {"id": "cs_1", "status": "complete", "payment_status": "unpaid", "amount_total": 100, "currency": "usd"}
    seen = sighting(session, {"id": "pi_1", "status": "requires_action"}, (), ())
    assert (seen.intent, seen.state) == (IntentState.PROCESSING, "PROCESSING")
    assert sighting(session | {"status": "open"}, {"id": "pi_1", "status": "requires_action"}, (), ()).state == "OPEN"


@play
async def test_a_part_that_the_bank_took_back_ends_the_refund_of_the_rest_with_a_person(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await paid(farm)
        farm.stripe.dispute(farm.intent(order), 2000)
        await farm.until(order, lambda view: view["hold"] == "dispute")
        farm.stripe.close_dispute(farm.intent(order), won=False)
        await farm.until(order, lambda view: view["chargedBack"] == 20)
        await farm.post(order, "cancel")
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "failed")
        assert farm.attention(view) == {"charged_back", "refund_failed"}
        await farm.forward(DAY)
        assert len(farm.stripe.calls("POST", "/v1/refunds")) == 1


@play
async def test_a_promise_of_another_amount_is_never_collected(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced", on_deadline="capture") as farm:
        order = await farm.place()
        farm.stripe.pay(farm.session(order)["id"], amount=100_000)
        view = await farm.until(order, lambda view: view["paymentStatus"] == "review")
        assert (view["status"], view["jobs"]) == ("pending_payment", [])
        await farm.forward(6.5 * DAY)
        await farm.sweep()
        assert farm.stripe.captured(farm.intent(order)) == 0


@play
async def test_cancelling_before_the_promise_was_collected_charges_nobody(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.down()
        await farm.farm.make_ready(order)
        await farm.forward(1)
        await farm.post(order, "cancel")
        farm.stripe.up()
        await farm.forward(2000)
        intent = farm.stripe.intents[farm.intent(order)]
        assert (intent["status"], farm.stripe.captured(intent["id"])) in (("canceled", 0), ("succeeded", 4926))
        view = await farm.until(order, lambda view: view["authorized"] == 0 and view["captured"] == view["refunded"])
        assert view["status"] == "cancelled"


@play
async def test_a_mismatch_that_was_given_back_is_over_and_the_order_may_be_paid_anew(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        farm.stripe.pay(farm.session(order)["id"], amount=4925)
        await farm.until(order, lambda view: view["paymentStatus"] == "review")
        await farm.post(order, "refunds", {}, status=201)
        view = await farm.until(order, lambda view: view["refunded"] == 49.25)
        assert (view["paymentStatus"], view["attention"]) == ("refunded", [])
        await farm.post(order, "checkout")
        farm.stripe.pay(farm.session(order)["id"])
        view = await farm.until(order, lambda view: view["captured"] == 98.51)
        assert (view["status"], len(view["jobs"]), view["paymentStatus"]) == ("paid", 1, "partially_refunded")


@play
async def test_a_part_collected_in_the_dashboard_holds_the_order_until_somebody_looked(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dashboard_capture(farm.intent(order), 1000)
        view = await farm.until(order, lambda view: view["captured"] == 10)
        assert (view["paymentStatus"], view["hold"], farm.attention(view)) == ("review", "review", {"payment_mismatch"})
        assert (await farm.post(order, "release"))["hold"] is None


@play
async def test_a_checkout_is_new_in_the_moment_after_the_old_one_ended(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.webhooks.drop()
        order = await farm.place()
        farm.farm.world.forward(DAY)
        view = await farm.post(order, "checkout")
        assert view["checkoutUrl"] == farm.session(order)["url"] != order["checkoutUrl"]
        await farm.is_quiet()
        assert [each["status"] for each in farm.stripe.sessions.values()] == ["expired", "open"]


@play
async def test_a_clock_that_is_a_little_fast_still_opens_checkouts(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.forward(-200)
        assert (await farm.place())["checkoutUrl"]
