"""The feed over HTTP: pages, who may see what, and server-sent events from a real server over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from farmd.store.engine import Tx
from farmd.store.outbox import emit
from tests.farm import Farm, open_farm, order_body
from tests.plain_http import NO_TLS
from tests.waiting import until

pytestmark = pytest.mark.slow  # each opens a whole farm; orders and SKUs stand for them in make check


@asynccontextmanager
async def serving(farm: Farm) -> AsyncIterator[str]:
    """The application behind uvicorn on a free port; yields its URL."""
    server = uvicorn.Server(uvicorn.Config(farm.app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listener]))
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


async def heard(url: str, key: str, count: int, **headers: str) -> list[dict[str, str]]:
    """The first `count` events of a stream, as their fields."""
    found: list[dict[str, str]] = [{}]
    async with (
        httpx.AsyncClient(timeout=15, verify=NO_TLS) as client,
        client.stream("GET", url, headers={"X-API-Key": key} | headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                found[-1][name] = value
            elif found[-1]:
                if len(found) == count:
                    return found
                found.append({})
    raise AssertionError(f"the stream ended after {found}")


async def tell(farm: Farm, count: int) -> None:
    def work(tx: Tx) -> None:
        for number in range(count):
            emit(tx, "printer.attention", number=number)

    await farm.store.write(work)


def run(tmp_path: Path, test: Any) -> None:
    async def scenario() -> None:
        async with open_farm(tmp_path) as farm:
            await asyncio.wait_for(test(farm), 30)

    asyncio.run(scenario())


def test_pages_and_their_words(tmp_path: Path):
    async def test(farm: Farm) -> None:
        await farm.add_sku()
        order = await farm.place()
        await tell(farm, 3)
        page = (await farm.operator.get("/api/events?limit=2")).json()
        assert [event["data"]["sequence"] for event in page["data"]] == [1, 2]
        first = page["data"][0]
        assert first["type"] == "order.created"
        assert first["timestamp"].endswith("Z")
        assert first["data"]["orderId"] == order["id"]
        assert first["data"]["order"]["total"] == 4926, "money in events is in minor units"
        rest = (await farm.admin.get(f"/api/events?after={page['nextAfter']}")).json()
        assert [event["data"]["sequence"] for event in rest["data"]] == [3, 4]
        assert (await farm.admin.get("/api/events?after=4")).json() == {"data": [], "nextAfter": 4}

    run(tmp_path, test)


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "after=99999999999999999999"])
def test_a_bad_query_names_the_parameter(tmp_path: Path, query: str):
    async def test(farm: Farm) -> None:
        answer = await farm.operator.get(f"/api/events?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == f"?{query.split('=')[0]}"

    run(tmp_path, test)


def test_a_customer_sees_its_own_orders_and_nothing_else(tmp_path: Path):
    async def test(farm: Farm) -> None:
        await farm.add_sku()
        mine = await farm.place()
        body = order_body(customerId="cust-other")
        theirs = (await farm.operator.post("/api/orders", json=body)).json()
        await tell(farm, 2)
        for client, order in ((farm.customer, mine), (farm.stranger, theirs)):
            events = (await client.get("/api/events")).json()["data"]
            assert {event["data"].get("orderId") for event in events} == {order["id"]}
        async with serving(farm) as url:
            hearing = asyncio.create_task(heard(f"{url}/api/events/stream?after=0", farm.keys["stranger"], 2))
            await until(lambda: farm.rooms.feed._reader is not None)
            await tell(farm, 1)
            await farm.operator.post(f"/api/orders/{mine['id']}/cancel", json={"reason": "no"})
            await farm.operator.post(f"/api/orders/{theirs['id']}/cancel", json={"reason": "no"})
            events = await hearing
        assert [event["event"] for event in events] == ["order.created", "order.cancelled"]
        assert {orjson.loads(event["data"])["data"]["orderId"] for event in events} == {theirs["id"]}

    run(tmp_path, test)


def test_a_stream_goes_on_after_the_last_event_id(tmp_path: Path):
    async def test(farm: Farm) -> None:
        await tell(farm, 4)
        async with serving(farm) as url:
            key = farm.keys["operator"]
            first = await heard(f"{url}/api/events/stream?after=1", key, 2)
            assert [(event["id"], event["event"]) for event in first] == [("2", "printer.attention"), ("3", "printer.attention")]
            hearing = asyncio.create_task(heard(f"{url}/api/events/stream?after=1", key, 3, **{"Last-Event-ID": first[-1]["id"]}))
            await until(lambda: farm.rooms.feed._reader is not None)
            await tell(farm, 2)
            resumed = await hearing
            assert [event["id"] for event in resumed] == ["4", "5", "6"]
            body = orjson.loads(resumed[0]["data"])
            assert (body["type"], body["data"]["sequence"]) == ("printer.attention", 4)
            page = (await farm.operator.get("/api/events?after=3&limit=1")).json()
            assert page["data"] == [body], "the page and the stream say the same"

    run(tmp_path, test)


def test_a_stream_without_a_key_or_with_a_bad_last_event_id_is_refused(tmp_path: Path):
    async def test(farm: Farm) -> None:
        async with serving(farm) as url, httpx.AsyncClient(base_url=url, verify=NO_TLS) as client:
            assert (await client.get("/api/events/stream")).status_code == 401
            for bad in ("x", "-1", "1.5", "9" * 30):
                headers = {"X-API-Key": farm.keys["operator"], "Last-Event-ID": bad}
                answer = await client.get("/api/events/stream", headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), bad

    run(tmp_path, test)


def test_a_listener_that_leaves_is_forgotten(tmp_path: Path):
    async def test(farm: Farm) -> None:
        await tell(farm, 1)
        async with serving(farm) as url:
            await asyncio.gather(*[heard(f"{url}/api/events/stream?after=0", farm.keys["admin"], 1) for _ in range(10)])
            await until(lambda: farm.rooms.feed._listeners == 0)
            assert farm.rooms.feed._reader is None

    run(tmp_path, test)
