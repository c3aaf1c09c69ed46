"""A farm for tests: the real store on a SQLite file, the real application, and a clock that a test may turn.

    async with open_farm(tmp_path) as farm:
        answer = await farm.operator.get("/api/orders")

Nothing of farmd is replaced here; only the world (clock, ids) is a test's own.
"""

import asyncio
import contextlib
import inspect
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from farmd.api.app import Rooms, create_app
from farmd.config import Settings
from farmd.dashboard import pages
from farmd.domain.lifecycle import JobSignal
from farmd.domain.pricing import TaxRule
from farmd.events.feed import Feed
from farmd.fleet.registry import Registry
from farmd.payments.build import build_payments
from farmd.store.engine import Store, open_engine
from farmd.store.keys import create_key
from farmd.store.rows import get
from farmd.store.tables import jobs, metadata
from farmd.store.transitions import advance_job

CUBE = {
    "id": "sku-pla-black-20mm-cube",
    "name": "20 mm cube",
    "unitPrice": 12.5,
    "material": "PLA",
    "color": "#1a1a1a",
}
ADDRESS = {"name": "Jane Smith", "line1": "123 Main St", "city": "Portland", "state": "OR", "zip": "97201", "country": "US"}


class FarmWorld:
    """See `farmd.domain.ports.World`: time stands until `forward` is called, ids count up."""

    def __init__(self, start: datetime = datetime(2024, 1, 15, 10, tzinfo=UTC)) -> None:
        self._start, self._passed, self._numbers = start, 0.0, itertools.count(1)

    def forward(self, seconds: float) -> None:
        self._passed += seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        return 1000.0 + self._passed

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers):06d}"

    def chance(self) -> float:
        return 0.5

    def secret(self, size: int) -> str:
        return f"{next(self._numbers)}".rjust(size, "s")


@cache
def _empty_store() -> bytes:
    """A SQLite file with all tables: made once, since every test of the application begins with one."""
    with TemporaryDirectory() as folder:
        engine = open_engine(f"sqlite:///{folder}/farmd.db")
        metadata.create_all(engine)
        engine.dispose()
        return (Path(folder) / "farmd.db").read_bytes()


@asynccontextmanager
async def open_store(tmp_path: Path, world: Any = None) -> AsyncIterator[Store]:
    """A store on a fresh (or, the second time, the same) SQLite file, with all tables."""
    path = tmp_path / "farmd.db"
    if not path.exists():
        path.write_bytes(_empty_store())
    engine = open_engine(f"sqlite:///{path}")
    store = Store(engine, world or FarmWorld())
    try:
        yield store
    finally:
        await store.close()


def farm_settings(tmp_path: Path, **changes: Any) -> Settings:
    """The seed's shop: 8.00 shipping, 8.26 % tax on items and shipping."""
    known = {
        "directory": tmp_path,
        "files": tmp_path / "files",
        "shipping_flat": 800,
        "tax": TaxRule(Decimal("0.0826")),
    }
    return Settings(**(known | changes))


