"""The till: the task that speaks to Stripe. It takes due requests and due looks from their rows, does them, and writes what came of
it.

Every request was committed before it leaves, and what it may have done is settled by asking, never by assuming. One order is worked
on by one hand at a time; a slow or dead Stripe delays orders and stops nothing else. Never holds a transaction while it waits.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import structlog

from farmd.domain.ports import World
from farmd.domain.till import CheckoutState, Sighting, Want
from farmd.payments.account import Account
from farmd.payments.alone import each_alone
from farmd.payments.complaints import complain_of_calls
from farmd.payments.ledger import Ledger, Refusal
from farmd.payments.stripe_api import Refused, Shut, StripeApi, StripeProblem, Unavailable
from farmd.payments.stripe_shapes import CHECKOUT_KEY, own_id, refund_seen, sighting, was_disputed
from farmd.store import till
from farmd.store.engine import Conflict, Store, StoreFailed, Tx
from farmd.store.order_lists import order_row
from farmd.store.rows import Row
from farmd.store.transitions import raise_attention

AT_ONCE = 16
"""Orders worked on side by side; Stripe takes about a hundred requests a second of one account."""
LOOK_AGAIN = 60.0  # seconds between turns when nothing rings
FIRST_PAUSE, LAST_PAUSE = 1.0, 900.0
SHUT_PAUSE = 60.0  # a key is mended by a person; asking more often helps nobody
KEY_LIVES = timedelta(hours=20)
"""After a day Stripe forgets an idempotency key; a refund that may have been sent is looked for before that age is reached."""
DOUBT_AFTER = 4
"""Tries without an answer after which it is looked whether the request was done all the same."""
CLOCKS_DIFFER = 600  # seconds that Stripe's clock and ours may be apart
EXPIRES_SOON = timedelta(minutes=31)
log = structlog.get_logger()


class Till:
    """Runs for ever; `run` returns only when cancelled."""

    def __init__(self, store: Store, world: World, api: StripeApi, ledger: Ledger) -> None:
        self._store, self._world, self._api, self._ledger = store, world, api, ledger
        self._capturing = ledger.stripe.capture == "when_sliced"
        self._bell = store.watch(till.TOPIC, *(["jobs"] if self._capturing else []))
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, list[asyncio.Event]] = {}
        self.turned_at = world.monotonic()

    async def run(self) -> None:
        """Hand out what is due, then wait for more."""
        try:
            while True:
                self.turned_at = self._world.monotonic()
                try:
                    pause = await self._turn()
                except StoreFailed as error:
                    log.error("till.store_failed", error=str(error))
                    pause = FIRST_PAUSE
                except Exception:  # the supervised edge: orders must be paid whatever one of them brought
                    log.exception("till.broke")
                    pause = FIRST_PAUSE
                await self._bell.wait(pause)
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def _turn(self) -> float:
        """Start work on every due order there is a hand for; returns the seconds until something else is due."""
        if self._capturing:
            await each_alone(self._store, await self._store.read(till.ready_for_capture), self._ledger.settle)
        now, free = self._world.now(), AT_ONCE - len(self._busy)
        if free <= 0:
            return LOOK_AGAIN  # the first hand that is free rings
        busy = tuple(self._busy)
        found, upcoming = await self._store.read(lambda c: till.work_for(c, now, busy, free))
        for order_id, (calls, looks) in found.items():
            task = asyncio.create_task(self._serve(order_id, calls, looks), name=f"till {order_id}")
            self._busy[order_id] = task
            task.add_done_callback(partial(self._done, order_id))
        if len(self._busy) >= AT_ONCE:
            return LOOK_AGAIN
        return LOOK_AGAIN if upcoming is None else min(max((upcoming - now).total_seconds(), 0.01), LOOK_AGAIN)

    def _done(self, order_id: str, _task: "asyncio.Task[None]") -> None:
        self._busy.pop(order_id, None)
        for event in self._waiting.get(order_id, ()):
            event.set()
        self._bell.ring()

    async def opened(self, order_id: str, patience: float) -> None:
        """Wait until the order's place to pay was asked for, whatever came of it; at most `patience` seconds."""
        event = asyncio.Event()
        self._waiting.setdefault(order_id, []).append(event)
        try:
            async with asyncio.timeout(patience):
                while order_id in self._busy or await self._is_due(order_id):
                    await event.wait()
                    event.clear()
        except TimeoutError:
            return
        finally:
            self._waiting[order_id].remove(event)
            if not self._waiting[order_id]:
                del self._waiting[order_id]

    async def _is_due(self, order_id: str) -> bool:
        return await self._store.read(partial(till.is_due, order_id=order_id, now=self._world.now()))

    async def _serve(self, order_id: str, calls: Sequence[Row], looks: Sequence[Row]) -> None:
        try:
            for call in calls:
                await self._call(call)
            for checkout in looks:
                await self.look(checkout["id"])
        except (Conflict, StoreFailed) as error:
            log.info("till.again", order=order_id, why=str(error))
            await asyncio.sleep(FIRST_PAUSE * self._world.chance())  # the rows are as they were; not at once, not in step
        except Exception:  # the supervised edge: what one order brought must not stop the others
            log.exception("till.order_broke", order=order_id)
            await asyncio.sleep(FIRST_PAUSE)

    # requests

    async def _call(self, call: Row) -> None:
        """One request: committed as sent, sent, and its answer committed."""
        call, checkout = await self._store.read(partial(till.call_with_checkout, call_id=call["id"]))
        if call["state"] != "WANTED":
            return
        if await self._settled_otherwise(call, checkout):
            return
        call = await self._store.write(lambda tx: till.call_leaves(tx, call))
        bound = log.bind(order=call["order_id"], call=call["id"], kind=call["kind"])
        try:
            answer = await self._send(call, checkout)
        except Unavailable as error:
            bound.warning("till.unavailable", error=str(error), tries=call["tries"])
            await self._later(call, min(error.retry_after or self._pause(call["tries"]), LAST_PAUSE), str(error))
        except Shut as error:
            bound.error("till.shut", error=str(error))
            await self._later(call, SHUT_PAUSE, str(error))
        except Refused as error:
            bound.warning("till.refused", error=str(error), code=error.code)
            await self._refused(call, checkout, error)
        else:
            bound.info("till.done")
            await self._answered(call, checkout, answer)

    def _pause(self, tries: int) -> float:
        pause: float = min(FIRST_PAUSE * 2.0 ** min(tries, 20), LAST_PAUSE)
        return pause * (0.5 + self._world.chance() / 2)

    async def _settled_otherwise(self, call: Row, checkout: Row) -> bool:
        """Old requests whose key may be forgotten by now are not simply repeated."""
        now = self._world.now()
        if call["kind"] == Want.OPEN and checkout["expires_at"] - now < EXPIRES_SOON:
            # nobody can have been sent there: its address never reached us, and Stripe takes no such moment any more
            if call["sent_at"] is None or now > checkout["expires_at"]:
                await self._store.write(lambda tx: self._start_over(tx, call))
            else:
                await self._later(
                    call, (checkout["expires_at"] - now).total_seconds() + 1, "its answer was lost; waiting for its end"
                )
            return True
        if call["sent_at"] is None or (call["tries"] % DOUBT_AFTER and now - call["sent_at"] < KEY_LIVES):
            return False
        if call["kind"] == Want.OPEN:
            return await self._found_or_renewed(call)
        if not await self.look(call["checkout_id"]):
            await self._later(call, self._pause(call["tries"]), "it may have been done, and Stripe cannot be asked")
            return True
        fresh = await self._store.read(partial(till.call_row, call_id=call["id"]))
        return bool(fresh["state"] != "WANTED")

    async def _found_or_renewed(self, call: Row) -> bool:
        """Stripe keeps also a failure under a key. Find the session that came about all the same, or ask under a new key: a session
        that nobody was sent to can do no harm."""
        found: dict[str, Any] | None = None
        try:
            async for page in self._api.sessions_since(int(call["created_at"].timestamp()) - CLOCKS_DIFFER):
                found = next((each for each in page if own_id(each, CHECKOUT_KEY) == call["checkout_id"]), None)
                if found is not None:
                    break
        except StripeProblem as error:
            await self._later(call, self._pause(call["tries"]), str(error))
            return True
        if found is not None:
            checkout = await self._store.read(partial(till.checkout_row, checkout_id=call["checkout_id"]))
            await self._answered(call, checkout, found)
        else:
            await self._store.write(partial(_renew, call_id=call["id"]))
        return True

    def _start_over(self, tx: Tx, call: Row) -> None:
        """A place to pay that never came about is replaced by a fresh one."""
        till.close_call(tx, till.call_row(tx.connection, call["id"]), "DROPPED", "it would expire too soon")
        checkout = till.checkout_row(tx.connection, call["checkout_id"])
        till.change_checkout(tx, checkout, state=CheckoutState.EXPIRED.value)
        order, hours = order_row(tx.connection, call["order_id"]), self._ledger.settings.unpaid_hours
        late = hours is not None and tx.world.now() - order["created_at"] > timedelta(hours=hours)
        if order["paid_at"] is None and order["cancelled_at"] is None and not late:
            self._ledger.open_checkout(tx, order)

    async def _send(self, call: Row, checkout: Row) -> dict[str, Any]:
        key, body = f"farmd-{call['id']}", call["body"]
        match Want(call["kind"]):
            case Want.OPEN:
                return await self._api.open_session(body, key)
            case Want.EXPIRE:
                return await self._api.expire_session(checkout["session_id"], key)
            case Want.CAPTURE:
                return await self._api.capture(checkout["intent_id"], body, key)
            case Want.VOID:
                return await self._api.void(checkout["intent_id"], body, key)
            case Want.REFUND:
                return await self._api.refund(body, key)

    async def _answered(self, call: Row, checkout: Row, answer: dict[str, Any]) -> None:
        """Book what the answer shows; where it does not show the whole, look."""
        kind = Want(call["kind"])
        opened = sighting(answer, None, (), ()) if kind in (Want.OPEN, Want.EXPIRE) else None
        refund = refund_seen(answer) if kind is Want.REFUND else None

        def write(tx: Tx) -> None:
            account = Account.of(tx, call["order_id"])
            account.close_call(till.call_row(tx.connection, call["id"]), "DONE")
            if opened is not None and opened.session_id:
                self._ledger.book(account, checkout["id"], opened)
            elif refund is not None:
                self._ledger.book_refund(account, checkout["id"], refund)
            if opened is None:
                till.look_soon(tx, [checkout["id"]])

        await self._store.write(write)
        if opened is None:
            await self.look(checkout["id"])

    async def _later(self, call: Row, seconds: float, why: str) -> None:
        def write(tx: Tx) -> None:
            till.call_waits(tx, till.call_row(tx.connection, call["id"]), seconds, why)
            complain_of_calls(Account.of(tx, call["order_id"]))

        await self._store.write(write)

    async def _refused(self, call: Row, checkout: Row, error: Refused) -> None:
        """It will never be done so: find out how things stand, and let the books decide what is wanted instead."""
        if call["kind"] == Want.OPEN:
            await self._store.write(lambda tx: self._not_opened(tx, call, str(error)))
            return
        refusal = Refusal(call["id"], str(error), disputed=error.code == "charge_disputed")
        if not await self.look(checkout["id"], refusal):
            await self._later(call, self._pause(call["tries"]), str(error))

    def _not_opened(self, tx: Tx, call: Row, why: str) -> None:
        till.close_call(tx, till.call_row(tx.connection, call["id"]), "REFUSED", why)
        checkout = till.checkout_row(tx.connection, call["checkout_id"])
        till.change_checkout(tx, checkout, state=CheckoutState.FAILED.value)
        detail = f"Stripe opens no checkout: {why}. Mend it (farmd doctor), then POST /api/orders/{call['order_id']}/checkout"
        raise_attention(tx, call["order_id"], "checkout_failed", detail)
        self._ledger.settle(tx, call["order_id"])

    # looks

    async def look(self, checkout_id: str, refusal: Refusal | None = None) -> bool:
        """Ask Stripe how a checkout, its payment and its refunds stand, and book that, after `refusal` where there was one. False
        when Stripe could not be asked."""
        checkout = await self._store.read(partial(till.checkout_row, checkout_id=checkout_id))
        if checkout["session_id"] is None:
            await self._store.write(partial(till.plan_look, checkout_id=checkout_id, again=None))
            return False
        try:
            seen = await self._see(checkout)
        except StripeProblem as error:
            log.warning("till.not_seen", order=checkout["order_id"], checkout=checkout_id, error=str(error))
            failed = checkout["looks_failed"] + 1
            again = self._world.now() + timedelta(seconds=self._pause(failed))
            await self._store.write(partial(till.plan_look, checkout_id=checkout_id, again=again, failed=failed))
            return False

        def write(tx: Tx) -> None:
            account, alone = Account.of(tx, checkout["order_id"]), till.untouched(tx, checkout)
            self._ledger.book(account, checkout_id, seen, refusal)
            if alone:
                till.plan_look(tx, checkout_id, self._ledger.next_look(account, checkout_id))

        await self._store.write(write)
        return True

    async def _see(self, checkout: Row) -> Sighting:
        session = await self._api.session(checkout["session_id"])
        seen = sighting(session, None, (), ())
        intent_id = seen.intent_id or checkout["intent_id"]
        if intent_id is None:
            return seen
        intent = await self._api.intent(intent_id)
        refunds = await self._api.refunds_of(intent_id)
        return sighting(session, intent, refunds, await self._disputes(intent_id) if was_disputed(intent) else ())

    async def _disputes(self, intent_id: str) -> list[dict[str, Any]]:
        try:
            return await self._api.disputes_of(intent_id)
        except Refused as error:  # a payment of a kind that knows no disputes
            log.info("till.no_disputes", intent=intent_id, error=str(error))
            return []


def _renew(tx: Tx, call_id: str) -> None:
    """The same request under a new key."""
    call = till.call_row(tx.connection, call_id)
    account = Account.of(tx, call["order_id"])
    account.close_call(call, "DROPPED", "asked anew under another key")
    account.add_call(Want(call["kind"]), account.checkout(call["checkout_id"]), call["body"])
