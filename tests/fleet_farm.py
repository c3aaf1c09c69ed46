"""A small farm for tests of the fleet: a real store, real supervisors and drivers, virtual OctoPrints on real sockets.

Jobs are put into the queue with a ready G-code file, so that nothing here needs a slicer.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import structlog

from drivers.contract import DriverFactory
from drivers.octoprint import factory
from drivers.virtual.octoprint import VirtualOctoPrint
from farmd.config import PrinterSettings, Settings
from farmd.domain.lifecycle import JobSignal
from farmd.domain.pricing import PricedLine, TaxRule, quote
from farmd.fleet.dispatcher import Dispatcher
from farmd.fleet.fleet import Fleet
from farmd.fleet.offers import class_of
from farmd.fleet.registry import Registry
from farmd.fleet.staging import Staging
from farmd.payments.manual import ManualPayments
from farmd.store import making, printing, sales
from farmd.store import tables as t
from farmd.store.engine import Store, Tx, open_engine
from farmd.store.rows import add, get
from farmd.store.views import order_view
from farmd.world import SystemWorld
from tests.waiting import pause

structlog.configure(  # a traceback drawn with its variables costs a loaded machine a second
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


class TurnableWorld(SystemWorld):
    """The real world, but for a clock that a test may turn forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def forward(self, seconds: float) -> None:
        self._ahead += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead


