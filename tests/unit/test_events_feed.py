"""The feed's pages and streams on a real store: nothing missed, nothing twice, nothing piled up."""

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import pytest

from farmd.events.feed import Feed
from farmd.store.engine import Store, Tx
from farmd.store.outbox import emit
from farmd.world import SystemWorld
from tests.farm import open_store
from tests.waiting import until


async def tell(store: Store, count: int, order: str | None = None) -> None:
    def work(tx: Tx) -> None:
        for number in range(count):
            emit(tx, "printer.attention", order_id=order, number=number)

    await store.write(work)


async def heard(feed: Feed, after: int | None, count: int) -> list[int]:
    async with aclosing(feed.stream(after)) as events:
        return [told.sequence async for told in _first(events, count)]


async def _first(events: Any, count: int) -> Any:
    async for told in events:
        yield told
        count -= 1
        if not count:
            return


def run(tmp_path: Path, test: Any, **options: Any) -> None:
    async def scenario() -> None:
        async with open_store(tmp_path, SystemWorld()) as store:
            await asyncio.wait_for(test(store, Feed(store, **options)), 20)

    asyncio.run(scenario())


def test_pages_go_on_where_the_last_one_ended(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        await tell(store, 5)
        first = await feed.page(0, 3)
        second = await feed.page(first[-1].sequence, 3)
        assert [told.sequence for told in first + second] == [1, 2, 3, 4, 5]
        body = orjson.loads(first[0].body)
        assert set(body) == {"type", "timestamp", "data"}
        assert body["data"] == {"sequence": 1, "number": 0}
        assert await feed.page(5, 3) == []

    run(tmp_path, test)


def test_a_stream_tells_the_past_and_then_what_is_committed(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        await tell(store, 450)
        hearing = asyncio.create_task(heard(feed, 3, 452))
        await until(lambda: feed._reader is not None)
        for _ in range(5):
            await tell(store, 1)
        assert await hearing == list(range(4, 456))

    run(tmp_path, test)


def test_without_a_beginning_a_stream_begins_now(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        await tell(store, 7)
        hearing = asyncio.create_task(heard(feed, None, 2))
        await until(lambda: feed._reader is not None)
        await tell(store, 2)
        assert await hearing == [8, 9]

    run(tmp_path, test)


def test_many_listeners_share_one_reader_and_it_ends_with_the_last(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        hearing = [asyncio.create_task(heard(feed, 0, 300)) for _ in range(50)]
        await until(lambda: feed._listeners == 50 and feed._reader is not None)
        assert sum(task.get_name() == "feed" for task in asyncio.all_tasks()) == 1
        for _ in range(30):
            await tell(store, 10)
        assert [await task for task in hearing] == [list(range(1, 301))] * 50
        await until(lambda: not any(task.get_name() == "feed" for task in asyncio.all_tasks()))
        assert store._watches["events"] == []

    run(tmp_path, test)


def test_a_listener_that_fell_behind_reads_on_from_the_store_and_nothing_piles_up(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        quick = asyncio.create_task(heard(feed, 0, 501))
        slow = feed.stream(0)
        async with aclosing(slow):
            await tell(store, 1)
            assert (await anext(slow)).sequence == 1
            for _ in range(50):
                await tell(store, 10)
            assert await quick == list(range(1, 502))
            assert len(feed._recent) == 10
            assert [(await anext(slow)).sequence for _ in range(500)] == list(range(2, 502))
            waiting = asyncio.ensure_future(anext(slow))
            await tell(store, 1)
            assert (await waiting).sequence == 502

    run(tmp_path, test, remembered=10)


def test_a_listener_can_come_back_after_everybody_left(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        await tell(store, 2)
        assert await heard(feed, 0, 2) == [1, 2]
        await tell(store, 3)
        assert await heard(feed, 2, 3) == [3, 4, 5]

    run(tmp_path, test)


def test_a_store_that_is_away_for_a_moment_costs_the_listener_nothing(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr("farmd.events.feed.STORE_REST_SECONDS", 0.05)

    async def test(store: Store, feed: Feed) -> None:
        hearing = asyncio.create_task(heard(feed, 0, 2))
        await until(lambda: feed._reader is not None)
        await tell(store, 1)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE events RENAME TO events_away")
        store.ring({"events"})
        await asyncio.sleep(0.1)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE events_away RENAME TO events")
        await tell(store, 1)
        assert await hearing == [1, 2]

    run(tmp_path, test)


def test_a_closed_feed_ends_its_streams(tmp_path: Path):
    async def test(store: Store, feed: Feed) -> None:
        await tell(store, 1)
        hearing = [asyncio.create_task(heard(feed, 0, 99)) for _ in range(3)]
        await until(lambda: feed._reader is not None)
        feed.close()
        assert all([await task in ([], [1]) for task in hearing])
        assert await heard(feed, 0, 1) == []

    run(tmp_path, test)


@pytest.mark.parametrize("ticks", range(5))
def test_a_watcher_cancelled_just_after_it_was_rung_is_cancelled(tmp_path: Path, ticks: int):
    async def test(store: Store, feed: Feed) -> None:
        watch = store.watch("events")
        waiting = asyncio.create_task(watch.wait(60))
        await asyncio.sleep(0)
        watch.ring()
        for _ in range(ticks):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(tmp_path, test)
