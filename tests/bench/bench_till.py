"""What paying through Stripe costs farmd: orders with a checkout each, messages taken in, a round over many open orders, and how
long a payment takes to become `order.paid`.

    python -m tests.bench.bench_till [OPEN_ORDERS]

Prints figures, asserts nothing. Stripe is the double in this very process, on a socket; its own thread's CPU is told apart, because
it is nothing that a farm would spend.
"""

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import orjson
import structlog
from sqlalchemy import insert

from farmd.store import tables as t
from tests.doubles import stripe_checkout
from tests.doubles.stripe_webhooks import signature
from tests.farm import order_body
from tests.till_farm import TillFarm, till_farm

LATENCY = 0.2
CLIENTS = 50
MESSAGES = 1000
PAYMENTS = 20
CHUNK = 1000


@contextmanager
def measured(farm: TillFarm, report: Callable[[float, str], None]) -> Any:
    """Seconds by the clock, and whose CPU they were."""
    double = time.pthread_getcpuclockid(farm.stripe.server._thread.ident)
    begun, cpu, theirs = time.perf_counter(), time.process_time(), time.clock_gettime(double)
    yield
    spent = time.clock_gettime(double) - theirs
    ours = time.process_time() - cpu - spent
    report(time.perf_counter() - begun, f"CPU: farmd and clients {ours:5.2f} s, the double {spent:5.2f} s")


def rate(name: str, count: int) -> Callable[[float, str], None]:
    return lambda seconds, cpu: print(f"{name:34}{count / seconds:8.1f}/s   ({cpu})")


async def placing(farm: TillFarm) -> None:
    farm.stripe.faults.latency = LATENCY
    with measured(farm, rate("orders, one by one", 10)):
        for _ in range(10):
            await farm.place()
    slow: list[float] = []

    async def place() -> None:
        begun = time.perf_counter()
        answer = await farm.farm.operator.post("/api/orders", json=order_body())
        slow.append(time.perf_counter() - begun)
        if answer.json()["checkoutUrl"] is None:
            print("   an order was answered without its checkout")

    with measured(farm, rate(f"orders, {CLIENTS} clients side by side", 4 * CLIENTS)):
        for _ in range(4):
            await asyncio.gather(*(place() for _ in range(CLIENTS)))
    print(f"   an answer took {1000 * median(slow):.0f} ms in the middle, {1000 * max(slow):.0f} ms at most")
    farm.stripe.faults.latency = 0.0
    await farm.is_quiet()


async def intake(farm: TillFarm) -> None:
    """Each message is durable before it is answered; the looks it asks for go on beside it."""
    order = await farm.place()
    found = farm.session(order)
    bodies = [_message(farm, f"evt_bench{number:06d}", found) for number in range(MESSAGES)]
    async with httpx.AsyncClient(base_url=farm.url, trust_env=False) as client:

        async def send(part: list[bytes]) -> None:
            for body in part:
                signed = signature(body, [farm.stripe.secret], int(farm.farm.world.now().timestamp()))
                answer = await client.post("/webhooks/stripe", content=body, headers={"Stripe-Signature": signed})
                answer.raise_for_status()

        for name, all_of_them in (("messages, each another", bodies), ("messages, the same again", bodies[:1] * MESSAGES)):
            with measured(farm, rate(name, MESSAGES)):
                await asyncio.gather(*(send(all_of_them[first::16]) for first in range(16)))
            with measured(farm, lambda seconds, cpu: print(f"   then at rest after {seconds:.2f} s   ({cpu})")):
                await farm.is_quiet(60)


def _message(farm: TillFarm, number: str, session: dict[str, Any]) -> bytes:
    event = {"id": number, "object": "event", "type": "checkout.session.completed", "livemode": False}
    return orjson.dumps(event | {"created": int(farm.stripe.now()), "data": {"object": session}})


async def paying(farm: TillFarm) -> None:
    for latency in (0.0, LATENCY):
        farm.stripe.faults.latency = latency
        taken = [await _one_payment(farm) for _ in range(PAYMENTS)]
        words = f"{1000 * median(taken):6.1f} ms in the middle, {1000 * max(taken):6.1f} ms at most"
        print(f"{f'payment to order.paid ({1000 * latency:.0f} ms away)':34}{words}")
    farm.stripe.faults.latency = 0.0


async def _one_payment(farm: TillFarm) -> float:
    order = await farm.place()
    bell = farm.farm.store.watch("orders")
    begun = time.perf_counter()
    farm.stripe.pay(farm.session(order)["id"])
    while not await farm.farm.store.read(lambda c: c.execute(t.events.select().where(_is_paid(order))).first()):
        await bell.wait(10)
    taken = time.perf_counter() - begun
    farm.farm.store.unwatch(bell)
    await farm.is_quiet()
    return taken


def _is_paid(order: dict[str, Any]) -> Any:
    return (t.events.c.type == "order.paid") & (t.events.c.order_id == order["id"])


async def fill(farm: TillFarm, count: int) -> None:
    """Open orders as the till leaves them, and their sessions in Stripe's own books."""
    order = await farm.place()
    tables = (t.orders, t.line_items, t.checkouts)
    rows = [dict(await farm.farm.store.read(lambda c, of=of: c.execute(_last(of)).mappings().one())) for of in tables]
    (call,) = farm.stripe.calls("POST", "/v1/checkout/sessions")[-1:]
    for first in range(0, count, CHUNK):
        copies: list[list[dict[str, Any]]] = [[], [], []]
        for number in range(first, min(first + CHUNK, count)):
            ids = {"order_id": f"ord-b{number:07d}"}
            with farm.stripe.server.lock:
                made = stripe_checkout.create(farm.stripe.books, call.params | {"client_reference_id": ids["order_id"]})
            copies[0].append(rows[0] | {"id": ids["order_id"]})
            copies[1].append(rows[1] | ids | {"id": f"li-b{number:07d}"})
            copies[2].append(rows[2] | ids | {"id": f"co-b{number:07d}", "session_id": made["id"], "look_at": None})

        def write(tx: Any, copies: Any = copies) -> None:
            for table, part in zip(tables, copies, strict=True):
                tx.connection.execute(insert(table), part)

        await farm.farm.store.write(write)
    print(f"with {count} open orders beside {order['id']}:")


def _last(table: Any) -> Any:
    return table.select().order_by(table.c.id.desc()).limit(1)


async def sweeping(farm: TillFarm) -> None:
    desk = farm.farm.rooms.desk
    assert desk is not None
    asked = len(farm.stripe.requests)
    for name in ("one round", "another round"):
        with measured(farm, lambda seconds, cpu, name=name: print(f"{name:34}{seconds:8.2f} s   ({cpu})")):
            await desk.sweep.round()
    print(f"   {(len(farm.stripe.requests) - asked) // 2} questions to Stripe each")
    for session in list(farm.stripe.sessions.values())[-100:]:
        farm.stripe.webhooks.drop()
        farm.stripe.pay(session["id"])
    with measured(farm, lambda seconds, cpu: print(f"{'a round that finds 100 payments':34}{seconds:8.2f} s   ({cpu})")):
        await desk.sweep.round()
        await farm.is_quiet(120)


async def main(count: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        async with till_farm(Path(folder)) as farm:
            await placing(farm)
            await intake(farm)
            await paying(farm)
            await fill(farm, count)
            await sweeping(farm)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
