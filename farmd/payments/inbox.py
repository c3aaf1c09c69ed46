"""What Stripe tells by itself: verified on the raw bytes, kept once by its id, and then only a reason to look.

A message is never believed: not its order, not its amounts, not its snapshot. It names a checkout, and the checkout is asked about.
So a duplicate costs nothing, a reversed pair does no harm, and one that is three days late tells nothing new.
"""

from functools import partial
from typing import Any

import structlog

from farmd.config import StripeSettings
from farmd.domain.ports import World
from farmd.payments.stripe_api import StripeApi, StripeProblem, Thing, read_event
from farmd.payments.stripe_shapes import CHECKOUT_KEY, EVENT_TYPES, ORDER_KEY, intent_of, moment, own_id, text
from farmd.store import till
from farmd.store.engine import Store, Tx
from farmd.store.rows import Row

MAX_BYTES = 1_000_000
log = structlog.get_logger()


class Inbox:
    """Takes messages in and turns them into looks."""

    def __init__(self, store: Store, world: World, api: StripeApi, stripe: StripeSettings) -> None:
        self._store, self._world, self._api, self._stripe = store, world, api, stripe

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

    async def work(self) -> None:
        """Let every kept message ask for its look. A message about a payment nobody here knows costs one question."""
        messages = await self._store.read(till.new_messages)
        for message in messages:
            hint = dict(message["hint"])
            if not await self._store.read(partial(_checkout, hint=hint)) and hint.get("intent"):
                hint |= await self._ask(hint["intent"])
            await self._store.write(partial(_settle, message=message, hint=hint))

    async def _ask(self, intent_id: str) -> dict[str, Any]:
        """What a payment says about itself. Raises `StripeProblem` when that cannot be found out now."""
        try:
            intent = await self._api.intent(intent_id)
        except StripeProblem as error:
            if error.code != "resource_missing":
                raise
            return {}
        return {"own": own_id(intent, CHECKOUT_KEY), "order": own_id(intent, ORDER_KEY)}


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


def _checkout(connection: Any, hint: dict[str, Any]) -> Row | None:
    return till.find_checkout(connection, session=hint.get("session"), intent=hint.get("intent"), own=hint.get("own"))


def _settle(tx: Tx, message: Row, hint: dict[str, Any]) -> None:
    checkout = _checkout(tx.connection, hint)
    if checkout is None:
        till.settle_messages(tx, [message["id"]], "IGNORED", "it is about nothing of this farm")
        log.info("inbox.not_ours", event_id=message["id"], kind=message["type"])
        return
    if checkout["session_id"] is None and hint.get("session") and hint.get("own") == checkout["id"]:
        # the answer to its opening was lost, and this message came instead; the look asks for the truth
        till.change_checkout(tx, checkout, session_id=hint["session"])
    till.look_soon(tx, [checkout["id"]])
    till.settle_messages(tx, [message["id"]], "DONE")
