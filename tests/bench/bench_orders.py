"""What orders cost: placed one after another and side by side, listed at 100,000, and moved from state to state.

    python -m tests.bench.bench_orders [ORDERS]

Prints figures, asserts nothing. The store is a SQLite file with full durability, as in a shop; the HTTP part goes through the whole
application without a socket.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import insert

from farmd.store import tables as t
from tests.farm import CUBE, Farm, open_farm, order_body

SIDE_BY_SIDE = 50
CHUNK = 10_000


def rate(count: int, seconds: float) -> str:
    return f"{count / seconds:8.0f}/s"


async def placing(farm: Farm, count: int) -> None:
    started = time.perf_counter()
    for _ in range(count):
        await farm.place()
    print(f"orders placed one by one      {rate(count, time.perf_counter() - started)}")
    started = time.perf_counter()
    for _ in range(count // SIDE_BY_SIDE):
        await asyncio.gather(*(farm.operator.post("/api/orders", json=order_body()) for _ in range(SIDE_BY_SIDE)))
    print(f"orders placed {SIDE_BY_SIDE} side by side  {rate(count, time.perf_counter() - started)}")


async def moving(farm: Farm, count: int) -> None:
    orders = [await farm.place_paid() for _ in range(count)]
    started = time.perf_counter()
    for order in orders:
        await farm.make_ready(order)  # five moves of one job, in one transaction
    print(f"job moves, 5 a transaction    {rate(5 * count, time.perf_counter() - started)}")


async def fill(farm: Farm, count: int) -> None:
    """Rows as `orders.place` writes them, without their events."""
    template = dict(await farm.store.read(lambda c: c.execute(t.orders.select().limit(1)).mappings().one()))
    line = dict(await farm.store.read(lambda c: c.execute(t.line_items.select().limit(1)).mappings().one()))

    def rows(first: int, last: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        orders = [
            template
            | {"id": f"ord-b{n:07d}", "created_at": template["created_at"] - timedelta(seconds=n), "customer_id": f"c-{n % 500}"}
            for n in range(first, last)
        ]
        return orders, [line | {"id": f"li-b{n:07d}", "order_id": f"ord-b{n:07d}"} for n in range(first, last)]

    for first in range(0, count, CHUNK):
        orders, lines = rows(first, min(first + CHUNK, count))

        def write(tx: Any, orders: Any = orders, lines: Any = lines) -> None:
            tx.connection.execute(insert(t.orders), orders)
            tx.connection.execute(insert(t.line_items), lines)

        await farm.store.write(write)


async def timed(name: str, ask: Callable[[], Awaitable[Any]], times: int = 15) -> Any:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        answer = await ask()
        taken.append(time.perf_counter() - started)
    print(f"{name:30}{1000 * median(taken):8.1f} ms")
    return answer


async def listing(farm: Farm) -> None:
    async def page(query: str) -> Any:
        answer = await farm.operator.get(f"/api/orders?{query}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    first = await timed("list, page 1", lambda: page("limit=20"))
    last = first["totalPages"]
    await timed(f"list, page {last // 2}", lambda: page(f"page={last // 2}&limit=20"))
    await timed(f"list, page {last} (last)", lambda: page(f"page={last}&limit=20"))
    await timed("list, by cursor", lambda: page(f"limit=20&cursor={first['nextCursor']}"))
    await timed("list, one customer", lambda: page("customerId=c-7&limit=20"))
    await timed("list, two statuses", lambda: page("status=paid,pending_payment&limit=20"))
    await timed("one order", lambda: farm.operator.get(f"/api/orders/{first['data'][0]['id']}"))
    await timed("metrics", lambda: farm.operator.get("/metrics"))


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_farm(Path(folder)) as farm:
            await farm.add_sku(id=CUBE["id"])
            await placing(farm, 500)
            await moving(farm, 100)
            await fill(farm, count)
            print(f"with {count} orders:")
            await listing(farm)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