async def eventually(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until `look()` (sync or async) is truthy and return it; fail with its last answer after `seconds`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        answer = look()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if (waited := loop.time() - began) > seconds:
            raise AssertionError(f"still {answer!r} after {seconds} s")
        await asyncio.sleep(pause(waited))


def gcode(seconds: int) -> bytes:
    """A print that takes `seconds` at speed 1."""
    return f"; estimated printing time (normal mode) = {seconds}s\n".encode() + b"G1 X10 F6000\n" * 2000


class FleetFarm:
    """Everything between a queued job and a printer."""

    def __init__(self, folder: Path, printers: dict[str, VirtualOctoPrint], bed_clear: str = "manual") -> None:
        self.folder, self.virtual = folder, printers
        blocks = tuple(
            PrinterSettings(
                name,
                "octoprint",
                {"url": machine.url, "api_key": machine.api_key},
                material="PLA",
                color="#1a1a1a",
                bed_clear=bed_clear,
            )
            for name, machine in printers.items()
        )
        self.settings = Settings(
            directory=folder, store_url=f"sqlite:///{folder}/farmd.db", files=folder / "files", printers=blocks
        )
        self.sliced = folder / "files" / "sliced"
        self.sliced.mkdir(parents=True, exist_ok=True)
        self.world = TurnableWorld()
        self.factories: dict[str, DriverFactory] = {"octoprint": factory}

    async def open(self) -> None:
        """Boot, as the daemon does."""
        engine = open_engine(self.settings.store_url)
        t.metadata.create_all(engine)
        self.store = Store(engine, self.world)
        self.registry = Registry()
        self.fleet = Fleet(self.store, self.world, self.registry, Staging(self.sliced), self.factories, self.folder / "machines")
        await self.fleet.apply(self.settings)
        self.dispatcher = Dispatcher(self.store, self.world, self.registry)
        self._dispatch = asyncio.create_task(self.dispatcher.run())

    async def close(self) -> None:
        """Stop at once; what runs on the printers goes on."""
        self._dispatch.cancel()
        await asyncio.gather(self._dispatch, return_exceptions=True)
        await self.fleet.close()
        await self.store.close()

    async def clear(self, printer: str) -> None:
        """The operator takes the part off and clicks."""
        self.virtual[printer].clear_bed()
        await self.store.write(lambda tx: printing.clear_bed(tx, printer, "test"))

    async def order(self, *plates: int, seconds: int = 2, content: bytes = b"") -> str:
        """Place and pay an order of one line, queued as plates of these many copies, `content` each; returns its id."""
        content = content or gcode(seconds)
        key = hashlib.sha256(content).hexdigest()
        (self.sliced / f"{key}.gcode").write_bytes(content)
        artifact = {"key": key, "sha256": hashlib.sha256(content).hexdigest(), "seconds": seconds, "grams": 1.0}
        classes = {class_of(block).key: artifact for block in self.settings.printers}

        def write(tx: Tx) -> str:
            if tx.connection.execute(t.skus.select()).first() is None:
                now = tx.world.now()
                add(
                    tx, t.skus, id="cube", name="Cube", unit_price=1250, material="PLA", color="#1a1a1a", options=[],
                    quality_tiers={}, post_process=[], active=True, version=1, created_at=now, updated_at=now,
                )  # fmt: skip
            line = PricedLine("cube", sum(plates), 1250, {"color": "#1a1a1a"})
            new = sales.NewOrder(
                "cust", "USD", quote([line], 800, TaxRule(Decimal(0))), {}, None, tx.world.now() + timedelta(days=3)
            )
            order_id = sales.insert_order(tx, new)
            order = get(tx.connection, t.orders, order_id)
            ManualPayments().accept(tx, order, "cash")
            job_id = order_view(tx.connection, order_id)["jobs"][0]["id"]
            making.step(tx, job_id, JobSignal.VALIDATE)
            making.step(tx, job_id, JobSignal.SLICE)
            making.queue(tx, job_id, [making.NewPlate(copies, (20, 20, 20), classes) for copies in plates])
            return order_id

        return await self.store.write(write)

    async def view(self, order_id: str) -> dict[str, Any]:
        return await self.store.read(lambda c: order_view(c, order_id))

    async def status(self, order_id: str) -> str:
        return (await self.view(order_id))["status"]

    async def attempts(self) -> list[dict[str, Any]]:
        rows = await self.store.read(lambda c: c.execute(t.attempts.select().order_by(t.attempts.c.created_at)).mappings().all())
        return [dict(row) for row in rows]

    async def bed(self, printer: str) -> str:
        return (await self.store.read(lambda c: get(c, t.printers, printer)))["bed"]

    async def cancel(self, order_id: str) -> None:
        def write(tx: Tx) -> None:
            sales.record_cancellation(tx, get(tx.connection, t.orders, order_id), "test", ManualPayments().take_back)

        await self.store.write(write)

    async def told(self, order_id: str) -> list[str]:
        """The order's own events, in order."""
        query = t.events.select().where(t.events.c.order_id == order_id).order_by(t.events.c.sequence)
        rows = await self.store.read(lambda c: c.execute(query).mappings().all())
        return [row["type"] for row in rows if row["type"].startswith("order.")]


@asynccontextmanager
async def fleet_farm(folder: Path, count: int = 1, *, speed: float = 1.0, bed_clear: str = "manual", **virtual: Any):
    """A running farm with `count` printers `p1`..; beds are not clear yet."""
    machines = {f"p{number}": VirtualOctoPrint(speed=speed, **virtual) for number in range(1, count + 1)}
    for machine in machines.values():
        await machine.start()
    farm = FleetFarm(folder, machines, bed_clear)
    await farm.open()
    try:
        yield farm
    finally:
        await farm.close()
        for machine in machines.values():
            await machine.stop()


def play(story):
    """Run an async test."""
    return lambda *args, **named: asyncio.run(story(*args, **named))


async def printing_on(farm: FleetFarm, printer: str = "p1", seconds: int = 600) -> str:
    """An order whose only plate prints on `printer`; returns the order's id."""
    order = await farm.order(1, seconds=seconds)
    await farm.clear(printer)
    await eventually(lambda: status_is(farm, order, "printing"))
    return order


async def status_is(farm: FleetFarm, order: str, status: str) -> bool:
    return await farm.status(order) == status


async def bed_is(farm: FleetFarm, printer: str, *beds: str) -> bool:
    return await farm.bed(printer) in beds


async def one_in(farm: FleetFarm, *states: str):
    return next((attempt for attempt in await farm.attempts() if attempt["state"] in states), None)


async def away(farm: FleetFarm, printer: str = "p1") -> None:
    """The printer drops off the network; its machine goes on."""
    await farm.virtual[printer].go_offline()
    await eventually(lambda: not farm.registry.live(printer).connected)
