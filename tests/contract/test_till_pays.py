"""From an order to its payment, in every weather between farmd and Stripe. The judge is Stripe's own record and the farm's rows."""

import asyncio
from typing import Any

import pytest

from tests.till_farm import TillFarm, play, till_farm

DAY = 86_400.0
CREATE = r"/v1/checkout/sessions"


async def told(farm: TillFarm, order: dict[str, Any]) -> list[str]:
    answer = await farm.farm.operator.get(f"/api/orders/{order['id']}/events")
    return [event["type"] for event in answer.json()["data"] if event["type"].startswith("order.")]


async def by_webhook(farm: TillFarm) -> None:
    await farm.is_quiet()


async def by_sweep(farm: TillFarm) -> None:
    await farm.sweep()


async def three_days_later(farm: TillFarm) -> None:
    await farm.forward(3 * DAY + 1)


async def held_and_reversed(farm: TillFarm) -> None:
    farm.stripe.webhooks.release("reverse")
    await farm.is_quiet()


WEATHERS = {
    "direct": (lambda webhooks: None, by_webhook),
    "dropped": (lambda webhooks: webhooks.drop(), by_sweep),
    "three of each": (lambda webhooks: webhooks.duplicate(3), by_webhook),
    "reversed": (lambda webhooks: webhooks.hold(), held_and_reversed),
    "three days late": (lambda webhooks: webhooks.delay(3 * DAY), three_days_later),
}


@pytest.mark.parametrize("weather", WEATHERS)
@play
async def test_an_order_is_paid_and_given_back_once_whatever_becomes_of_the_messages(tmp_path, weather):
    spoil, arrive = WEATHERS[weather]
    async with till_farm(tmp_path) as farm:
        spoil(farm.stripe.webhooks)
        order = await farm.place()
        assert order["checkoutUrl"] == farm.session(order)["url"]
        farm.stripe.pay(farm.session(order)["id"])
        await arrive(farm)
        paid = await farm.get(order)
        assert (paid["paymentStatus"], paid["captured"], paid["checkoutUrl"]) == ("paid", 49.26, None)
        assert len(paid["jobs"]) == 1
        cancelled = await farm.post(order, "cancel", {"reason": "changed their mind"})
        assert cancelled["cancellation"]["refund"] == "pending"
        spoil(farm.stripe.webhooks)
        await arrive(farm)
        back = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (back["status"], back["paymentStatus"], back["refunded"]) == ("cancelled", "refunded", 49.26)
        assert len(farm.stripe.sessions) == len(farm.stripe.intents) == len(farm.stripe.refunds) == 1
        assert farm.stripe.captured(farm.intent(order)) == farm.stripe.refunded(farm.intent(order)) == 4926
        words = await told(farm, order)
        assert [words.count(word) for word in ("order.created", "order.paid", "order.cancelled")] == [1, 1, 1]


@pytest.mark.parametrize("mode", ["poll", "both"])
@play
async def test_a_farm_that_no_webhook_reaches_is_paid_by_asking(tmp_path, mode):
    async with till_farm(tmp_path, webhooks=False, mode=mode) as farm:
        orders = [await farm.place(number) for number in (1, 2)]
        await farm.sweep()
        assert {view["status"] for view in [await farm.get(order) for order in orders]} == {"pending_payment"}
        farm.stripe.pay(farm.session(orders[0])["id"])
        await farm.sweep()
        assert [(await farm.get(order))["status"] for order in orders] == ["paid", "pending_payment"]


LOST = ["500", "500_after", "409", "drop_before", "drop_after", "429"]


@pytest.mark.parametrize("kind", LOST)
@play
async def test_a_checkout_whose_opening_went_wrong_is_opened_exactly_once(tmp_path, kind):
    async with till_farm(tmp_path) as farm:
        farm.stripe.fail_next("POST", CREATE, kind=kind, times=4)
        order = await farm.place()
        for _ in range(8):
            if (await farm.get(order))["checkoutUrl"]:
                break
            await farm.forward(60)
        assert (await farm.get(order))["checkoutUrl"] == farm.session(order)["url"]
        view = await farm.pay(order)
        assert view["status"] == "paid"
        assert len(farm.stripe.sessions) == 1


