"""Random lives of orders that are paid through Stripe: buyers, banks, the dashboard, the network, the clock and restarts, in any
order that chance finds.

The application, the till and the store are the real ones; Stripe is the double on its socket. After every step what must hold at
any moment is compared with Stripe's own books; in the end all faults stop, time goes on, and everything must have come to rest.

    FARMD_EXAMPLES=200 .venv/bin/pytest --timeout 0 tests/stateful/test_money_machine.py    # FARMD_SHRINK=1 looks for the shortest
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from datetime import datetime, timedelta
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

import stripe
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from farmd.domain.lifecycle import JobSignal, JobState
from farmd.domain.till import Want
from farmd.payments.expiry import expire_unpaid
from farmd.payments.stripe_api import RETRIES
from farmd.store import making, till
from farmd.store import tables as t
from farmd.store.rows import get
from farmd.store.transitions import advance_job
from tests.doubles.stripe_double import stripe_double
from tests.doubles.stripe_errors import Refused
from tests.doubles.stripe_faults import Fault
from tests.farm import CUBE, FarmWorld
from tests.stateful import money_truths as truths
from tests.till_farm import TillFarm, till_farm
from tests.waiting import until

LIVES = int(os.environ.get("FARMD_EXAMPLES", "0"))
"""More lives, and other ones each time; the suite's own are always the same, so that it is red or green by the code alone."""
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
UNPAID_HOURS = 48.0
PRICES = {CUBE["id"]: 12.5, "sku-odd": 3.33}
LINES = st.lists(st.tuples(st.sampled_from(sorted(PRICES)), st.integers(1, 3)), min_size=1, max_size=2)
NUMBERS = st.integers(0, 5)
SHARES = st.sampled_from([1, 30, 50, 99, 100])
FIRST = st.sampled_from(["made", "made", "made", "card", "card", "less", "bank", "twice"])
"""Most orders are paid, and begun, as soon as they are placed: nothing much happens to the others."""
REFUNDS = ("succeeded", "pending", "requires_action")
MOST = 4  # orders that are placed for their own sake
REPEATED = RETRIES + 1
RESTLESS = 300  # requests after which it is not to be expected that the till comes to rest
Scene = tuple[str, str, bool, tuple[str, ...], float]


class TickingWorld(FarmWorld):
    """Every look at the clock takes a microsecond: of two rows it can be told which was written first."""

    def __init__(self) -> None:
        super().__init__()
        self._ticks = count()  # counts right in every thread: the double at its socket looks at this clock too

    def now(self) -> datetime:
        return super().now() + timedelta(microseconds=next(self._ticks))


def _scenes(
    wishes: Sequence[str], meanwhile: Sequence[tuple[str, ...]], later: Sequence[float], *, gentle: bool = True
) -> st.SearchStrategy[Scene]:
    """What is wished and how its answer is lost, whether messages are held up meanwhile, what people do before it is asked again,
    and when that is. Only where it is `gentle`, nothing was done at Stripe, or a message may tell what was."""
    lost = ["drop_after", "drop_after", "500_after"] + ["drop_before"] * gentle
    deaf = st.sampled_from([True, True, True, False] if gentle else [True])
    return st.tuples(st.sampled_from(wishes), st.sampled_from(lost), deaf, st.sampled_from(meanwhile), st.sampled_from(later))