@dataclass
class Farm:
    """One running application and a client for each role. `customer` is the key of customer `cust-uuid`."""

    rooms: Rooms
    app: FastAPI
    world: FarmWorld
    store: Store
    admin: httpx.AsyncClient
    operator: httpx.AsyncClient
    customer: httpx.AsyncClient
    stranger: httpx.AsyncClient
    keys: dict[str, str] = field(default_factory=dict)

    async def add_sku(self, **changes: Any) -> dict[str, Any]:
        answer = await self.admin.post("/api/skus", json=CUBE | changes)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def place(self, quantity: int = 3, **changes: Any) -> dict[str, Any]:
        answer = await self.operator.post("/api/orders", json=order_body(quantity, **changes))
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def place_paid(self, quantity: int = 3, **changes: Any) -> dict[str, Any]:
        order = await self.place(quantity, **changes)
        answer = await self.operator.post(f"/api/orders/{order['id']}/pay", json={"reference": "cash"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def make_ready(self, order: dict[str, Any]) -> None:
        """Let every job of a paid order come to its end, without printers."""

        def work(tx: Any) -> None:
            for each in order["jobs"]:
                job = get(tx.connection, jobs, each["id"])
                for signal in (JobSignal.VALIDATE, JobSignal.SLICE, JobSignal.QUEUE):
                    job = advance_job(tx, job, signal)
                job = advance_job(tx, job, JobSignal.PRINTED, waiting=0, good=job["ordered"])
                advance_job(tx, job, JobSignal.FINISH)

        await self.store.write(work)


def order_body(quantity: Any = 3, **changes: Any) -> dict[str, Any]:
    """The seed's own order."""
    return {
        "customerId": "cust-uuid",
        "lineItems": [
            {
                "skuId": CUBE["id"],
                "quantity": quantity,
                "options": {"color": "#1a1a1a", "quality": "standard", "infill": 20},
            }
        ],
        "shippingAddress": ADDRESS,
        "notes": "Urgent — needed by Friday",
    } | changes


def _make_keys(tx: Any) -> dict[str, str]:
    return {
        "admin": create_key(tx, "admin", "admin"),
        "operator": create_key(tx, "operator", "operator"),
        "customer": create_key(tx, "customer", "customer", "cust-uuid"),
        "stranger": create_key(tx, "stranger", "customer", "cust-other"),
    }


async def no_validator(*_args: Any, **_kwargs: Any) -> Any:
    raise AssertionError("this test uploads no model")


@asynccontextmanager
async def open_farm(
    tmp_path: Path,
    *,
    world: Any = None,
    validate: Callable[..., Awaitable[Any]] = no_validator,
    printers: Any = (),
    keys: dict[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[Farm]:
    """The application on a store in `tmp_path`, with a key for each role (`keys` of an earlier opening still hold). Further
    arguments are fields of `Settings`."""
    world = world or FarmWorld()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(tmp_path, world))
        registry = Registry()
        registry.configure(tuple(printers))
        chosen = farm_settings(tmp_path, printers=tuple(printers), **settings)
        paying = build_payments(chosen, store, world)
        rooms = Rooms(chosen, store, world, registry, Feed(store), validate, payments=paying.provider, desk=paying.stripe)
        if paying.stripe is not None:
            stack.push_async_callback(paying.stripe.api.close)
            await stack.enter_async_context(_running(paying.stripe.till.run()))
            await stack.enter_async_context(_running(paying.stripe.inbox.run()))
        app = create_app(rooms, pages.router)
        keys = keys or await store.write(_make_keys)
        clients = {role: await stack.enter_async_context(client(app, key)) for role, key in keys.items()}
        yield Farm(rooms, app, world, store, **clients, keys=keys)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def client(app: FastAPI, key: str | None = None, **headers: str) -> httpx.AsyncClient:
    """An HTTP client that speaks to the application without a socket."""
    given = ({"X-API-Key": key} if key else {}) | headers
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://farm", headers=given)


def with_farm(**arguments: Any) -> Callable[..., Any]:
    """Make a pytest test of an async function whose first parameter is the farm; the others are fixtures and parameters."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def run(tmp_path: Path, **others: Any) -> None:
            async def main() -> None:
                async with open_farm(tmp_path, **arguments) as farm:
                    await test(farm, **others)

            asyncio.run(main())

        _, *others = inspect.signature(test).parameters.values()
        path = inspect.Parameter("tmp_path", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        run.__signature__ = inspect.Signature([path, *others])
        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        run.pytestmark = list(getattr(test, "pytestmark", []))
        return run

    return decorate


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(app: FastAPI) -> AsyncIterator[str]:
    """The application behind a real socket, as the daemon serves it; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


async def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return as soon as `condition()` holds; fail after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "waited in vain"
        await asyncio.sleep(0.01)
