"""A farm paid through Stripe that came out of a backup: what was charged or given back since is found before anything is asked for
again, however old the keys have become."""

import shutil
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from farmd.store import feed, restored, snapshot, till
from farmd.store.engine import open_engine
from farmd.store.schema import upgrade
from tests.doubles.stripe_double import StripeDouble, stripe_double
from tests.farm import FarmWorld, open_store
from tests.till_farm import TillFarm, play, till_farm

DAY = 86_400.0
LATER = pytest.mark.parametrize("later", [60.0, 3 * DAY], ids=["its key is known", "its key is forgotten"])


class Past:
    """A farm that will be lost, and the way back to the moment of its backup. Stripe is not lost, and time passes for both."""

    def __init__(self, folder: Path, world: FarmWorld, stripe: StripeDouble) -> None:
        self.folder, self.world, self.stripe = folder, world, stripe
        self.made_at = world.now()
        self._keys: dict[str, str] = {}

    @asynccontextmanager
    async def farm(self, **options: Any):
        known = {"keys": self._keys} if self._keys else {}
        async with till_farm(self.folder, world=self.world, stripe=self.stripe, settings=known, **options) as farm:
            self._keys = farm.farm.keys
            yield farm

    def backup(self) -> None:
        self.made_at = self.world.now()
        snapshot.take(self.folder / "farmd.db", self.folder / "backup.db")

    def forget_that_it_left(self) -> None:
        """As if the backup had been made a moment earlier: the request stands there and was not sent."""
        with closing(sqlite3.connect(self.folder / "backup.db")) as store, store:
            assert store.execute("UPDATE payment_calls SET sent_at = NULL, tries = 0 WHERE state = 'WANTED'").rowcount == 1

    async def go_back(self, later: float = 60.0) -> None:
        self.world.forward(later)
        self.stripe.forward(0)
        for ending in ("", "-wal", "-shm"):
            (self.folder / f"farmd.db{ending}").unlink(missing_ok=True)
        shutil.copy(self.folder / "backup.db", self.folder / "farmd.db")
        snapshot.mark_restored(self.folder / "farmd.db", self.made_at, self.world.now())
        async with open_store(self.folder, self.world) as store:
            await store.write(restored.distrust)

    def given_back(self) -> list[int]:
        return sorted(each["amount"] for each in self.stripe.refunds.values() if each["status"] not in ("failed", "canceled"))


@asynccontextmanager
async def past(folder: Path):
    engine = open_engine(f"sqlite:///{folder}/farmd.db")
    upgrade(engine)
    engine.dispose()
    world = FarmWorld()
    with stripe_double(clock=lambda: world.now().timestamp(), seed=1) as stripe:
        yield Past(folder, world, stripe)


async def settled(farm: TillFarm) -> None:
    """Stripe was asked about all that is in doubt."""
    await farm.is_quiet()
    await farm.sweep()


@LATER
@pytest.mark.parametrize("sent", [True, False], ids=["it had left", "it had not left"])
@play
async def test_a_refund_that_was_wanted_then_and_made_since_is_not_made_again(tmp_path, later, sent):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.pay(await farm.place())
            await farm.is_quiet()
            then.stripe.fail_next("POST", "/v1/refunds", kind="drop_before", times=3)
            await farm.post(order, "refunds", {"amount": 9.26, "reason": "scratched"}, status=201)
            await farm.is_quiet()
            then.backup()
            if not sent:
                then.forget_that_it_left()
            assert then.given_back() == []
            await farm.forward(30)
            await farm.until(order, lambda view: view["refunded"] == 9.26)
        await then.go_back(later)
        async with then.farm() as farm:
            view = await farm.until(order, lambda view: view["refunded"] == 9.26)
            await settled(farm)
            assert (view["paymentStatus"], then.given_back()) == ("partially_refunded", [926])


@play
async def test_a_refund_that_was_wanted_then_and_never_made_is_made(tmp_path):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.pay(await farm.place())
            await farm.is_quiet()
            then.stripe.fail_next("POST", "/v1/refunds", kind="drop_before", times=3)
            await farm.post(order, "refunds", {"amount": 9.26}, status=201)
            await farm.is_quiet()
            then.backup()
        await then.go_back(3 * DAY)
        async with then.farm() as farm:
            await farm.until(order, lambda view: view["refunded"] == 9.26)
            assert then.given_back() == [926]


