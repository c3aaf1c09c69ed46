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
