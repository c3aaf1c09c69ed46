"""Orders that nobody paid in time are taken back, whoever holds the money. One that can still be paid somewhere is left alone."""

from datetime import timedelta
from functools import partial

from farmd.domain.ports import World
from farmd.payments.provider import Provider
from farmd.store import till
from farmd.store.engine import Store, Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import record_cancellation


async def expire_unpaid(store: Store, world: World, provider: Provider, hours: float) -> int:
    """Cancel what was placed more than `hours` ago and not paid; returns how many that were."""
    before = world.now() - timedelta(hours=hours)
    found = await store.read(partial(till.unpaid_since, before=before))
    for order_id in found:
        await store.write(partial(_expire, order_id=order_id, provider=provider, hours=hours))
    return len(found)


def _expire(tx: Tx, order_id: str, provider: Provider, hours: float) -> None:
    order = order_row(tx.connection, order_id)
    if order["paid_at"] is None and order["cancelled_at"] is None:
        record_cancellation(tx, order, f"payment_expired: not paid within {hours:g} hours", provider.take_back)
