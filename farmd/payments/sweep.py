"""The round that finds what nobody told: missed messages, checkouts paid in silence, promises about to lapse.

A tick of the clock and nothing more; what is due stands in rows. It is what lets a farm behind a router, which no webhook reaches,
be paid all the same. A part of the round that fails does not keep the others from being made.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from farmd.domain.ports import World
from farmd.payments.alone import each_alone
from farmd.payments.inbox import Inbox
from farmd.payments.ledger import Ledger
from farmd.payments.stripe_api import Refused, StripeApi, StripeProblem
from farmd.payments.stripe_shapes import CHECKOUT_KEY, EVENT_TYPES, own_id, sighting, text
from farmd.store import restored, till
from farmd.store.engine import Store, Tx
from farmd.store.order_lists import order_row
from farmd.store.sales import record_cancellation
from farmd.store.transitions import raise_attention

CURSOR = "stripe:last-event"
MAX_PAGES = 200
log = structlog.get_logger()


class Sweep:
    """Makes the rounds."""

    def __init__(self, store: Store, world: World, api: StripeApi, inbox: Inbox, ledger: Ledger) -> None:
        self._store, self._world, self._api, self._inbox, self._ledger = store, world, api, inbox, ledger

    async def round(self) -> None:
        """Look for everything once."""
        parts: list[Callable[[], Awaitable[None]]] = [self.sessions, self.promises, self.loose_ends, self.strangers]
        if self._ledger.stripe.mode != "webhook":
            parts.insert(0, self.events)
        for part in parts:
            try:
                await part()
            except StripeProblem as error:
                log.warning("sweep.skipped", part=part.__name__, error=str(error))

    async def events(self) -> None:
        """Fetch every event since the last one known into the inbox."""
        cursor = await self._store.read(partial(till.noted, key=CURSOR))
        known = {cursor}
        for _ in range(MAX_PAGES):
            try:
                page = await self._api.events(list(EVENT_TYPES), before=cursor)
            except Refused:
                if cursor is None:
                    raise
                cursor = None  # an event is kept for thirty days; after a longer absence begin with the newest
                continue
            found = [event for event in page.get("data") or [] if isinstance(event, dict) and text(event, "id")]
            await self._inbox.keep(found)
            newest = text(found[0], "id") if found else None
            if newest is None or newest in known:
                return
            first_time, cursor = cursor is None, newest
            known.add(newest)
            await self._store.write(partial(till.note, key=CURSOR, value=newest))
            if first_time or not page.get("has_more"):
                return

    async def sessions(self) -> None:
        """Compare all open checkouts with Stripe's own list, a hundred at a question; look closely at those that differ."""
        ours = await self._store.read(till.open_sessions)
        if not ours:
            return
        since = min(row["created_at"] for row in ours.values()) - timedelta(minutes=10)  # the clocks need not agree
        unseen = dict(ours)
        try:
            async for page in self._api.sessions_since(int(since.timestamp()), only_open=True):
                for session in page:
                    row = unseen.get(text(session, "id") or "")
                    if row is not None and text(session, "status") == "open":
                        del unseen[row["session_id"]]
        except Refused as error:
            log.warning("sweep.no_list", error=str(error))

        def look(tx: Tx) -> None:  # what was told while the list was read is looked at already
            still = till.open_sessions(tx.connection) if unseen else {}
            till.look_soon(tx, [row["id"] for session, row in still.items() if session in unseen])

        await self._store.write(look)

    async def promises(self) -> None:
        """An authorisation that is about to lapse is collected or given back, as the owner chose."""
        await each_alone(self._store, await self._store.read(till.waiting_for_capture), self._keep_or_return)

    def _keep_or_return(self, tx: Tx, order_id: str) -> None:
        order, checkouts = order_row(tx.connection, order_id), till.checkouts_of(tx.connection, order_id)
        lapsing = self._ledger.deadline_passed(checkouts, tx.world.now())
        if lapsing and self._ledger.stripe.on_deadline == "cancel" and order["cancelled_at"] is None:
            record_cancellation(tx, order, "the authorisation of the payment was about to lapse", self._ledger.settle)
        else:
            self._ledger.settle(tx, order_id)

    async def loose_ends(self) -> None:
        """What a hand in the store or an old backup may have left: wishes without a request, paid orders without work."""
        await each_alone(self._store, await self._store.read(till.unsettled), self._ledger.settle)
        await each_alone(self._store, await self._store.read(till.paid_without_jobs), _not_made)

    async def strangers(self) -> None:
        """After a backup was restored: checkouts that came after it, of orders that are gone. Nobody shall pay there any more, and
        what was paid is told."""
        if await self._store.read(till.all_looked):
            await self._store.write(till.end_doubt)
        since = await self._store.read(restored.lost_since)
        if since is None:
            return
        async for page in self._api.sessions_since(int((since - timedelta(minutes=10)).timestamp())):
            for session in page:
                session_id, own = text(session, "id"), own_id(session, CHECKOUT_KEY)
                if session_id is None or own is None:
                    continue  # not opened by farmd
                if await self._store.read(partial(till.find_checkout, session=session_id, own=own)) is None:
                    await self._end_stranger(session_id, session)
        await self._store.write(restored.looked_for_strangers)

    async def _end_stranger(self, session_id: str, session: dict[str, Any]) -> None:
        if text(session, "status") == "open":
            try:
                session = await self._api.expire_session(session_id, f"farmd-lost-{session_id}")
            except Refused:
                session = await self._api.session(session_id)  # it was paid in this very moment
        if text(session, "status") != "complete":
            return
        seen = sighting(session, None, (), ())
        told = partial(
            restored.payment_unknown, session_id=session_id, order_id=seen.order_id, amount=seen.total, currency=seen.currency
        )
        if await self._store.write(told):
            log.error(
                "sweep.payment_unknown", session=session_id, order=seen.order_id, cure="it was paid after the backup: see Stripe"
            )


def _not_made(tx: Tx, order_id: str) -> None:
    detail = "this order is paid and nothing of it is made; cancel it to give the money back, and place it again"
    raise_attention(tx, order_id, "paid_without_jobs", detail)
