"""Keys made and ended on the store itself, without a daemon and beside a running one. The store is created or migrated first."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from farmd.backups.migrating import bring_up_to_date
from farmd.cli.complaint import Complaint
from farmd.config import Settings
from farmd.store import keys
from farmd.store.engine import Conflict, Engine, Store, StoreFailed, open_engine
from farmd.store.rows import Missing, Row
from farmd.world import SystemWorld

T = TypeVar("T")


def make_key(settings: Settings, name: str, role: str, customer: str | None = None) -> str:
    """A new key in the store of `settings`. Raises `Complaint`."""
    return _on_store(settings, lambda store: store.write(lambda tx: keys.create_key(tx, name, role, customer)))


def all_keys(settings: Settings) -> Sequence[Row]:
    """Every key without its secret. Raises `Complaint`."""
    return _on_store(settings, lambda store: store.read(keys.list_keys))


def revoke_key(settings: Settings, name: str) -> None:
    """End a key; when this returns, no daemon takes it any more. Raises `Complaint`."""

    async def end(store: Store) -> None:
        await store.write(lambda tx: keys.revoke_key(tx, name))
        await asyncio.sleep(keys.TRUSTED_SECONDS)  # a daemon that looked just before goes by what it saw for so long

    _on_store(settings, end)


def _on_store(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    async def with_store() -> T:
        store = Store(engine, SystemWorld())
        try:
            return await work(store)
        finally:
            await store.close()

    engine = _engine(settings)
    try:
        bring_up_to_date(settings, engine, SystemWorld().now())
        return asyncio.run(with_store())
    except Missing:
        raise Complaint("there is no such key; `farmd keys list` shows those there are") from None
    except (StoreFailed, Conflict, ValueError) as error:
        raise Complaint(str(error)) from None
    finally:
        engine.dispose()


def _engine(settings: Settings) -> Engine:
    try:
        return open_engine(settings.store_url)
    except StoreFailed as error:
        raise Complaint(str(error)) from None
