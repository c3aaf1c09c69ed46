"""Random lives of orders that are paid through Stripe: buyers, banks, the dashboard, the network, the clock and restarts, in any
order that chance finds.

The application, the till and the store are the real ones; Stripe is the double on its socket. After every step what must hold at
any moment is compared with Stripe's own books; in the end all faults stop, time goes on, and everything must have come to rest.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

import stripe
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from farmd.domain.lifecycle import JobSignal, JobState
from farmd.payments.expiry import expire_unpaid
from farmd.store import making, till
from farmd.store import tables as t
from farmd.store.rows import get
from farmd.store.transitions import advance_job
from tests.doubles.stripe_double import stripe_double
from tests.doubles.stripe_errors import Refused
from tests.farm import CUBE, FarmWorld
from tests.stateful import money_truths as truths
from tests.till_farm import TillFarm, till_farm
from tests.waiting import until

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
UNPAID_HOURS = 48.0
PRICES = {CUBE["id"]: 12.5, "sku-odd": 3.33}
LINES = st.lists(st.tuples(st.sampled_from(sorted(PRICES)), st.integers(1, 3)), min_size=1, max_size=2)
NUMBERS = st.integers(0, 5)
SHARES = st.sampled_from([1, 30, 50, 99, 100])
PASSES = st.sampled_from([5.0, MINUTE, 10 * MINUTE, 31 * MINUTE, 6 * HOUR, DAY + 60, 3 * DAY, 8 * DAY])
FAULTS = st.sampled_from(["500", "500_after", "409", "429", "drop_before", "drop_after"])
TROUBLE = st.sampled_from([None, None, "500_after", "drop_before", "drop_after", "429"])
"""What becomes of the requests that a wish leads to, for longer than Stripe's library repeats them by itself."""
QUIET = (MINUTE, 20 * MINUTE, 2 * HOUR, DAY + 60, DAY, 2 * DAY, 3 * DAY, 3 * DAY, 2 * HOUR)
Json = dict[str, Any]


