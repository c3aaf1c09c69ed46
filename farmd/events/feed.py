"""The feed: everything that was ever committed, in order, as pages and as an endless stream.

One task reads the store's new events for however many listen; they share its short memory, and whoever has fallen further behind
reads pages from the store at its own pace. Nothing is buffered per listener, so none can make farmd grow: a listener that does not
read at all is dropped by the sender's own deadline.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from itertools import takewhile

import structlog

from farmd.store.engine import Store, StoreFailed
from farmd.store.feed import Told, events_after, head

PAGE = 200
REMEMBERED = 1000
LOOK_AGAIN_SECONDS = 60.0  # another process may have written; its commits ring no bell here
STORE_REST_SECONDS = 5.0
log = structlog.get_logger()


class Feed:
    """Pages and streams over one store's events."""

    def __init__(self, store: Store, *, remembered: int = REMEMBERED) -> None:
        self._store = store
        self._recent: deque[Told] = deque(maxlen=remembered)
        self._known_after = 0  # every event after this one up to the newest read is in `_recent`
        self._newest = 0
        self._turn = asyncio.Event()
        self._starting = asyncio.Lock()
        self._listeners = 0
        self._closed = False
        self._reader: asyncio.Task[None] | None = None

    async def page(self, after: int, limit: int, customer_id: str | None = None) -> list[Told]:
        """At most `limit` events after sequence `after`, oldest first; with a customer, only those of its own orders."""
        return await self._store.read(lambda connection: events_after(connection, after, limit, customer_id))

    async def stream(self, after: int | None = None, customer_id: str | None = None) -> AsyncGenerator[Told, None]:
        """Every event after sequence `after`, or from now on without one, as it is committed, until the feed is closed.
        Close the iterator when done with it."""
        last = await self._store.read(head) if after is None else after
        await self._join()
        try:
            while not self._closed:
                turn, known = self._turn, self._known_after  # taken before looking, so that what comes meanwhile is not missed
                if last < known:
                    page = await self.page(last, PAGE, customer_id)
                    for told in page:
                        last = told.sequence
                        yield told
                    if len(page) < PAGE:
                        last = max(last, known)
                    continue
                fresh = self._remembered_after(last)
                for told in fresh:
                    last = told.sequence
                    if customer_id is None or told.customer_id == customer_id:
                        yield told
                if not fresh:
                    await turn.wait()
        finally:
            self._leave()

    def close(self) -> None:
        """End every stream now: open connections must not hold up a stop. Pages can still be read."""
        self._closed = True
        self._turn.set()

    def _remembered_after(self, last: int) -> list[Told]:
        fresh = list(takewhile(lambda told: told.sequence > last, reversed(self._recent)))
        fresh.reverse()
        return fresh

    async def _join(self) -> None:
        self._listeners += 1
        try:
            async with self._starting:
                if self._reader is None:
                    self._recent.clear()
                    self._known_after = self._newest = await self._store.read(head)
                    self._reader = asyncio.create_task(self._read(), name="feed")
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._reader is not None:
            self._reader.cancel()
            self._reader = None

    async def _read(self) -> None:
        watch = self._store.watch("events")
        try:
            while True:
                if await self._take() < PAGE:
                    await watch.wait(LOOK_AGAIN_SECONDS)
        finally:
            self._store.unwatch(watch)

    async def _take(self) -> int:
        try:
            page = await self.page(self._newest, PAGE)
        except StoreFailed as error:  # it may be away for a moment; the listeners stay and hear it later
            log.error("feed.cannot_read", error=str(error))
            await asyncio.sleep(STORE_REST_SECONDS)
            return PAGE
        for told in page:
            if len(self._recent) == self._recent.maxlen:
                self._known_after = self._recent[0].sequence
            self._recent.append(told)
            self._newest = told.sequence
        if page:
            self._turn.set()
            self._turn = asyncio.Event()
        return len(page)