@pytest.mark.parametrize("kind", LOST)
@play
async def test_a_refund_whose_request_went_wrong_is_made_exactly_once(tmp_path, kind):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        await farm.pay(order)
        farm.stripe.fail_next("POST", "/v1/refunds", kind=kind, times=4)
        await farm.post(order, "cancel")
        for _ in range(8):
            if (await farm.get(order))["cancellation"]["refund"] == "succeeded":
                break
            await farm.forward(60)
        assert (await farm.get(order))["refunded"] == 49.26
        assert [refund["amount"] for refund in farm.stripe.refunds.values()] == [4926]


@play
async def test_a_stripe_that_is_down_delays_a_checkout_and_refuses_no_order(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.down()
        order = await farm.place()
        assert (order["status"], order["checkoutUrl"]) == ("pending_payment", None)
        farm.stripe.up()
        await farm.forward(30)
        view = await farm.until(order, lambda view: view["checkoutUrl"])
        assert view["attention"] == []


@play
async def test_a_stripe_that_hangs_holds_up_nobody(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.fail_next("POST", CREATE, kind="hang", times=1)
        slow, quick = await asyncio.gather(farm.place(1), farm.place(2))
        urls = [view["checkoutUrl"] for view in (slow, quick)]
        assert sum(url is not None for url in urls) == 1
        farm.stripe.release_hung()
        for order in (slow, quick):
            await farm.until(order, lambda view: view["checkoutUrl"])
        assert len(farm.stripe.sessions) == 2


@play
async def test_a_key_that_stripe_does_not_take_is_a_persons_matter_and_no_orders_loss(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.restrict("/v1/checkout")
        order = await farm.place()
        for _ in range(6):
            await farm.forward(120)
        view = await farm.get(order)
        assert farm.attention(view) == {"payment_stuck"}
        farm.stripe.restrict()
        await farm.forward(120)
        view = await farm.get(order)
        assert view["checkoutUrl"]
        assert view["attention"] == []


@play
async def test_an_expired_checkout_is_followed_by_a_new_one_when_asked_for(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        again = await farm.post(order, "checkout")
        assert again["checkoutUrl"] == order["checkoutUrl"]
        await farm.forward(DAY + 60)
        await farm.until(order, lambda view: view["checkoutUrl"] is None)
        fresh = await farm.post(order, "checkout")
        assert fresh["checkoutUrl"] not in (None, order["checkoutUrl"])
        assert [each["status"] for each in farm.stripe.sessions.values()] == ["expired", "open"]
        view = await farm.pay(order)
        assert view["status"] == "paid"
        await farm.post(order, "checkout", status=409)


@play
async def test_a_stripe_that_was_down_for_two_days_opens_a_fresh_checkout_and_only_one(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.down()
        order = await farm.place()
        await farm.forward(2 * DAY)
        farm.stripe.up()
        await farm.forward(1000)
        await farm.until(order, lambda view: view["checkoutUrl"])
        assert [each["status"] for each in farm.stripe.sessions.values()] == ["open"]
        assert (await farm.pay(order))["status"] == "paid"


@play
async def test_what_nobody_paid_in_time_is_cancelled_but_never_while_somebody_may_be_paying(tmp_path):
    from farmd.payments.expiry import expire_unpaid

    async with till_farm(tmp_path) as farm:
        order, paid = await farm.place(), await farm.place()
        await farm.pay(paid)
        await farm.forward(3600)

        async def expire() -> int:
            return await expire_unpaid(farm.farm.store, farm.farm.world, farm.farm.rooms.payments, 0.5)

        assert await expire() == 0
        await farm.forward(DAY + 60)
        await farm.until(order, lambda view: view["checkoutUrl"] is None)
        assert await expire() == 1
        view = await farm.get(order)
        assert view["status"] == "cancelled"
        assert view["cancellation"]["reason"].startswith("payment_expired")
        assert await expire() == 0


@pytest.mark.parametrize(
    "wrong", [{"amount": 4925}, {"amount": 100_000}, {"currency": "eur"}], ids=["a cent less", "far more", "euros"]
)
@play
async def test_what_was_not_asked_for_makes_nothing_and_goes_back_with_a_cancel(tmp_path, wrong):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        farm.stripe.pay(farm.session(order)["id"], **wrong)
        view = await farm.until(order, lambda view: view["paymentStatus"] == "review")
        assert (view["status"], view["jobs"]) == ("pending_payment", [])
        assert farm.attention(view) == {"payment_mismatch"}
        await farm.sweep()
        assert (await farm.get(order))["jobs"] == []
        await farm.post(order, "checkout", status=409)
        await farm.post(order, "cancel")
        await farm.is_quiet()
        (refund,) = farm.stripe.refunds.values()
        assert refund["amount"] == wrong.get("amount", 4926)


@play
async def test_a_payment_that_arrives_after_the_cancel_goes_back_by_itself(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.webhooks.hold()
        order = await farm.place()
        farm.stripe.pay(farm.session(order)["id"])
        view = await farm.post(order, "cancel")
        assert view["cancellation"]["refund"] == "none"
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["status"], view["captured"], view["refunded"], view["jobs"]) == ("cancelled", 49.26, 49.26, [])
        farm.stripe.webhooks.release()
        await farm.is_quiet()
        assert len(farm.stripe.refunds) == 1
        assert await told(farm, order) == ["order.created", "order.cancelled"]


@play
async def test_cancelling_an_unpaid_order_closes_its_checkout(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        view = await farm.post(order, "cancel")
        assert (view["checkoutUrl"], view["cancellation"]["refund"], view["paymentStatus"]) == (None, "none", "unpaid")
        await farm.is_quiet()
        assert farm.session(order)["status"] == "expired"


@play
async def test_cancelling_while_the_opening_is_on_its_way_leaves_no_open_checkout(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.fail_next("POST", CREATE, kind="hang", times=1)
        order = await farm.place()
        assert order["checkoutUrl"] is None
        await farm.post(order, "cancel")
        farm.stripe.release_hung()
        await farm.is_quiet()
        assert [each["status"] for each in farm.stripe.sessions.values()] == ["expired"]


@play
async def test_a_bank_that_takes_its_days(tmp_path):
    async with till_farm(tmp_path) as farm:
        good, bad, cancelled = [await farm.place(number) for number in (1, 2, 3)]
        for order in (good, bad, cancelled):
            farm.stripe.pay_async(farm.session(order)["id"])
            view = await farm.until(order, lambda view: view["paymentStatus"] == "processing")
            assert (view["status"], view["checkoutUrl"], view["jobs"]) == ("pending_payment", None, [])
        await farm.post(cancelled, "cancel")
        await farm.forward(2 * DAY)
        for order in (good, cancelled):
            farm.stripe.settle_async(farm.session(order)["id"], ok=True)
        farm.stripe.settle_async(farm.session(bad)["id"], ok=False)
        await farm.until(good, lambda view: view["status"] == "paid")
        view = await farm.until(bad, lambda view: view["paymentStatus"] == "unpaid")
        assert farm.attention(view) == {"payment_failed"}
        view = await farm.until(cancelled, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["status"], view["jobs"]) == ("cancelled", [])
        await farm.post(bad, "checkout")
        view = await farm.pay(bad)
        assert (view["status"], view["attention"]) == ("paid", [])


@play
async def test_a_declined_card_leaves_the_checkout_open(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        farm.stripe.decline(farm.session(order)["id"])
        await farm.is_quiet()
        view = await farm.get(order)
        assert (view["paymentStatus"], view["checkoutUrl"]) == ("unpaid", order["checkoutUrl"])
        assert (await farm.pay(order))["status"] == "paid"


@play
async def test_the_page_after_paying_looks_for_the_payment_and_tells_a_stranger_nothing(tmp_path):
    async with till_farm(tmp_path) as farm:
        farm.stripe.webhooks.drop()
        order = await farm.place()
        page = await farm.farm.stranger.get("/checkout/success", params={"session_id": farm.session(order)["id"]})
        assert (page.status_code, "confirmed" in page.text) == (200, True)
        farm.stripe.pay(farm.session(order)["id"])
        page = await farm.farm.stranger.get("/checkout/success", params={"session_id": farm.session(order)["id"]})
        assert (page.status_code, "has arrived" in page.text) == (200, True)
        assert (await farm.get(order))["status"] == "paid"
        assert (await farm.farm.stranger.get("/checkout/success", params={"session_id": "cs_test_other"})).status_code == 404


@pytest.mark.parametrize(("currency", "price", "total"), [("JPY", 500, 2490), ("KWD", 1.25, 12.72), ("USD", 0, 8.66)])
@play
async def test_every_kind_of_currency_is_charged_to_the_last_coin(tmp_path, currency, price, total):
    shipping = {"JPY": 800, "KWD": 8000, "USD": 800}[currency]
    async with till_farm(tmp_path, settings={"currency": currency, "shipping_flat": shipping}) as farm:
        await farm.farm.add_sku(id="odd", name="Kubus 🧊 " + "x" * 190, unitPrice=price)
        line = {"skuId": "odd", "quantity": 3}
        order = await farm.place(lineItems=[line])
        session = farm.session(order)
        assert session["amount_total"] == round(order["total"] * {"JPY": 1, "KWD": 1000, "USD": 100}[currency])
        assert order["total"] == total
        assert (await farm.pay(order))["status"] == "paid"


@play
async def test_an_order_that_costs_nothing_is_paid_when_its_checkout_is_done(tmp_path):
    async with till_farm(tmp_path, settings={"shipping_flat": 0}) as farm:
        await farm.farm.add_sku(id="free", unitPrice=0)
        order = await farm.place(lineItems=[{"skuId": "free", "quantity": 1}])
        view = await farm.pay(order)
        assert (view["status"], view["captured"]) == ("paid", 0.0)
        view = await farm.post(order, "cancel")
        assert view["cancellation"]["refund"] == "none"


@play
async def test_a_hundred_lines_and_their_tax_fit_into_one_checkout(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place(lineItems=[{"skuId": "sku-pla-black-20mm-cube", "quantity": 1}] * 100)
        (call,) = farm.stripe.calls("POST", CREATE)
        assert len(call.params["line_items"]) == 100
        assert farm.session(order)["amount_total"] == round(order["total"] * 100)


@play
async def test_an_amount_that_stripe_does_not_take_is_told_with_the_reason(tmp_path):
    async with till_farm(tmp_path, settings={"shipping_flat": 0}) as farm:
        await farm.farm.add_sku(id="tiny", unitPrice=0.01)
        order = await farm.place(lineItems=[{"skuId": "tiny", "quantity": 1}])
        view = await farm.until(order, lambda view: view["attention"])
        assert farm.attention(view) == {"checkout_failed"}
        assert view["status"] == "pending_payment"
        assert len(farm.stripe.calls("POST", CREATE)) == 1


@play
async def test_only_stripe_says_that_an_order_is_paid(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.place()
        answer = await farm.farm.operator.post(f"/api/orders/{order['id']}/pay", json={"reference": "cash"})
        assert (answer.status_code, answer.json()["code"]) == (409, "paid_by_provider")


@play
async def test_a_repeated_order_is_answered_with_the_same_checkout(tmp_path):
    async with till_farm(tmp_path) as farm:
        from tests.farm import order_body

        answers = [
            await farm.farm.customer.post("/api/orders", json=order_body(), headers={"Idempotency-Key": "one"}) for _ in range(2)
        ]
        assert answers[0].content == answers[1].content
        assert answers[0].json()["checkoutUrl"]
        assert len(farm.stripe.sessions) == 1
