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
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.farm import Farm, open_farm

PRICES = {"sku-odd": Decimal("3.33"), "sku-cheap": Decimal("0.01"), "sku-dear": Decimal("119.99")}
ORDER = ("pending_payment", "paid", "processing", "printing", "post_processing", "ready", "shipped")


@dataclass
class Life:
    """What must be true of one order."""

    id: str
    total: Decimal
    tax: Decimal
    lines: list[dict[str, Any]]
    paid: bool = False
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
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.stack = AsyncExitStack()
        self.lives: list[Life] = []
        self.farm: Farm = self.run(self.stack.enter_async_context(open_farm(Path(self.folder.name))))
        for sku, price in PRICES.items():
            self.run(self.farm.add_sku(id=sku, unitPrice=float(price)))

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        answer = self.run(self.farm.operator.post(f"/api/orders{path}", json=body or {}, headers=headers))
        return answer.status_code, json.loads(answer.text, parse_float=Decimal)

    @rule(target=orders, lines=st.lists(st.tuples(st.sampled_from(sorted(PRICES)), st.integers(1, 5)), min_size=1, max_size=3))
    def place(self, lines: list[tuple[str, int]]) -> Life:
        items = [{"skuId": sku, "quantity": quantity} for sku, quantity in lines]
        status, order = self.post("", {"customerId": "cust-uuid", "lineItems": items})
        assert status == 201
        subtotal = sum(PRICES[sku] * quantity for sku, quantity in lines)
        tax = ((subtotal + 8) * Decimal("0.0826")).quantize(Decimal("0.01"), "ROUND_HALF_UP")
        assert (order["subtotal"], order["tax"], order["total"]) == (subtotal, tax, subtotal + 8 + tax)
        life = Life(order["id"], order["total"], tax, order["lineItems"])
        self.lives.append(life)
        return life

    @rule(life=orders, twice=st.booleans())
    def pay(self, life: Life, twice: bool) -> None:
        allowed = not life.paid and not life.cancelled
        answers = [self.post(f"/{life.id}/pay", {"reference": "cash"}, **{"Idempotency-Key": f"pay-{life.id}"})]
        if twice:
            answers.append(self.post(f"/{life.id}/pay", {"reference": "cash"}, **{"Idempotency-Key": f"pay-{life.id}"}))
        if allowed:
            life.paid = True
            assert len(answers[0][1]["jobs"]) == len(life.lines)
        replayed = life.paid  # its answer of long ago is repeated, whatever became of the order
        assert {status for status, _ in answers} == {200 if allowed or replayed else 409}

    @rule(life=orders)
    def pay_anew(self, life: Life) -> None:
        if life.paid or life.cancelled:
            assert self.post(f"/{life.id}/pay")[0] == 409

    @rule(life=orders)
    def cancel(self, life: Life) -> None:
        status, order = self.post(f"/{life.id}/cancel", {"reason": "chance"})
        if life.shipped and not life.cancelled:
            assert status == 409
            return
        assert status == 200
        if not life.cancelled:
            expected = "pending" if life.left > 0 else "none"
            assert order["cancellation"]["refund"] == expected
        life.cancelled = True

    @rule(life=orders)
    def finish(self, life: Life) -> None:
        if life.paid and not life.cancelled and not life.ready:
            order = self.run(self.farm.operator.get(f"/api/orders/{life.id}")).json()
            self.run(self.farm.make_ready(order))
            life.ready = True

    @rule(life=orders)
    def ship(self, life: Life) -> None:
        status, _ = self.post(f"/{life.id}/ship", {"trackingNumber": "1Z"})
        if life.status == "ready":
            assert status == 200
            life.shipped = True
        else:
            assert status == 409

    @rule(life=orders, cents=st.integers(1, 20_000))
    def refund_amount(self, life: Life, cents: int) -> None:
        amount = Decimal(cents).scaleb(-2)
        status, refund = self.post(f"/{life.id}/refunds", {"amount": float(amount)})
        assert status == (201 if amount <= life.left else 409)
        if status == 201:
            assert refund["amount"] == amount
            life.refunded += amount

    @rule(life=orders)
    def refund_rest(self, life: Life) -> None:
        status, refund = self.post(f"/{life.id}/refunds")
        assert status == (201 if life.left > 0 else 409)
        if status == 201:
            assert refund["amount"] == life.left
            life.refunded += refund["amount"]

    @rule(life=orders, which=st.integers(0, 2), quantity=st.integers(1, 5))
    def refund_units(self, life: Life, which: int, quantity: int) -> None:
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

    @invariant()
    def the_books_agree(self) -> None:
        for life in self.lives:
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
        for life in self.lives:
            events = self.run(self.farm.customer.get(f"/api/orders/{life.id}/events")).json()["data"]
            told = [each["type"].removeprefix("order.") for each in events if each["type"].startswith("order.")]
            told = ["pending_payment" if word == "created" else word for word in told if word != "attention"]
            assert len(told) == len(set(told))
            forward = [ORDER.index(word) for word in told if word in ORDER]
            assert forward == sorted(forward)
            assert told[-1] == life.status


OrderMachine.TestCase.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestOrders = OrderMachine.TestCase