class Money(RuleBasedStateMachine):
    capture: ClassVar[Literal["automatic", "when_sliced"]] = "automatic"

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.outer = ExitStack()
        self.folder = Path(self.outer.enter_context(tempfile.TemporaryDirectory()))
        self.outer.enter_context(_no_pauses_between_repeats())
        self.world = FarmWorld()
        self.stripe = self.outer.enter_context(stripe_double(clock=lambda: self.world.now().timestamp(), seed=1))
        self.keys: dict[str, str] = {}
        self.orders: list[Json] = []
        self.honest: set[str] = set()
        self.holding = False
        self.run(self.open())

    def run(self, work: Awaitable[Any]) -> Any:
        async def main() -> Any:
            return await work

        return self.runner.run(main())

    # the farm

    async def open(self) -> None:
        first = not self.keys
        self.stack = AsyncExitStack()
        kept = {"keys": self.keys} if self.keys else {}
        opening = till_farm(self.folder, webhooks=first, world=self.world, stripe=self.stripe, capture=self.capture, settings=kept)
        self.farm: TillFarm = await self.stack.enter_async_context(opening)
        self.keys = self.farm.farm.keys
        if first:
            await self.farm.farm.add_sku(id="sku-odd", unitPrice=PRICES["sku-odd"])
        with self.stripe.server.lock:  # at the same address as before, so that what is on its way arrives
            for endpoint in self.stripe.books.tables["webhook_endpoint"].values():
                endpoint["url"] = f"{self.farm.url}/webhooks/stripe"

    async def reopen(self) -> None:
        await self.stack.aclose()
        await self.open()

    async def rest(self) -> None:
        """Until nothing is due and nothing on its way."""
        end = asyncio.get_running_loop().time() + 30
        turns = 0
        while not (self.stripe.webhooks.idle and not self.farm.hand._busy and await self.farm.farm.store.read(self.nothing_due)):
            assert asyncio.get_running_loop().time() < end, "the till never came to rest"
            turns += 1
            if turns % 20 == 0:  # a message that could not be dealt with waits for the next turn
                self.farm.farm.store.ring({till.TOPIC})
            await asyncio.sleep(0.005)

    def nothing_due(self, connection: Any) -> bool:
        return not till.due(connection, self.world.now(), (), 1) and not till.new_messages(connection, 1)

    async def forward(self, seconds: float) -> None:
        self.world.forward(seconds)
        self.stripe.forward(0)
        self.farm.farm.store.ring({till.TOPIC})
        await self.rest()

    async def sweep(self) -> None:
        desk = self.farm.farm.rooms.desk
        assert desk is not None
        await desk.sweep.round()
        await self.rest()

    async def expire(self) -> None:
        farm = self.farm.farm
        await expire_unpaid(farm.store, farm.world, farm.rooms.payments, UNPAID_HOURS)
        await self.rest()

    async def post(self, number: int, verb: str, body: Json | None = None, good: tuple[int, ...] = (200, 201, 409)) -> Json:
        path = f"/api/orders/{self.order(number)['id']}/{verb}"
        answer = await self.farm.farm.operator.post(path, json=body or {})
        assert answer.status_code in good, (path, answer.text)
        return answer.json()

    async def place(self, lines: list[tuple[str, int]]) -> None:
        items = [{"skuId": sku, "quantity": quantity} for sku, quantity in lines]
        self.orders.append(await self.farm.place(lineItems=items))

    def order(self, number: int) -> Json:
        return self.orders[number % len(self.orders)]

    def step(self, work: Awaitable[Any], trouble: str | None = None) -> None:
        async def main() -> None:
            if trouble is not None:
                self.stripe.fail_next("POST", ".*", kind=trouble, times=3)
            await work
            await self.rest()

        self.run(main())

    # what is there to act on, at Stripe

    def pick(self, things: Any, number: int, good: Callable[[Json], bool]) -> Json | None:
        found = [each for each in things.values() if good(each)]
        return found[number % len(found)] if found else None

    def open_session(self, number: int) -> Json | None:
        return self.pick(self.stripe.sessions, number, lambda each: each["status"] == "open")

    def taken(self, number: int) -> Json | None:
        return self.pick(self.stripe.intents, number, lambda each: each["status"] == "succeeded")

    # people who order, pay and change their minds

    @initialize(lines=LINES, paid=st.booleans())
    def begin(self, lines: list[tuple[str, int]], paid: bool) -> None:
        self.step(self.place(lines))
        if paid:
            self.pay(0, "card")

    @precondition(lambda self: len(self.orders) < 3)
    @rule(lines=LINES, trouble=TROUBLE)
    def place_another(self, lines: list[tuple[str, int]], trouble: str | None) -> None:
        self.step(self.place(lines), trouble)

    def buyer_pays(self, number: int, how: str) -> None:
        session = self.open_session(number)
        if session is None:
            return
        match how:
            case "less" | "more":
                self.stripe.pay(session["id"], amount=session["amount_total"] + (1 if how == "more" else -1))
            case "euros":
                self.stripe.pay(session["id"], currency="eur")
            case "bank":
                self.stripe.pay_async(session["id"])
            case "decline":
                self.stripe.decline(session["id"])
            case _:
                self.stripe.pay(session["id"])
                self.honest.add(session["client_reference_id"])

    @rule(number=NUMBERS, how=st.sampled_from(["card", "card", "card", "bank", "bank", "decline", "less", "more", "euros"]))
    def pay(self, number: int, how: str) -> None:
        self.buyer_pays(number, how)
        self.step(self.rest())

    @rule(number=NUMBERS, ok=st.booleans())
    def the_bank_decides(self, number: int, ok: bool) -> None:
        self.settle_debit(number, ok)
        self.step(self.rest())

    def settle_debit(self, number: int, ok: bool) -> bool:
        waits = {key for key, each in self.stripe.intents.items() if each["status"] == "processing"}
        session = self.pick(self.stripe.sessions, number, lambda each: each["payment_intent"] in waits)
        if session is None:
            return False
        self.stripe.settle_async(session["id"], ok)
        if ok:
            self.honest.add(session["client_reference_id"])
        return True

    @rule(number=NUMBERS, trouble=TROUBLE)
    def new_checkout(self, number: int, trouble: str | None) -> None:
        self.step(self.post(number, "checkout"), trouble)

    @rule(number=NUMBERS, trouble=TROUBLE)
    def cancel(self, number: int, trouble: str | None) -> None:
        self.step(self.post(number, "cancel"), trouble)

    @rule(number=NUMBERS, share=SHARES, trouble=TROUBLE)
    def refund_amount(self, number: int, share: int, trouble: str | None) -> None:
        amount = max(round(self.order(number)["total"] * share / 100, 2), 0.01)
        self.step(self.post(number, "refunds", {"amount": amount}), trouble)

    @rule(number=NUMBERS, which=st.integers(0, 1), quantity=st.integers(1, 3), trouble=TROUBLE)
    def refund_units(self, number: int, which: int, quantity: int, trouble: str | None) -> None:
        lines = self.order(number)["lineItems"]
        self.step(self.post(number, "refunds", {"lineItemId": lines[which % len(lines)]["id"], "quantity": quantity}), trouble)

    @rule(number=NUMBERS, trouble=TROUBLE)
    def refund_all(self, number: int, trouble: str | None) -> None:
        self.step(self.post(number, "refunds"), trouble)

    # the workshop

    @rule(number=NUMBERS, how_far=st.sampled_from(["queued", "ready", "shipped"]))
    def work_goes_on(self, number: int, how_far: str) -> None:
        async def work() -> None:
            await self.farm.farm.store.write(lambda tx: _make(tx, self.order(number)["id"], how_far))
            if how_far == "shipped":
                await self.post(number, "ship", {"trackingNumber": "1Z"})

        self.step(work())

    @rule(number=NUMBERS)
    def release(self, number: int) -> None:
        self.step(self.post(number, "release"))

    # the dashboard and the banks

    @rule(number=NUMBERS, what=st.sampled_from(["refund", "refund", "capture", "cancel", "expire"]), share=SHARES)
    def dashboard(self, number: int, what: str, share: int) -> None:
        self.in_the_dashboard(number, what, share)
        self.step(self.rest())

    def in_the_dashboard(self, number: int, what: str, share: int) -> None:
        with suppress(Refused):
            if what == "refund" and (intent := self.taken(number)):
                self.stripe.dashboard_refund(intent["id"], max(intent["amount"] * share // 100, 1))
            elif what == "expire" and (session := self.open_session(number)):
                self.stripe.expire(session["id"])
            elif intent := self.pick(self.stripe.intents, number, lambda each: each["status"] == "requires_capture"):
                (self.stripe.dashboard_capture if what == "capture" else self.stripe.dashboard_cancel)(intent["id"])

    @rule(number=NUMBERS)
    def dispute(self, number: int) -> None:
        self.disputed(number)
        self.step(self.rest())

    def disputed(self, number: int) -> None:
        intent = self.taken(number)
        left = self.stripe.captured(intent["id"]) - self.stripe.refunded(intent["id"]) if intent else 0
        if intent and left > 0 and not self.stripe.charges[intent["latest_charge"]]["disputed"]:
            self.stripe.dispute(intent["id"], left)

    @rule(number=NUMBERS, won=st.booleans())
    def close_dispute(self, number: int, won: bool) -> None:
        found = self.pick(self.stripe.disputes, number, lambda each: each["status"] == "needs_response")
        if found:
            self.stripe.close_dispute(found["payment_intent"], won)
        self.step(self.rest())

    @rule(number=NUMBERS, end=st.sampled_from(["succeeded", "failed"]))
    def a_refund_ends(self, number: int, end: str) -> None:
        ripe = ("pending", "requires_action") if end == "succeeded" else ("pending", "requires_action", "succeeded")
        if found := self.pick(self.stripe.refunds, number, lambda each: each["status"] in ripe):
            self.stripe.settle_refund(found["id"], end)
        self.step(self.rest())

    @rule(status=st.sampled_from(["succeeded", "pending", "requires_action"]))
    def refunds_start_as(self, status: str) -> None:
        self.stripe.refunds_start_as(status)

    @rule(number=NUMBERS)
    def a_promise_lapses(self, number: int) -> None:
        if intent := self.pick(self.stripe.intents, number, lambda each: each["status"] == "requires_capture"):
            self.stripe.lapse(intent["id"])
        self.step(self.rest())

    # the network

    @rule(mode=st.sampled_from(["deliver", "drop", "duplicate", "hold", "delay", "release"]), chance=st.integers(0, 3))
    def messages(self, mode: str, chance: int) -> None:
        webhooks = self.stripe.webhooks
        match mode:
            case "duplicate":
                webhooks.duplicate(2)
            case "delay":
                webhooks.delay((HOUR, 3 * DAY)[chance % 2])
            case "release":
                webhooks.release(("fifo", "reverse")[chance] if chance < 2 else Random(chance))
            case _:
                getattr(webhooks, mode)()
        self.step(self.rest())

    @rule(number=st.integers(0, 100))
    def an_old_message_again(self, number: int) -> None:
        known = list(self.stripe.events)
        if known:
            status = self.run(_waited(self.stripe.send_event, known[number % len(known)]))
            assert status == 200
            self.step(self.rest())

    @rule(number=NUMBERS, signed=st.booleans())
    def a_lie(self, number: int, signed: bool) -> None:
        """Forged, or signed and not true: the looks tell."""
        session = (
            self.stripe.sessions[sorted(self.stripe.sessions)[number % len(self.stripe.sessions)]] if self.stripe.sessions else None
        )
        if session is None:
            return
        told = session | {"status": "complete", "payment_status": "paid"}
        secret = self.stripe.secret if signed else "whsec_forged"
        status = self.run(_waited(lambda: self.stripe.forge("checkout.session.completed", told, secret=secret)))
        assert status == (200 if signed else 400)
        self.step(self.rest())

    @rule(kind=FAULTS, times=st.sampled_from([1, 1, 3, 4, 9]), method=st.sampled_from(["POST", "POST", "GET", "*"]))
    def stripe_fails(self, kind: str, times: int, method: str) -> None:
        self.stripe.fail_next(method, ".*", kind=kind, times=times)

    @rule(
        what=st.sampled_from(["cancel", "refunds", "checkout", "place"]),
        number=NUMBERS,
        kind=st.sampled_from(["hang", "hang_before"]),
        meanwhile=st.sampled_from(["cancel", "refunds", "pay", "dashboard", "dispute", "minutes", "days", "restart"]),
    )
    def at_the_same_time(self, what: str, number: int, kind: str, meanwhile: str) -> None:
        """A request hangs at Stripe, before or after its effect, while something else happens."""
        self.run(self.race(what, number, kind, meanwhile))

    async def race(self, what: str, number: int, kind: str, meanwhile: str) -> None:
        self.stripe.fail_next("POST", ".*", kind=kind)
        (ours,) = [fault for fault in self.stripe.faults.queue if fault.kind == kind]
        if what == "place":
            asking = asyncio.create_task(self.place([("sku-odd", 1)]) if len(self.orders) < 4 else self.rest())
        else:
            asking = asyncio.create_task(self.post(number, what))
        await until(lambda: ours not in self.stripe.faults.queue or asking.done())
        if ours in self.stripe.faults.queue:
            self.stripe.faults.queue.remove(ours)  # nothing was asked of Stripe
        match meanwhile:
            case "pay":
                self.buyer_pays(number, "card")
            case "dashboard":
                self.in_the_dashboard(number, "refund", 50)
            case "dispute":
                self.disputed(number)
            case "minutes" | "days":
                self.world.forward(40 * MINUTE if meanwhile == "minutes" else 2 * DAY)
                self.stripe.forward(0)
            case "restart":
                await asyncio.wait([asking], timeout=0.01)
                await self.abandon(asking)
                await self.reopen()
            case _:
                await self.post(number, meanwhile)
        self.stripe.release_hung()
        await self.abandon(asking) if meanwhile == "restart" else await asking
        await self.rest()

    async def abandon(self, asking: "asyncio.Task[Any]") -> None:
        if not asking.done():
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    # time

    @rule(seconds=PASSES, sweeps=st.booleans())
    def time_passes(self, seconds: float, sweeps: bool) -> None:
        self.step(self.forward(seconds))
        if sweeps:
            self.step(self.sweep())

    @rule()
    def the_sweep(self) -> None:
        self.step(self.sweep())

    @rule()
    def nobody_paid(self) -> None:
        self.step(self.expire())

    @rule()
    def the_farm_starts_again(self) -> None:
        self.step(self.reopen())

    # what must be true

    def books(self) -> truths.Books:
        return self.run(self.farm.farm.store.read(truths.read_books))

    @invariant()
    def at_any_moment(self) -> None:
        if not self.orders:
            return
        books = self.books()
        truths.only_what_is_paid_is_made(books, self.honest)
        truths.each_fact_is_told_once_and_in_order(books)
        truths.an_order_is_what_its_rows_come_to(books)
        truths.nothing_goes_back_twice(books, self.stripe)
        truths.one_place_to_pay_at_a_time(books, self.stripe)

    def teardown(self) -> None:
        try:
            self.run(self.in_the_end())
        finally:
            self.run(self.stack.aclose())
            self.runner.close()
            self.outer.close()

    async def in_the_end(self) -> None:
        """All faults stop; banks decide; time goes on until everything must have come to its end."""
        self.stripe.faults.clear()
        self.stripe.webhooks.deliver()
        self.stripe.refunds_start_as("succeeded")
        while self.settle_debit(0, ok=True):
            pass
        for number, each in list(self.stripe.refunds.items()):
            if each["status"] in ("pending", "requires_action"):
                self.stripe.settle_refund(number, "succeeded")
        for seconds in QUIET:
            await self.forward(seconds)
            await self.sweep()
            await self.expire()
        books = await self.farm.farm.store.read(truths.read_books)
        truths.only_what_is_paid_is_made(books, self.honest)
        truths.each_fact_is_told_once_and_in_order(books)
        truths.an_order_is_what_its_rows_come_to(books)
        truths.nothing_goes_back_twice(books, self.stripe)
        truths.both_books_agree(books, self.stripe)
        truths.what_failed_failed_at_stripe(books, self.stripe)
        truths.what_is_not_wanted_is_given_back(books, self.stripe)
        truths.nothing_is_left_undone(books)


async def _waited(send: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.wrap_future(send(*arguments))


class _no_pauses_between_repeats:  # noqa: N801 -- read as a sentence
    """Stripe's library repeats by itself after half a second; here at once."""

    def __enter__(self) -> None:
        self.pause, stripe.HTTPClient.INITIAL_DELAY = stripe.HTTPClient.INITIAL_DELAY, 0.001

    def __exit__(self, *_error: object) -> None:
        stripe.HTTPClient.INITIAL_DELAY = self.pause


def _make(tx: Any, order_id: str, how_far: str) -> None:
    """Every job comes to the queue, or to its end, without printers."""
    rows = tx.connection.execute(select(t.jobs).where(t.jobs.c.order_id == order_id)).mappings().all()
    for job in rows:
        state = JobState(job["state"])
        if state is JobState.CREATED:
            for signal in (JobSignal.VALIDATE, JobSignal.SLICE):
                making.step(tx, job["id"], signal)
            making.queue(tx, job["id"], [making.NewPlate(job["waiting"], (20, 20, 20), {"any": {"key": "k", "seconds": 60}})])
        job = get(tx.connection, t.jobs, job["id"])
        if how_far != "queued" and job["state"] == JobState.QUEUED:
            job = advance_job(tx, job, JobSignal.PRINTED, waiting=0, good=job["ordered"])
            advance_job(tx, job, JobSignal.FINISH)


class MoneyWhenSliced(Money):
    capture = "when_sliced"


FEW = settings(max_examples=6, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
Money.TestCase.settings = MoneyWhenSliced.TestCase.settings = FEW
TestMoneyAtOnce, TestMoneyWhenSliced = Money.TestCase, MoneyWhenSliced.TestCase
