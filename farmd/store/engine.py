"""One writer, many readers, nothing durable until the disk says so.

Every change of the farm is a function of a `Tx`, queued to a single writer thread that runs whatever has queued up under one
BEGIN IMMEDIATE, each piece of work behind its own savepoint, and commits once (group commit). A caller's future resolves only
after that commit. Work must be short and must never wait for a network or a process. Readers use their own connections and
never block the writer.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy import Engine as Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from farmd.domain.ports import World

T = TypeVar("T")
GROUP = 64
CHECK_SECONDS, CHECK_STEPS = 20.0, 10_000
"""How long a start may look through the file; and SQLite's own steps between two looks at the clock, some milliseconds."""
log = structlog.get_logger()


class StoreFailed(Exception):
    """The store could not take a change (disk full, file damaged, lost database). Nothing of the change was kept."""


class StoreDamaged(StoreFailed):
    """The database's file holds something else than the database wrote."""


class Conflict(Exception):
    """A row changed under the caller's feet; look again."""


@dataclass(slots=True)
class Tx:
    """One transaction: the connection, the moment, and what it will wake once it is durable."""

    connection: Connection
    world: World
    wakes: set[str] = field(default_factory=set)

    def wake(self, topic: str) -> None:
        """Let whoever watches `topic` look again after the commit."""
        self.wakes.add(topic)


class Watch:
    """A level-triggered bell: `wait` returns when the topic rang since the last wait, or after `timeout` seconds."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Wake the watcher now or, if it is busy, at its next wait."""
        self._bell.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """True when the bell rang, False when the time ran out."""
        try:
            # not wait_for: until Python 3.12 it swallows a cancellation that comes together with the ring
            async with asyncio.timeout(timeout):
                await self._bell.wait()
        except TimeoutError:
            return False
        self._bell.clear()
        return True


@dataclass(slots=True)
class _Work:
    run: Callable[[Tx], Any]
    future: "Future[Any]"


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that it can be IMMEDIATE and hold savepoints
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=5000",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("writer") else "BEGIN")


def open_engine(url: str) -> Engine:
    """An engine for a `sqlite:///` or `postgresql+psycopg://` URL; SQLite in WAL mode, fully durable. Raises `StoreFailed`."""
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=4,
            max_overflow=4,
            connect_args={"check_same_thread": False, "timeout": 5},
        )
        _prepare_sqlite(engine)
        return engine
    try:
        return create_engine(url, pool_size=4, max_overflow=4, pool_pre_ping=True)
    except ImportError as error:
        raise StoreFailed("PostgreSQL needs one more package: pip install 'farmd[postgresql]'") from error


class Store:
    """Reads, writes and wakes. Create it inside a running loop; `close` drains the writer."""

    def __init__(self, engine: Engine, world: World) -> None:
        self.engine = engine
        self.commit_failures = 0
        self._world = world
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="store-read")
        self._watches: dict[str, list[Watch]] = {}
        self._loop = asyncio.get_running_loop()
        self._writer = threading.Thread(target=self._write_forever, name="store-write", daemon=True)
        self._writer.start()

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction and return its value once it is durable. An exception from `work` rolls back only its own
        changes and is raised here; `StoreFailed` means the commit did not happen."""
        future: Future[T] = Future()
        self._queue.put(_Work(work, future))
        # a cancelled caller must not cancel a commit that is under way, hence the shield
        return await asyncio.shield(asyncio.wrap_future(future))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a snapshot of the store, off the loop. Raises `StoreFailed` when the database does not answer."""
        return await self._loop.run_in_executor(self._readers, self._read, work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self.engine.connect() as connection, connection.begin():
                return work(connection)
        except OperationalError as error:
            raise StoreFailed(_explain(error)) from error

    def watch(self, *topics: str) -> Watch:
        """A bell for these topics."""
        watch = Watch()
        for topic in topics:
            self._watches.setdefault(topic, []).append(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a bell."""
        for watches in self._watches.values():
            if watch in watches:
                watches.remove(watch)

    def ring(self, topics: set[str]) -> None:
        """Ring these topics' bells; on the loop's thread only."""
        for topic in topics:
            for watch in self._watches.get(topic, ()):
                watch.ring()

    async def close(self) -> None:
        """Finish what is queued, then let go of the database."""
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True)
        self.engine.dispose()

    def _write_forever(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group, stop = [first], False
            while len(group) < GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    stop = True
                    break
                group.append(following)
            self._commit(group)
            if stop:
                return

    def _commit(self, group: list[_Work]) -> None:
        wakes: set[str] = set()
        results: list[tuple[_Work, Any, BaseException | None]] = []
        try:
            with self.engine.connect().execution_options(writer=True) as connection, connection.begin():
                results.extend(self._one(connection, work, wakes) for work in group)
        except Exception as error:  # the supervised edge of the writer thread: every waiting caller must be told
            self.commit_failures += 1
            log.error("store.commit_failed", error=str(error), works=len(group))
            failure = StoreFailed(_explain(error))
            failure.__cause__ = error
            for work in group:
                _resolve(work.future, None, failure)
            return
        if wakes and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.ring, wakes)
        for work, value, problem in results:
            _resolve(work.future, value, problem)

    def _one(self, connection: Connection, work: _Work, wakes: set[str]) -> tuple[_Work, Any, BaseException | None]:
        tx = Tx(connection, self._world)
        savepoint = connection.begin_nested()
        try:
            value = work.run(tx)
        except OperationalError:
            raise  # the database itself is in trouble: the whole group fails together
        except Exception as error:  # a caller's own refusal: undo its changes, tell it, and go on with the next caller
            savepoint.rollback()
            return work, None, error
        savepoint.commit()
        wakes |= tx.wakes
        return work, value, None


def _resolve(future: "Future[Any]", value: Any, error: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _explain(error: BaseException) -> str:
    words = str(getattr(error, "orig", error))
    if "full" in words:
        return "the disk is full: free some space on the data directory's disk; nothing was changed"
    if "I/O error" in words:
        return "the data directory's disk could not be written (full, over its quota, or failing): look at it; nothing was changed"
    if "malformed" in words or "not a database" in words:
        return "the database file is damaged: stop farmd, put the file aside, and the last backup of it in its place"
    return f"the store did not take the change: {words}"


def quick_check(engine: Engine, path: Path | None, patience: float = CHECK_SECONDS) -> bool:
    """Refuse to work on a damaged SQLite file. Looks for at most `patience` seconds; False when that was not enough to see all of
    it. Raises `StoreDamaged`, `StoreFailed`."""
    if engine.dialect.name != "sqlite" or path is None or not path.exists():
        return True
    until = time.monotonic() + patience
    try:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.set_progress_handler(lambda: time.monotonic() > until, CHECK_STEPS)
            try:
                answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
            finally:
                driver.set_progress_handler(None, 0)
    except SQLAlchemyError as error:
        if "interrupted" in str(error):
            log.warning("store.check_cut_short", seconds=patience, cure="farmd backup goes through all of it")
            return False
        raise (StoreDamaged if "malformed" in str(error) or "not a database" in str(error) else StoreFailed)(
            _explain(error)
        ) from error
    if answer != "ok":
        raise StoreDamaged(f"the database file {path} is damaged ({answer}): put it aside, and the last backup of it in its place")
    return True
