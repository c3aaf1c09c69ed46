"""What paying through Stripe costs farmd: orders with a checkout each, messages taken in, the way from a payment to `order.paid`,
and a round over many open orders.

    python -m tests.bench.bench_till [OPEN_ORDERS]

Prints figures, asserts nothing. Stripe and the customers are processes of their own, so the CPU is farmd's alone; the clock is the
real one, the store a SQLite file with full durability.
"""

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import structlog
from sqlalchemy import func, insert, select

from farmd.config import StripeSettings
from farmd.store import tables as t
from farmd.store import till
from farmd.world import SystemWorld
from tests.bench.outside import Outside, crowd_process, outside, stripe_process
from tests.farm import Farm, open_farm, order_body, serve

LATENCY = 0.2
CLIENTS, EACH = 50, 4
MESSAGES = 500
PAYMENTS = 60
CHUNK = 1000
BEAT = 0.002  # seconds between two looks at how late the loop is


@dataclass
class Bench:
    """A farm, its Stripe and its customers."""

    farm: Farm
    stripe: Outside
    crowd: Outside
    url: str
    secret: str

    @property
    def desk(self) -> Any:
        return self.farm.rooms.desk

    async def is_quiet(self) -> None:
        """Wait until nothing is due at the till and no message is on its way."""
        bell = self.farm.store.watch(till.TOPIC, till.INBOX)
        while not await self.stripe.ask("idle") or await self.farm.store.read(self._is_due) or self.desk.till._busy:
            await bell.wait(0.02)
        self.farm.store.unwatch(bell)

    def _is_due(self, connection: Any) -> bool:
        return bool(till.due(connection, self.farm.world.now(), (), 1) or till.new_messages(connection, 1))

    async def sessions(self, state: str = "OPEN") -> list[str]:
        mine = select(t.checkouts.c.session_id).where(t.checkouts.c.state == state)
        return list(await self.farm.store.read(lambda c: c.execute(mine.order_by(t.checkouts.c.created_at)).scalars().all()))

    async def paid(self) -> int:
        query = select(func.count()).where(t.orders.c.paid_at.is_not(None))
        return int(await self.farm.store.read(lambda c: c.execute(query).scalar_one()))


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    with outside(stripe_process) as stripe, outside(crowd_process) as crowd:
        address, key, secret = await stripe.ask("door")
        settings = StripeSettings(key, webhook_secrets=(secret,), api_base=address, success_url="https://shop.test/thanks")
        async with (
            open_farm(folder, world=SystemWorld(), payment_provider="stripe", stripe=settings) as farm,
            serve(farm.app) as url,
        ):
            await stripe.ask("deliver_to", f"{url}/webhooks/stripe")
            await farm.add_sku()
            await farm.place()
            yield Bench(farm, stripe, crowd, url, secret)


def tell(name: str, figure: float, unit: str, more: str = "") -> None:
    print(f"{name:44}{figure:10.1f} {unit:12}{more}", flush=True)


async def rate(name: str, count: int, work: Awaitable[Any]) -> Any:
    """Do it, and tell how many that were in a second, and farmd's CPU for each."""
    begun, cpu = time.perf_counter(), time.process_time()
    found = await work
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    tell(name, count / seconds, "/s", f"farmd's CPU {1000 * cpu / count:.1f} ms each")
    return found


async def with_longest_stall(work: Awaitable[Any]) -> float:
    """Do it; the longest time that the loop was kept from doing anything else, in seconds."""
    late = 0.0

    async def watch() -> None:
        nonlocal late
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(BEAT)
            late = max(late, time.perf_counter() - begun - BEAT)

    watching = asyncio.create_task(watch())
    await work
    watching.cancel()
    return late


async def placing(bench: Bench) -> None:
    def order(clients: int, each: int) -> Awaitable[Any]:
        return bench.crowd.ask("order", bench.url, bench.farm.keys["operator"], order_body(), clients, each)

    await bench.stripe.ask("latency", LATENCY)
    away = f"Stripe {1000 * LATENCY:.0f} ms away"
    await rate(f"orders, one client, {away}", 10, order(1, 10))
    found = await rate(f"orders, {CLIENTS} clients, {away}", CLIENTS * EACH, order(CLIENTS, EACH))
    taken = [seconds for seconds, _, _ in found]
    tell("  until an answer, median", 1000 * median(taken), "ms", f"{1000 * max(taken):.0f} ms at most")
    tell("  refused", sum(status != 201 for _, status, _ in found), "orders")
    tell("  answered without a checkoutUrl", sum(not has_place for _, _, has_place in found), "orders")
    await bench.stripe.ask("latency", 0.0)
    await bench.is_quiet()
    await rate(f"orders, {CLIENTS} clients, Stripe near", CLIENTS * EACH, order(CLIENTS, EACH))
    await bench.is_quiet()


