"""Money that is promised, disputed or taken back: what is held, and what lets it go."""

from typing import Any

import pytest

from farmd.domain.lifecycle import JobSignal
from farmd.store import making
from farmd.store.rows import get
from farmd.store.tables import jobs, plates
from farmd.store.work_lists import waiting_plates
from tests.till_farm import TillFarm, play, till_farm

DAY = 86_400.0


async def slice_all(farm: TillFarm, order: dict[str, Any]) -> None:
    """Every job of the order comes to the queue with one plate, as the pipeline does it."""

    def work(tx: Any) -> None:
        for each in order["jobs"]:
            for signal in (JobSignal.VALIDATE, JobSignal.SLICE):
                making.step(tx, each["id"], signal)
            job = get(tx.connection, jobs, each["id"])
            making.queue(tx, each["id"], [making.NewPlate(job["waiting"], (20, 20, 20), {"any": {"key": "k", "seconds": 60}})])

    await farm.farm.store.write(work)


async def may_start(farm: TillFarm, order: dict[str, Any]) -> bool:
    rows = await farm.farm.store.read(waiting_plates)
    assert await farm.farm.store.read(lambda c: c.execute(plates.select()).first()), "there is a plate to be started"
    return any(row["order_id"] == order["id"] for row in rows)


@play
async def test_a_promised_payment_is_collected_when_all_is_sliced_and_nothing_starts_before(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        assert (order["status"], order["paymentStatus"], order["hold"], order["captured"]) == ("paid", "authorized", "capture", 0.0)
        farm.stripe.fail_next("POST", ".*/capture", kind="429", times=1)
        await slice_all(farm, order)
        assert not await may_start(farm, order)
        await farm.until(order, lambda _view: len(farm.stripe.calls("POST", f"/v1/payment_intents/{farm.intent(order)}/capture")))
        await farm.is_quiet()
        await farm.forward(60)
        view = await farm.until(order, lambda view: view["captured"] == 49.26)
        assert (view["paymentStatus"], view["hold"], view["authorized"]) == ("paid", None, 0.0)
        assert await may_start(farm, order)
        assert farm.stripe.captured(farm.intent(order)) == 4926


@play
async def test_cancelling_a_promised_payment_gives_the_promise_back_and_refunds_nothing(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        view = await farm.post(order, "cancel")
        assert view["cancellation"]["refund"] == "pending"
        view = await farm.until(order, lambda view: view["authorized"] == 0)
        assert (view["cancellation"]["refund"], view["paymentStatus"]) == ("none", "unpaid")
        assert farm.stripe.intents[farm.intent(order)]["status"] == "canceled"
        assert farm.stripe.refunds == {}


@pytest.mark.parametrize("policy", ["cancel", "capture"])
@play
async def test_a_promise_about_to_lapse_is_kept_or_given_back_as_the_owner_chose(tmp_path, policy):
    async with till_farm(tmp_path, capture="when_sliced", on_deadline=policy) as farm:
        order = await farm.pay(await farm.place())
        await farm.forward(5 * DAY)
        await farm.sweep()
        assert (await farm.get(order))["paymentStatus"] == "authorized"
        await farm.forward(1.2 * DAY)
        await farm.sweep()
        view = await farm.get(order)
        seen = (view["status"], view["captured"], farm.stripe.intents[farm.intent(order)]["status"])
        assert seen == (("cancelled", 0.0, "canceled") if policy == "cancel" else ("paid", 49.26, "succeeded"))


@play
async def test_a_promise_that_the_bank_took_back_cancels_what_was_not_begun(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.lapse(farm.intent(order))
        view = await farm.until(order, lambda view: view["status"] == "cancelled")
        assert "authorisation" in view["cancellation"]["reason"]
        assert [job["state"] for job in view["jobs"]] == ["CANCELLED"]


@play
async def test_a_payment_collected_in_the_dashboard_is_seen(tmp_path):
    async with till_farm(tmp_path, capture="when_sliced") as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dashboard_capture(farm.intent(order))
        view = await farm.until(order, lambda view: view["captured"] == 49.26)
        assert view["hold"] is None


@play
async def test_a_dispute_holds_what_has_not_started_until_it_is_won(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        await slice_all(farm, order)
        assert await may_start(farm, order)
        farm.stripe.dispute(farm.intent(order))
        view = await farm.until(order, lambda view: view["hold"] == "dispute")
        assert (view["paymentStatus"], farm.attention(view)) == ("disputed", {"payment_disputed"})
        assert not await may_start(farm, order)
        why = (await farm.farm.operator.get(f"/api/jobs/{view['jobs'][0]['id']}/why")).json()
        assert why["waitsFor"]["code"] == "payment"
        farm.stripe.close_dispute(farm.intent(order), won=True)
        view = await farm.until(order, lambda view: view["hold"] is None)
        assert (view["paymentStatus"], view["attention"]) == ("paid", [])
        assert await may_start(farm, order)


@play
async def test_a_person_may_let_a_disputed_order_go_on(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        await farm.post(order, "release", status=409)
        await farm.farm.make_ready(order)
        farm.stripe.dispute(farm.intent(order))
        await farm.until(order, lambda view: view["hold"] == "dispute")
        await farm.post(order, "ship", {"carrier": "UPS", "trackingNumber": "1Z"}, status=409)
        assert (await farm.post(order, "release"))["hold"] is None
        await farm.post(order, "release")
        await farm.sweep()
        assert (await farm.get(order))["hold"] is None
        view = await farm.post(order, "ship", {"carrier": "UPS", "trackingNumber": "1Z"})
        assert view["status"] == "shipped"


@play
async def test_money_that_the_bank_took_back_is_not_given_back_once_more(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dispute(farm.intent(order))
        await farm.until(order, lambda view: view["hold"] == "dispute")
        farm.stripe.close_dispute(farm.intent(order), won=False)
        view = await farm.until(order, lambda view: view["chargedBack"] == 49.26)
        assert (view["paymentStatus"], farm.attention(view), view["hold"]) == ("charged_back", {"charged_back"}, "dispute")
        await farm.post(order, "refunds", {"amount": 1}, status=409)
        view = await farm.post(order, "cancel")
        await farm.is_quiet()
        assert (await farm.get(order))["cancellation"]["refund"] == "none"
        assert farm.stripe.refunds == {}


@pytest.mark.parametrize("won", [True, False], ids=["won", "lost"])
@play
async def test_cancelling_while_a_dispute_is_open_waits_for_its_end(tmp_path, won):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dispute(farm.intent(order))
        await farm.until(order, lambda view: view["hold"] == "dispute")
        view = await farm.post(order, "cancel")
        await farm.is_quiet()
        assert (await farm.get(order))["cancellation"]["refund"] == "pending"
        farm.stripe.close_dispute(farm.intent(order), won=won)
        await farm.is_quiet()
        view = await farm.get(order)
        assert view["cancellation"]["refund"] == ("succeeded" if won else "none")
        assert farm.stripe.refunded(farm.intent(order)) == (4926 if won else 0)


@play
async def test_what_a_lost_dispute_left_of_a_cancelled_order_is_a_persons_matter_and_is_not_asked_for_ever(tmp_path):
    """Stripe gives nothing back of a payment of which the bank took a part."""
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dispute(farm.intent(order), 2000)
        await farm.until(order, lambda view: view["hold"] == "dispute")
        await farm.post(order, "cancel")
        await farm.is_quiet()
        farm.stripe.close_dispute(farm.intent(order), won=False)
        await farm.until(order, lambda view: view["chargedBack"] == 20)
        await farm.forward(60)
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "failed")
        assert (view["chargedBack"], view["paymentStatus"]) == (20, "refund_failed")
        assert farm.attention(view) == {"charged_back", "refund_failed"}
        asked = farm.stripe.calls("POST", "/v1/refunds")
        assert [int(call.params["amount"]) for call in asked] == [4926, 2926]
        for _ in range(5):
            await farm.forward(DAY)
            await farm.sweep()
        assert len(farm.stripe.calls("POST", "/v1/refunds")) == len(asked)
        await farm.forward(120 * DAY)
        seen = len(farm.stripe.requests)
        await farm.forward(30 * DAY)
        assert len(farm.stripe.requests) == seen, "at last it is not even looked at any more"
        await farm.post(order, "refunds", {"byHand": True}, status=201)
        view = await farm.get(order)
        assert (view["cancellation"]["refund"], farm.attention(view)) == ("succeeded", {"charged_back"})


def refunds_refused(farm: TillFarm) -> int:
    return sum(call.status == 400 for call in farm.stripe.calls("POST", "/v1/refunds"))


@pytest.mark.parametrize("known", [False, True], ids=["that nobody told of", "that was asked about before"])
@play
async def test_a_refund_refused_in_the_last_moment_of_a_dispute_is_made_after_it_was_won(tmp_path, known):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        if not known:
            farm.stripe.webhooks.drop()
        farm.stripe.dispute(farm.intent(order))
        if known:
            await farm.until(order, lambda view: view["hold"] == "dispute")
            await farm.post(order, "cancel")
            await farm.is_quiet()
            for _ in range(5):
                await farm.forward(3601)
            assert refunds_refused(farm) == 6
            farm.stripe.webhooks.drop()

        def win(method: str, path: str, _body: str) -> None:
            if (method, path) == ("POST", "/v1/refunds"):
                farm.stripe.hooks()
                farm.stripe.close_dispute(farm.intent(order), won=True)

        farm.stripe.hooks(after=win)
        await (farm.forward(3601) if known else farm.post(order, "cancel"))
        await farm.is_quiet()
        await farm.forward(60)
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["paymentStatus"], view["attention"]) == ("refunded", [])
        keys = [call.idempotency_key for call in farm.stripe.calls("POST", "/v1/refunds")]
        assert (len(set(keys)), farm.stripe.refunded(farm.intent(order))) == (len(keys), 4926)


@play
async def test_a_refusal_that_is_repeated_from_memory_after_the_dispute_was_won_is_no_refusal_of_the_refund(tmp_path):
    """The look after the refusal fails, and so the same request is made once more; Stripe answers what it answered then."""
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dispute(farm.intent(order))
        await farm.is_quiet()
        farm.stripe.fail_next("GET", "/v1/refunds", kind="429", times=1)
        await farm.post(order, "cancel")
        await farm.is_quiet()
        assert refunds_refused(farm) == 1
        farm.stripe.close_dispute(farm.intent(order), won=True)
        await farm.is_quiet()
        assert [call.replayed for call in farm.stripe.calls("POST", "/v1/refunds")][:2] == [False, True]
        await farm.forward(60)
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "succeeded")
        assert (view["paymentStatus"], view["attention"]) == ("refunded", [])
        assert farm.stripe.refunded(farm.intent(order)) == 4926


@play
async def test_a_refund_that_stripe_calls_disputed_although_no_dispute_is_open_comes_to_a_person(tmp_path):
    async with till_farm(tmp_path) as farm:
        order = await farm.pay(await farm.place())
        farm.stripe.dispute(farm.intent(order))
        await farm.until(order, lambda view: view["hold"] == "dispute")
        farm.stripe.disputes[next(iter(farm.stripe.disputes))]["status"] = "prevented"
        await farm.post(order, "cancel")
        await farm.is_quiet()
        for _ in range(12):
            await farm.forward(600)
        view = await farm.until(order, lambda view: view["cancellation"]["refund"] == "failed")
        assert farm.attention(view) == {"refund_failed"}
        asked = refunds_refused(farm)
        assert asked <= 10
        await farm.forward(5 * DAY)
        assert refunds_refused(farm) == asked