@play
async def test_a_refund_of_the_lost_time_counts_before_another_can_be_asked_for(tmp_path):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.pay(await farm.place())
            await farm.is_quiet()
            then.backup()
            await farm.post(order, "refunds", {"amount": 40}, status=201)
            await farm.until(order, lambda view: view["refunded"] == 40)
        await then.go_back()
        then.stripe.fail_next("GET", ".*", kind="429", times=3)
        async with then.farm(webhooks=False) as farm:
            early = await farm.post(order, "refunds", {"amount": 40}, status=409)
            assert early["code"] == "payment_not_seen"
            assert "ask again" in early["detail"]
            for _ in range(3):
                await farm.forward(60)
            assert (await farm.get(order))["refunded"] == 40
            assert (await farm.post(order, "refunds", {"amount": 40}, status=409))["code"] == "refund_exceeds_captured"
            await settled(farm)
            assert await farm.farm.store.read(lambda c: till.noted(c, till.DOUBTED)) is None, "the doubt is over"
            await farm.post(order, "refunds", {}, status=201)
            await farm.until(order, lambda view: view["status"] == "refunded")
            assert then.given_back() == [926, 4000]


@LATER
@play
async def test_an_order_that_was_cancelled_and_given_back_since_is_cancelled_once_more_and_costs_nothing(tmp_path, later):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.pay(await farm.place())
            await farm.is_quiet()
            then.backup()
            await farm.post(order, "cancel")
            await farm.until(order, lambda view: view["paymentStatus"] == "refunded")
        await then.go_back(later)
        async with then.farm() as farm:
            await farm.post(order, "cancel")  # at once, before Stripe was asked
            view = await farm.until(order, lambda view: view["paymentStatus"] == "refunded")
            await settled(farm)
            assert (view["status"], then.given_back()) == ("cancelled", [4926])


@LATER
@play
async def test_an_order_that_was_paid_since_is_paid_and_made_once(tmp_path, later):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.place()
            await farm.is_quiet()
            then.backup()
            await farm.pay(order)
        await then.go_back(later)
        async with then.farm(webhooks=False) as farm:
            view = await farm.until(order, lambda view: view["status"] == "paid")
            await settled(farm)
            assert (view["paymentStatus"], len(view["jobs"]), len(then.stripe.sessions)) == ("paid", 1, 1)


@pytest.mark.parametrize("paid", [False, True])
@play
async def test_a_checkout_that_was_opened_since_is_found_and_not_opened_again(tmp_path, paid):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            then.stripe.fail_next("POST", "/v1/checkout/sessions", kind="drop_before", times=3)
            order = await farm.place()
            await farm.is_quiet()
            then.backup()
            then.forget_that_it_left()
            await farm.forward(30)
            await farm.until(order, lambda view: view["checkoutUrl"])
            if paid:
                await farm.pay(order)
        await then.go_back()
        async with then.farm(webhooks=False) as farm:
            await farm.until(order, lambda view: view["paymentStatus"] == "paid" if paid else view["checkoutUrl"])
            await settled(farm)
            assert len(then.stripe.sessions) == 1


@LATER
@play
async def test_what_was_collected_since_is_not_collected_again(tmp_path, later):
    async with past(tmp_path) as then:
        async with then.farm(capture="when_sliced") as farm:
            order = await farm.pay(await farm.place())
            await farm.is_quiet()
            then.backup()
            await farm.farm.make_ready(order)
            await farm.until(order, lambda view: view["paymentStatus"] == "paid")
        await then.go_back(later)
        async with then.farm(webhooks=False, capture="when_sliced") as farm:
            await farm.until(order, lambda view: view["paymentStatus"] == "paid")
            await settled(farm)
            assert [each["amount_received"] for each in then.stripe.intents.values()] == [4926]


@play
async def test_nobody_pays_any_more_for_an_order_that_is_gone_and_who_did_is_told(tmp_path):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            kept = await farm.place()
            await farm.is_quiet()
            then.backup()
            paid, unpaid = await farm.pay(await farm.place()), await farm.place()
            await farm.is_quiet()
        await then.go_back()
        async with then.farm() as farm:
            then.stripe.fail_next("POST", ".*/expire", kind="429", times=1)
            await settled(farm)
            await settled(farm)
            await settled(farm)
            told = [
                each
                for each in await farm.farm.store.read(lambda c: feed.events_after(c, 0, 1000))
                if "payment_unknown" in each.type
            ]
            assert [each.order_id for each in told] == [paid["id"]]
            assert '"amount":4926' in told[0].body
            states = {each["client_reference_id"]: each["status"] for each in then.stripe.sessions.values()}
            assert states == {kept["id"]: "open", paid["id"]: "complete", unpaid["id"]: "expired"}
            assert await farm.farm.store.read(restored.lost_since) is None


@play
async def test_a_second_checkout_of_the_lost_time_that_was_paid_stands_on_its_order(tmp_path):
    async with past(tmp_path) as then:
        async with then.farm() as farm:
            order = await farm.place()
            await farm.is_quiet()
            await farm.forward(DAY * 1.1)
            then.backup()
            await farm.post(order, "checkout")
            await farm.until(order, lambda view: view["checkoutUrl"])
            await farm.pay(order)
        await then.go_back()
        async with then.farm() as farm:
            await settled(farm)
            view = await farm.get(order)
            assert "payment_unknown" in farm.attention(view)
            assert view["status"] == "pending_payment"
