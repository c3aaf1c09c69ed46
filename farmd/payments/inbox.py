"""What Stripe tells by itself: verified on the raw bytes, kept once by its id, and then only a reason to look.

A message is never believed: not its order, not its amounts, not its snapshot. It names a checkout, and the checkout is asked about.
So a duplicate costs nothing, a reversed pair does no harm, and one that is three days late tells nothing new.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog

from farmd.config import StripeSettings
from farmd.domain.ports import World
from farmd.payments.stripe_api import Refused, StripeApi, StripeProblem, Thing, read_event
from farmd.payments.stripe_shapes import CHECKOUT_KEY, EVENT_TYPES, ORDER_KEY, intent_of, moment, own_id, text
from farmd.store import till
from farmd.store.engine import Store, StoreFailed, Tx
from farmd.store.rows import Row

LOOK_AGAIN, LOOK_SOON = 60.0, 5.0  # seconds
log = structlog.get_logger()


class Inbox:
    """Takes messages in and turns them into looks."""

    def __init__(self, store: Store, world: World, api: StripeApi, stripe: StripeSettings) -> None:
        self._store, self._world, self._api, self._stripe = store, world, api, stripe
        self._bell = store.watch(till.INBOX)

    async def receive(self, payload: bytes, signature: str) -> None:
        """Keep a webhook; it is durable when this returns. Raises `Refused` for anything that Stripe did not sign."""
        await self.keep([read_event(payload, signature, self._stripe.webhook_secrets, self._world.now().timestamp())])

    async def keep(self, events: list[Thing]) -> int:
        """Keep events that matter and are not known yet; returns how many those were."""
        found = [event for event in events if self._matters(event)]
        if not found:
            return 0

        def write(tx: Tx) -> int:
            return sum(
                till.keep_message(tx, event["id"], event["type"], _hint(event), moment(event, "created") or self._world.now())
                for event in found
            )

        return await self._store.write(write)

    def _matters(self, event: Thing) -> bool:
        if event.get("type") not in EVENT_TYPES:
            return False
        if event.get("account"):
            log.warning("inbox.other_account", event_id=event["id"], account=str(event["account"]))
            return False
        live = event.get("livemode")
        if isinstance(live, bool) and f"_{'test' if live else 'live'}_" in self._stripe.api_key:
            log.warning("inbox.other_mode", event_id=event["id"], livemode=live)
            return False
        return True

    async def run(self) -> None:
        """Work through what was kept, for ever; returns only when cancelled."""
        while True:
            wait = LOOK_AGAIN
            try:
                wait = LOOK_AGAIN if await self.work() else LOOK_SOON
            except StoreFailed as error:
                log.error("inbox.store_failed", error=str(error))
                wait = LOOK_SOON
            except Exception:  # the supervised edge: a message that breaks this round must not end all rounds
                log.exception("inbox.broke")
                wait = LOOK_SOON
            await self._bell.wait(wait)

    async def work(self) -> bool:
        """Let every kept message ask for its look; those about checkouts we know at once, the others after a question each.
        False when some could not be asked about yet."""
        asked, sorted_out, strange = True, set[str](), list[Row]()
        while True:
            # anew before each question: an answer may take long, and what came meanwhile need not wait for it
            messages = [each for each in await self._store.read(till.new_messages) if each["id"] not in sorted_out]
            sorted_out.update(each["id"] for each in messages)
            strange += await self._store.write(partial(_settle_known, messages=messages)) if messages else []
            if not strange:
                return asked
            message = strange.pop(0)
            hint = dict(message["hint"])
            try:
                found = await self._ask(hint["intent"]) if hint.get("intent") else {}
            except StripeProblem as error:  # it waits; those behind it do not
                log.warning("inbox.message_waits", event_id=message["id"], error=str(error))
                asked = False
                continue
            await self._store.write(partial(_settle_strange, message=message, hint=hint | found))

    async def _ask(self, intent_id: str) -> dict[str, Any]:
        """What a payment says about itself. Raises `StripeProblem` when that cannot be found out now."""
        try:
            intent = await self._api.intent(intent_id)
        except Refused:
            return {}  # no payment of this account
        return {"own": own_id(intent, CHECKOUT_KEY), "order": own_id(intent, ORDER_KEY)}


def _settle_known(tx: Tx, messages: Sequence[Row]) -> list[Row]:
    """Turn messages into looks; returns those about nothing that is known here."""
    strange = []
    for message in messages:
        hint = dict(message["hint"])
        checkout = _checkout(tx, hint)
        if checkout is None and hint.get("intent"):
            strange.append(message)
        else:
            _settle(tx, message, hint, checkout)
    return strange


def _hint(event: Thing) -> dict[str, Any]:
    """The ids in an event's object by which it may be known."""
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if not isinstance(thing, dict):
        return {}
    kind = str(event["type"])
    session = text(thing, "id") if kind.startswith("checkout.session.") else None
    intent = text(thing, "id") if kind.startswith("payment_intent.") else intent_of(thing)
    order = text(thing, "client_reference_id") or own_id(thing, ORDER_KEY)
    return {"session": session, "intent": intent, "own": own_id(thing, CHECKOUT_KEY), "order": order}


def _checkout(tx: Tx, hint: dict[str, Any]) -> Row | None:
    return till.find_checkout(tx.connection, session=hint.get("session"), intent=hint.get("intent"), own=hint.get("own"))


def _settle_strange(tx: Tx, message: Row, hint: dict[str, Any]) -> None:
    _settle(tx, message, hint, _checkout(tx, hint))


def _settle(tx: Tx, message: Row, hint: dict[str, Any], checkout: Row | None) -> None:
    if checkout is None:
        till.settle_messages(tx, [message["id"]], "IGNORED", "it is about nothing of this farm")
        log.info("inbox.not_ours", event_id=message["id"], kind=message["type"])
        return
    if checkout["session_id"] is None and hint.get("session") and hint.get("own") == checkout["id"]:
        # the answer to its opening was lost, and this message came instead; the look asks for the truth
        till.change_checkout(tx, checkout, session_id=hint["session"])
    till.look_soon(tx, [checkout["id"]])
    till.settle_messages(tx, [message["id"]], "DONE")
