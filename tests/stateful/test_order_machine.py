"""Random lives of orders against a model of the money: what was paid, what went back, and what no sequence of commands may do.

Runs the real application on a real store. After every step each order is compared with the model: amounts to the cent, its status,
and the events it told.
"""

import asyncio
import json
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.farm import Farm, open_farm

PRICES = {"sku-odd": Decimal("3.33"), "sku-cheap": Decimal("0.01"), "sku-dear": Decimal("119.99")}
LINES = st.lists(st.tuples(st.sampled_from(sorted(PRICES)), st.integers(1, 5)), min_size=1, max_size=3)
NUMBERS = st.integers(0, 2)
ORDER = ("pending_payment", "paid", "processing", "printing", "post_processing", "ready", "shipped")


@dataclass
class Life:
    """What must be true of one order."""

    id: str
    total: Decimal
    tax: Decimal
    lines: list[dict[str, Any]]
    paid: bool = False
    paid_by_key: bool = False
    ready: bool = False
    shipped: bool = False
    cancelled: bool = False
    refunded: Decimal = Decimal(0)
    units_back: dict[str, int] = field(default_factory=dict)

    @property
    def captured(self) -> Decimal:
        return self.total if self.paid else Decimal(0)

    @property
    def left(self) -> Decimal:
        return self.captured - self.refunded

    @property
    def status(self) -> str:
        if self.cancelled:
            return "cancelled"
        if self.paid and self.left == 0:
            return "refunded"
        return "shipped" if self.shipped else "ready" if self.ready else "paid" if self.paid else "pending_payment"


class OrderMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.lives: list[Life] = []
        self.touched: list[Life] = []
        self.farm: Farm = self.run(self.stack.enter_async_context(open_farm(Path(self.folder.name))))
        for sku, price in PRICES.items():
            self.run(self.farm.add_sku(id=sku, unitPrice=float(price)))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.touched = self.lives
        self.the_books_agree()
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def one(self, number: int) -> Life:
        """An order to work on; the invariants look at it afterwards."""
        self.touched = [self.lives[number % len(self.lives)]]
        return self.touched[0]

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        answer = self.run(self.farm.operator.post(f"/api/orders{path}", json=body or {}, headers=headers))
        return answer.status_code, json.loads(answer.text, parse_float=Decimal)

    @initialize(lines=LINES, paid=st.booleans())
    def begin(self, lines: list[tuple[str, int]], paid: bool) -> None:
        self.place(lines, paid)

    @precondition(lambda self: len(self.lives) < 3)
    @rule(lines=LINES, paid=st.booleans())
    def place_another(self, lines: list[tuple[str, int]], paid: bool) -> None:
        self.place(lines, paid)

    def place(self, lines: list[tuple[str, int]], paid: bool) -> None:
        items = [{"skuId": sku, "quantity": quantity} for sku, quantity in lines]
        status, order = self.post("", {"customerId": "cust-uuid", "lineItems": items})
        assert status == 201
        subtotal = sum(PRICES[sku] * quantity for sku, quantity in lines)
        tax = ((subtotal + 8) * Decimal("0.0826")).quantize(Decimal("0.01"), "ROUND_HALF_UP")
        assert (order["subtotal"], order["tax"], order["total"]) == (subtotal, tax, subtotal + 8 + tax)
        assert sum(line["tax"] for line in order["lineItems"]) + order["shippingTax"] == tax
        life = Life(order["id"], order["total"], tax, order["lineItems"])
        self.lives.append(life)
        self.touched = [life]
        if paid:
            assert self.post(f"/{life.id}/pay")[0] == 200
            life.paid = True

    @rule(number=NUMBERS, twice=st.booleans())
    def pay(self, number: int, twice: bool) -> None:
        life = self.one(number)
        allowed = not life.paid and not life.cancelled
        answers = [self.post(f"/{life.id}/pay", {"reference": "cash"}, **{"Idempotency-Key": f"pay-{life.id}"})]
        if twice:
            answers.append(self.post(f"/{life.id}/pay", {"reference": "cash"}, **{"Idempotency-Key": f"pay-{life.id}"}))
        if allowed:
            life.paid = True
            assert len(answers[0][1]["jobs"]) == len(life.lines)
            life.paid_by_key = True
        # an answer once given under this key is repeated, whatever became of the order
        assert {status for status, _ in answers} == {200 if life.paid_by_key else 409}

    @rule(number=NUMBERS)
    def pay_anew(self, number: int) -> None:
        life = self.one(number)
        if life.paid or life.cancelled:
            assert self.post(f"/{life.id}/pay")[0] == 409

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        life = self.one(number)
        status, order = self.post(f"/{life.id}/cancel", {"reason": "chance"})
        if life.shipped and not life.cancelled:
            assert status == 409
            return
        assert status == 200
        if not life.cancelled:
            expected = "pending" if life.left > 0 else "none"
            assert order["cancellation"]["refund"] == expected
        life.cancelled = True

    @rule(number=NUMBERS)
    def finish(self, number: int) -> None:
        life = self.one(number)
        if life.paid and not life.cancelled and not life.ready:
            order = self.run(self.farm.operator.get(f"/api/orders/{life.id}")).json()
            self.run(self.farm.make_ready(order))
            life.ready = True

    @rule(number=NUMBERS)
    def ship(self, number: int) -> None:
        life = self.one(number)
        status, _ = self.post(f"/{life.id}/ship", {"trackingNumber": "1Z"})
        if life.status == "ready":
            assert status == 200
            life.shipped = True
        else:
            assert status == 409

    @rule(number=NUMBERS, share=st.integers(1, 110))
    def refund_amount(self, number: int, share: int) -> None:
        life = self.one(number)
        amount = max(Decimal("0.01"), (life.left * share / 100).quantize(Decimal("0.01")))
        status, refund = self.post(f"/{life.id}/refunds", {"amount": float(amount)})
        assert status == (201 if amount <= life.left else 409)
        if status == 201:
            assert refund["amount"] == amount
            life.refunded += amount

    @rule(number=NUMBERS)
    def refund_rest(self, number: int) -> None:
        life = self.one(number)
        status, refund = self.post(f"/{life.id}/refunds")
        assert status == (201 if life.left > 0 else 409)
        if status == 201:
            assert refund["amount"] == life.left
            life.refunded += refund["amount"]

    @rule(number=NUMBERS, which=st.integers(0, 2), quantity=st.integers(1, 5))
    def refund_units(self, number: int, which: int, quantity: int) -> None:
        life = self.one(number)
        line = life.lines[which % len(life.lines)]
        done = life.units_back.get(line["id"], 0)
        status, refund = self.post(f"/{life.id}/refunds", {"lineItemId": line["id"], "quantity": quantity})
        least = line["unitPrice"] * quantity
        if status == 409:
            assert done + quantity > line["quantity"] or life.left < least + life.tax
            return
        assert status == 201
        assert done + quantity <= line["quantity"]
        assert least <= refund["amount"] <= least + life.tax
        if refund["quantity"] is not None:
            life.units_back[line["id"]] = done + quantity
        life.refunded += refund["amount"]

    @rule(number=NUMBERS, which=st.integers(0, 2))
    def refund_a_line_and_try_for_more(self, number: int, which: int) -> None:
        life = self.one(number)
        line = life.lines[which % len(life.lines)]
        status, refund = self.post(f"/{life.id}/refunds", {"lineItemId": line["id"]})
        if status == 409:
            return
        life.refunded += refund["amount"]
        if refund["quantity"] is not None:
            assert life.units_back.get(line["id"], 0) + refund["quantity"] == line["quantity"]
            life.units_back[line["id"]] = line["quantity"]
        assert self.post(f"/{life.id}/refunds", {"lineItemId": line["id"], "quantity": 1})[0] == 409

    @invariant()
    def the_books_agree(self) -> None:
        for life in self.touched:
            text = self.run(self.farm.customer.get(f"/api/orders/{life.id}")).text
            order = json.loads(text, parse_float=Decimal)
            assert (order["captured"], order["refunded"], order["status"]) == (life.captured, life.refunded, life.status)
            assert 0 <= order["refunded"] <= order["captured"] <= order["total"]
            refunds = json.loads(self.run(self.farm.customer.get(f"/api/orders/{life.id}/refunds")).text, parse_float=Decimal)[
                "data"
            ]
            assert sum(each["amount"] for each in refunds if each["status"] == "succeeded") == life.refunded
            owed = sum(each["amount"] for each in refunds if each["status"] == "pending")
            assert owed == (life.left if life.cancelled else 0)
            assert [entry["code"] for entry in order["attention"]] == (["refund_due"] if owed else [])

    @invariant()
    def each_status_is_told_once_and_in_order(self) -> None:
        for life in self.touched:
            events = self.run(self.farm.customer.get(f"/api/orders/{life.id}/events")).json()["data"]
            told = [each["type"].removeprefix("order.") for each in events if each["type"].startswith("order.")]
            told = ["pending_payment" if word == "created" else word for word in told if word != "attention"]
            assert len(told) == len(set(told))
            forward = [ORDER.index(word) for word in told if word in ORDER]
            assert forward == sorted(forward)
            assert told[-1] == life.status


OrderMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestOrders = OrderMachine.TestCase