REFUND_LOST = _scenes(
    ["part", "part", "units", "refunds", "cancel"],
    [(), (), (), ("restart",), ("cancel",), ("part",), ("dashboard",)],
    [5.0, 5.0, 21 * HOUR, DAY + 60, DAY + 60],
)
OPENING_LOST = _scenes(
    ["place", "place", "place", "checkout", "made"],
    [(), ("cancel",), ("cancel",), ("cancel", "pay"), ("pay", "cancel"), ("restart", "cancel"), ("pay",)],
    [5.0, 5.0, MINUTE, 21 * HOUR, DAY + 60],
)
WORST_REFUND = _scenes(["part", "part", "units", "cancel"], [(), (), ("restart",), ("cancel",)], [5.0, DAY + 60], gentle=False)
WORST_OPENING = _scenes(["place"], [("cancel",), ("cancel", "pay"), ("pay", "cancel"), ()], [5.0, 21 * HOUR], gentle=False)
Beginning = tuple[str, str, int, Scene, Scene]
"""How the first order is paid, how refunds start, how large they are, and two answers that are lost: of a refund, of an opening."""
ANY_BEGINNING: st.SearchStrategy[Beginning] = st.tuples(FIRST, st.sampled_from(REFUNDS), SHARES, WORST_REFUND, WORST_OPENING)
BEGINNINGS: tuple[Beginning, ...] = (
    ("made", "succeeded", 30, ("part", "drop_after", True, (), 5.0), ("place", "drop_after", True, ("cancel",), 5.0)),
    ("card", "pending", 50, ("units", "500_after", True, (), DAY + 60), ("place", "500_after", True, ("cancel", "pay"), 5.0)),
    (
        "twice",
        "succeeded",
        50,
        ("part", "drop_after", True, ("pay",), 5.0),
        ("place", "drop_after", True, ("pay", "cancel"), MINUTE),
    ),
    ("less", "succeeded", 30, ("part", "drop_after", True, (), 5.0), ("place", "500_after", True, (), 21 * HOUR)),
    ("made", "requires_action", 99, ("cancel", "drop_after", True, (), DAY + 60), ("place", "drop_after", True, ("cancel",), HOUR)),
    ("card", "succeeded", 30, ("cancel", "500_after", True, ("restart",), 5.0), ("place", "drop_after", True, ("pay",), 5.0)),
    ("made", "pending", 30, ("part", "drop_before", True, ("dashboard",), 5.0), ("made", "drop_after", True, ("cancel",), 5.0)),
)
"""The suite has too few lives to leave these to chance; what follows them is left to it."""
PASSES = st.sampled_from([5.0, MINUTE, 10 * MINUTE, 31 * MINUTE, 6 * HOUR, DAY + 60, 3 * DAY, 8 * DAY])
FAULTS = st.sampled_from(["500", "500_after", "409", "429", "drop_before", "drop_after"])
TROUBLE = st.sampled_from([None, None, "500_after", "drop_before", "drop_after", "429"])
"""What becomes of the requests that a wish leads to, for longer than Stripe's library repeats them by itself."""
QUIET = (MINUTE, 20 * MINUTE, 2 * HOUR, DAY + 60, 3 * DAY, 5 * DAY, 2 * HOUR)
Json = dict[str, Any]