async def intake(bench: Bench) -> None:
    """Each message is durable before it is answered; the looks it asks for go on beside it."""
    session = (await bench.sessions())[0]
    bodies = await bench.stripe.ask("messages", session, [f"evt_bench{number:06d}" for number in range(MESSAGES)])
    for name, messages in (("each another", bodies), ("the same again", bodies[:1] * MESSAGES)):
        sent = bench.crowd.ask("tell", bench.url, bench.secret, messages, 16)
        statuses = await rate(f"webhooks, {name}", MESSAGES, sent)
        if statuses != [200] * MESSAGES:
            tell("  refused", sum(status != 200 for status in statuses), "webhooks")
    await bench.is_quiet()


async def paying(bench: Bench) -> None:
    """Customers pay at Stripe, Stripe tells, farmd asks back."""
    sessions = await bench.sessions()

    async def until_paid(some: list[str]) -> None:
        bell = bench.farm.store.watch("orders")
        goal = await bench.paid() + len(some)
        await bench.stripe.ask("pay", some)
        while await bench.paid() < goal:
            await bell.wait(1)
        bench.farm.store.unwatch(bell)

    for latency, name in ((LATENCY, f"{1000 * LATENCY:.0f} ms away"), (0.0, "near")):
        await bench.stripe.ask("latency", latency)
        some, sessions = sessions[:PAYMENTS], sessions[PAYMENTS:]
        await rate(f"payments to order.paid, Stripe {name}", PAYMENTS, until_paid(some))
        await bench.is_quiet()
    taken = []
    for session in sessions[:20]:
        begun = time.perf_counter()
        await until_paid([session])
        taken.append(time.perf_counter() - begun)
        await bench.is_quiet()
    tell("one payment to order.paid, median", 1000 * median(taken), "ms", f"{1000 * max(taken):.0f} ms at most")


async def fill(bench: Bench, count: int) -> None:
    """Open orders as the till leaves them, and their sessions in Stripe's own books."""
    order = await bench.farm.place()
    await bench.is_quiet()
    mine = {t.orders: t.orders.c.id, t.line_items: t.line_items.c.order_id, t.checkouts: t.checkouts.c.order_id}

    def read(connection: Any) -> list[dict[str, Any]]:
        return [dict(connection.execute(select(of).where(key == order["id"])).mappings().one()) for of, key in mine.items()]

    whole, line, checkout = await bench.farm.store.read(read)
    for first in range(0, count, CHUNK):
        numbers = range(first, min(first + CHUNK, count))
        sessions = await bench.stripe.ask("open", order["id"], [f"ord-b{number:07d}" for number in numbers])
        new: dict[str, list[dict[str, Any]]] = {"orders": [], "line_items": [], "checkouts": []}
        for number, session in zip(numbers, sessions, strict=True):
            ids = {"order_id": f"ord-b{number:07d}"}
            new["orders"].append(whole | {"id": ids["order_id"]})
            new["line_items"].append(line | ids | {"id": f"li-b{number:07d}"})
            new["checkouts"].append(checkout | ids | {"id": f"co-b{number:07d}", "session_id": session})

        def write(tx: Any, new: dict[str, list[dict[str, Any]]] = new) -> None:
            for table in mine:
                tx.connection.execute(insert(table), new[table.name])

        await bench.farm.store.write(write)


async def sweeping(bench: Bench, count: int) -> None:
    async def round_of(name: str, work: Callable[[], Awaitable[None]]) -> None:
        asked, begun, cpu = await bench.stripe.ask("asked"), time.perf_counter(), time.process_time()
        stall = await with_longest_stall(work())
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        tell(f"{name}, {count} open orders", seconds, "s", f"farmd's CPU {cpu:.1f} s")
        tell("  questions to Stripe", await bench.stripe.ask("asked") - asked, "requests")
        tell("  the loop's longest stall", 1000 * stall, "ms")

    async def with_payments() -> None:
        await bench.desk.sweep.round()
        await bench.is_quiet()

    await round_of("a round", bench.desk.sweep.round)
    await bench.stripe.ask("silence")
    await bench.stripe.ask("pay", (await bench.sessions())[:100])
    await round_of("a round that finds 100 payments", with_payments)


async def main(count: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        async with bench(Path(folder)) as everything:
            await placing(everything)
            await intake(everything)
            await paying(everything)
            await fill(everything, count)
            await sweeping(everything, count)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
