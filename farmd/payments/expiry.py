"""Orders that nobody paid in time are taken back, whoever holds the money. One that can still be paid somewhere is left alone."""

from datetime import timedelta
from functools import partial

from farmd.domain.ports import World
from farmd.payments.alone import each_alone
from farmd.payments.provider import Provider
from farmd.store import till
from farmd.store.engine import Store, Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import record_cancellation


async def expire_unpaid(store: Store, world: World, provider: Provider, hours: float) -> int:
    """Cancel what was placed more than `hours` ago and not paid; returns how many that were. Where customers pay at a checkout,
    orders from a time before that are left to the operator who waits for their money."""
    before = world.now() - timedelta(hours=hours)
    found = await store.read(partial(till.unpaid_since, before=before, with_checkout=provider.name != "manual"))

    def expire(tx: Tx, order_id: str) -> None:
        order = order_row(tx.connection, order_id)
        settled = order["paid_at"] is not None or order["cancelled_at"] is not None
        if not settled and not till.can_be_paid(tx.connection, order_id):
            record_cancellation(tx, order, f"payment_expired: not paid within {hours:g} hours", provider.take_back)

    return await each_alone(store, found, expire)