class Money(RuleBasedStateMachine):
    capture: ClassVar[Literal["automatic", "when_sliced"]] = "automatic"
    begun: ClassVar[dict[int, int]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.outer = ExitStack()
        self.folder = Path(self.outer.enter_context(tempfile.TemporaryDirectory()))
        self.outer.enter_context(_no_pauses_between_repeats())
        self.outer.enter_context(_no_search_for_what_is_not_installed())
        self.world = TickingWorld()
        self.stripe = self.outer.enter_context(stripe_double(clock=lambda: self.world.now().timestamp(), seed=1))
        self.keys: dict[str, str] = {}
        self.orders: list[Json] = []
        self.honest: set[str] = set()
        self.wished: dict[str, int] = {}  # what was asked for of each refund
        self.run(self.open())

    def run(self, work: Awaitable[Any]) -> Any:
        async def main() -> Any:
            return await work

        return self.runner.run(main())

    # the farm

    async def open(self) -> None:
        first = not self.keys
        self.stack = AsyncExitStack()
        kept = {"keys": self.keys or None}
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
        end, most = asyncio.get_running_loop().time() + 30, len(self.stripe.server.requests) + RESTLESS
        turns = 0
        while not (self.stripe.webhooks.idle and not self.farm.hand._busy and await self.farm.farm.store.read(self.nothing_due)):
            assert asyncio.get_running_loop().time() < end, "the till never came to rest"
            assert len(self.stripe.server.requests) < most, "the till asks and asks"
            turns += 1
            if turns % 20 == 0:  # a message that could not be dealt with waits for the next turn
                self.farm.farm.store.ring({till.TOPIC, till.INBOX})
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
                self.stripe.fail_next("POST", ".*", kind=trouble, times=REPEATED)
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

    def paid(self, number: int) -> int:
        """The place of an order whose money was taken; any, as long as there is none."""
        intent = self.taken(number)
        of = intent["metadata"]["order_id"] if intent else None
        return next((place for place, order in enumerate(self.orders) if order["id"] == of), number)

    def promise(self, number: int) -> Json | None:
        return self.pick(self.stripe.intents, number, lambda each: each["status"] == "requires_capture")

    # people who order, pay and change their minds

    @initialize(number=st.integers(0, 2**40), drawn=ANY_BEGINNING)
    def begin(self, number: int, drawn: Beginning) -> None:
        """Every life begins with the worst. Each of the suite's takes the next of its beginnings, and keeps it when it is replayed:
        `number` tells them apart."""
        place = self.begun.setdefault(number, len(self.begun))
        how, refunds, share, *lost = BEGINNINGS[place] if not LIVES and place < len(BEGINNINGS) else drawn
        self.stripe.refunds_start_as(refunds)
        self.place_another([("sku-odd", 3), (CUBE["id"], 1)], None, how)
        for scene in lost:
            self.at_any_moment()
            self.run(self.unheard(0, share, scene))

    @precondition(lambda self: len(self.orders) < MOST)
    @rule(lines=LINES, trouble=TROUBLE, how=FIRST)
    def place_another(self, lines: list[tuple[str, int]], trouble: str | None, how: str) -> None:
        self.step(self.place(lines), trouble)
        if how == "twice":  # whoever waits for the page asks for it once more
            self.step(self.post(-1, "checkout"))
        else:
            self.buyer_pays(-1, "card" if how == "made" else how)
            self.step(self.rest())
        if how == "made":
            self.step(self.work(-1, "queued"))

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

    @precondition(lambda self: self.open_session(0))
    @rule(number=NUMBERS, how=st.sampled_from(["card", "card", "card", "bank", "bank", "decline", "less", "more", "euros"]))
    def pay(self, number: int, how: str) -> None:
        self.buyer_pays(number, how)
        self.step(self.rest())

    @precondition(lambda self: self.debit(0))
    @rule(number=NUMBERS, ok=st.booleans())
    def the_bank_decides(self, number: int, ok: bool) -> None:
        self.settle_debit(number, ok)
        self.step(self.rest())

    def debit(self, number: int) -> Json | None:
        waits = {key for key, each in self.stripe.intents.items() if each["status"] == "processing"}
        return self.pick(self.stripe.sessions, number, lambda each: each["payment_intent"] in waits)

    def settle_debit(self, number: int, ok: bool) -> bool:
        session = self.debit(number)
        if session is None:
            return False
        self.stripe.settle_async(session["id"], ok)
        if ok:
            self.honest.add(session["client_reference_id"])
        return True

    async def wish(self, what: str, number: int, share: int = 100) -> None:
        """Whatever a person may ask of the farm."""
        match what:
            case "place":
                await (self.place([("sku-odd", 1)]) if len(self.orders) <= MOST else self.rest())
            case "part":
                amount = max(round(self.order(number)["total"] * share / 100, 2), 0.01)
                await self.refund(number, {"amount": amount})
            case "units":
                lines = self.order(number)["lineItems"]
                line = lines[share % len(lines)]
                await self.refund(number, {"lineItemId": line["id"], "quantity": 1 + share % line["quantity"]})
            case "refunds":
                await self.refund(number, {})
            case "made":
                await self.work(number, "queued")
            case "cancel":
                await self.post(number, "cancel")
                assert not await self.collected_after_all(number), "collected only to be given back"
            case _:
                await self.post(number, what)

    async def collected_after_all(self, number: int) -> list[str]:
        """The requests to collect what was promised for an order that were made when it was cancelled already."""
        calls = (
            select(t.payment_calls.c.id)
            .join(t.orders, t.orders.c.id == t.payment_calls.c.order_id)
            .where(t.orders.c.id == self.order(number)["id"], t.payment_calls.c.kind == Want.CAPTURE)
            .where(t.payment_calls.c.created_at > t.orders.c.cancelled_at)
        )
        return list(await self.farm.farm.store.read(lambda connection: connection.execute(calls).scalars().all()))

    async def refund(self, number: int, body: Json) -> None:
        answer = await self.post(number, "refunds", body)
        if "amount" in answer:
            self.wished[answer["id"]] = round(answer["amount"] * 100)

    @precondition(lambda self: len(self.honest) < len(self.orders))
    @rule(number=NUMBERS, trouble=TROUBLE)
    def new_checkout(self, number: int, trouble: str | None) -> None:
        unpaid = [place for place, order in enumerate(self.orders) if order["id"] not in self.honest]
        self.step(self.post(unpaid[number % len(unpaid)], "checkout"), trouble)

    @rule(number=NUMBERS, trouble=TROUBLE)
    def cancel(self, number: int, trouble: str | None) -> None:
        self.step(self.wish("cancel", number), trouble)

    @precondition(lambda self: self.taken(0))
    @rule(number=NUMBERS, what=st.sampled_from(["part", "units", "refunds"]), share=SHARES, trouble=TROUBLE)
    def give_back(self, number: int, what: str, share: int, trouble: str | None) -> None:
        self.step(self.wish(what, self.paid(number), share), trouble)

    @precondition(lambda self: self.taken(0))
    @rule(number=NUMBERS, share=SHARES, then=st.sampled_from(["cancel", "cancel", "refunds", "part", "dispute"]))
    def a_refund_on_its_way(self, number: int, share: int, then: str) -> None:
        """Money leaves slowly, and before it has arrived more is to go back."""
        self.stripe.refunds_start_as("pending")
        place = self.paid(number)
        self.step(self.wish("part", place, share))
        if then == "dispute":
            self.disputed(number)
            self.step(self.rest())
        else:
            self.step(self.wish(then, place, share))

    # the workshop

    async def work(self, number: int, how_far: str) -> None:
        await self.farm.farm.store.write(lambda tx: _make(tx, self.order(number)["id"], how_far))
        if how_far == "shipped":
            await self.post(number, "ship", {"trackingNumber": "1Z"})

    @precondition(lambda self: self.honest)
    @rule(number=NUMBERS, how_far=st.sampled_from(["queued", "ready", "shipped", "released"]))
    def work_goes_on(self, number: int, how_far: str) -> None:
        self.step(self.post(number, "release") if how_far == "released" else self.work(number, how_far))

    # the dashboard and the banks

    @precondition(lambda self: self.stripe.intents)
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
            elif intent := self.promise(number):
                (self.stripe.dashboard_capture if what == "capture" else self.stripe.dashboard_cancel)(intent["id"])

    @precondition(lambda self: self.taken(0))
    @rule(number=NUMBERS, share=SHARES, what=st.sampled_from(["refunds", "cancel", "part"]))
    def the_dashboard_was_first(self, number: int, share: int, what: str) -> None:
        """Farmd asks for more than is left, not knowing that somebody gave a part of it back."""
        intent = self.taken(number)
        assert intent is not None
        place = self.paid(number)
        self.stripe.webhooks.hold()
        with suppress(Refused):
            self.stripe.dashboard_refund(intent["id"], max(intent["amount"] * share // 100, 1))
        self.step(self.wish(what, place, share))
        self.stripe.webhooks.deliver()
        self.step(self.rest())

    @precondition(lambda self: self.taken(0))
    @rule(number=NUMBERS, share=st.sampled_from([100, 100, 50]))
    def dispute(self, number: int, share: int) -> None:
        self.disputed(number, share)
        self.step(self.rest())

    def disputed(self, number: int, share: int = 100) -> None:
        intent = self.taken(number)
        left = self.stripe.captured(intent["id"]) - self.stripe.refunded(intent["id"]) if intent else 0
        if intent and left > 0 and not self.stripe.charges[intent["latest_charge"]]["disputed"]:
            self.stripe.dispute(intent["id"], max(left * share // 100, 1))

    @precondition(lambda self: self.stripe.disputes)
    @rule(number=NUMBERS, won=st.booleans())
    def close_dispute(self, number: int, won: bool) -> None:
        found = self.pick(self.stripe.disputes, number, lambda each: each["status"] == "needs_response")
        if found:
            self.stripe.close_dispute(found["payment_intent"], won)
        self.step(self.rest())

    @precondition(lambda self: self.stripe.refunds)
    @rule(number=NUMBERS, end=st.sampled_from(["succeeded", "failed"]))
    def a_refund_ends(self, number: int, end: str) -> None:
        ripe = ("pending", "requires_action") if end == "succeeded" else ("pending", "requires_action", "succeeded")
        if found := self.pick(self.stripe.refunds, number, lambda each: each["status"] in ripe):
            self.stripe.settle_refund(found["id"], end)
        self.step(self.rest())

    @rule(status=st.sampled_from(REFUNDS))
    def refunds_start_as(self, status: str) -> None:
        self.stripe.refunds_start_as(status)

    @precondition(lambda self: self.promise(0))
    @rule(number=NUMBERS)
    def a_promise_lapses(self, number: int) -> None:
        if intent := self.promise(number):
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

    @precondition(lambda self: self.stripe.events)
    @rule(number=st.integers(0, 100))
    def an_old_message_again(self, number: int) -> None:
        known = list(self.stripe.events)
        status = self.run(_waited(self.stripe.send_event, known[number % len(known)]))
        assert status == 200
        self.step(self.rest())

    @precondition(lambda self: self.stripe.sessions)
    @rule(number=NUMBERS, signed=st.sampled_from([True, True, False]))
    def a_lie(self, number: int, signed: bool) -> None:
        """Forged, or signed and not true: the looks tell."""
        known = list(self.stripe.sessions.values())
        told = known[-1 - number % len(known)] | {"status": "complete", "payment_status": "paid"}
        secret = self.stripe.secret if signed else "whsec_forged"
        status = self.run(_waited(lambda: self.stripe.forge("checkout.session.completed", told, secret=secret)))
        assert status == (200 if signed else 400)
        self.step(self.rest())

    @rule(kind=FAULTS, times=st.sampled_from([1, 1, 3, 4, 9]), method=st.sampled_from(["POST", "POST", "GET", "*"]))
    def stripe_fails(self, kind: str, times: int, method: str) -> None:
        self.stripe.fail_next(method, ".*", kind=kind, times=times)

    def fails(self, method: str, kind: str, times: int) -> Fault:
        self.stripe.fail_next(method, ".*", kind=kind, times=times)
        return self.stripe.faults.queue[-1]

    @precondition(lambda self: self.taken(0))
    @rule(number=NUMBERS, share=SHARES, scene=REFUND_LOST)
    def a_refund_is_not_heard_of(self, number: int, share: int, scene: Scene) -> None:
        self.run(self.unheard(self.paid(number), share, scene))

    @rule(number=NUMBERS, scene=OPENING_LOST)
    def an_opening_is_not_heard_of(self, number: int, scene: Scene) -> None:
        self.run(self.unheard(number, 100, scene))

    @rule(number=NUMBERS, share=SHARES, scene=REFUND_LOST | OPENING_LOST)
    def an_answer_is_not_heard_of(self, number: int, share: int, scene: Scene) -> None:
        self.run(self.unheard(number, share, scene))

    async def unheard(self, number: int, share: int, scene: Scene) -> None:
        """An answer is lost, for longer than Stripe's library repeats the request, and mostly no message tells what became of it;
        meanwhile people go on."""
        what, kind, deaf, meanwhile, later = scene
        if deaf:
            self.stripe.webhooks.hold()
        fault = self.fails("POST", kind, REPEATED)
        number = -1 if what == "place" else number % len(self.orders)
        await self.wish(what, number, share)
        await self.rest()
        if fault in self.stripe.faults.queue:
            self.stripe.faults.queue.remove(fault)  # nothing, or less, was asked of Stripe
        for each in meanwhile:
            if each == "pay":
                self.buyer_pays(-1, "card")
            elif each == "dashboard":
                self.in_the_dashboard(number, "refund", share)
            elif each == "restart":
                await self.reopen()
            else:
                await self.wish(each, number, share)
            await self.rest()
        await self.forward(later)
        if deaf:
            self.stripe.webhooks.deliver()
        await self.rest()

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
        ours = self.fails("POST", kind, 1)
        asking = asyncio.create_task(self.wish(what, number))
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
                await self.wish(meanwhile, number)
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

    @rule(what=st.sampled_from(["the sweep", "nobody paid", "a new start"]))
    def the_house(self, what: str) -> None:
        self.step({"the sweep": self.sweep, "nobody paid": self.expire, "a new start": self.reopen}[what]())

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
        truths.what_is_known_is_acted_on(books, self.stripe)
        truths.only_what_can_go_back_is_asked_back(self.stripe)
        truths.what_failed_failed_at_stripe(books, self.stripe)

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
        truths.what_is_known_is_acted_on(books, self.stripe)
        truths.only_what_can_go_back_is_asked_back(self.stripe)
        truths.each_wish_is_one_refund(books, self.stripe, self.wished)
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


class _no_search_for_what_is_not_installed:  # noqa: N801 -- read as a sentence
    """At every request httpcore looks in vain for this package on the whole path; here it hears at once that there is none."""

    def __enter__(self) -> None:
        self.missing = "sniffio" not in sys.modules and find_spec("sniffio") is None
        if self.missing:
            sys.modules["sniffio"] = None  # type: ignore[assignment] # that is how Python says so

    def __exit__(self, *_error: object) -> None:
        if self.missing:
            del sys.modules["sniffio"]


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
    begun: ClassVar[dict[int, int]] = {}


SUITE = settings(
    max_examples=LIVES or len(BEGINNINGS),
    stateful_step_count=14,
    derandomize=not LIVES,
    database=None,
    phases=(Phase.generate, Phase.shrink) if os.environ.get("FARMD_SHRINK") else (Phase.generate,),  # takes minutes
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
Money.TestCase.settings = MoneyWhenSliced.TestCase.settings = SUITE
TestMoneyAtOnce, TestMoneyWhenSliced = Money.TestCase, MoneyWhenSliced.TestCase


def test_it_is_the_planted_farmd_that_lives() -> None:
    """Where faults are planted into a copy, the copy is what is tried."""
    assert Path(till.__file__).is_relative_to(os.environ.get("FARMD_PLANTED") or Path(__file__).parents[2])
