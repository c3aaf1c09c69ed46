"""The objects the double answers with, in the library's own shape: every field Stripe would send is there, null where it has
nothing to say. It must never carry a field that the pinned library does not know."""

import typing
from types import NoneType
from typing import Any

import stripe
from stripe.checkout import Session

ONLY_WHEN_ASKED = {"line_items", "refunds", "deleted", "account", "context"}  # absent unless expanded, or of Connect
CLASSES: dict[str, Any] = {
    "checkout.session": Session,
    "payment_intent": stripe.PaymentIntent,
    "charge": stripe.Charge,
    "refund": stripe.Refund,
    "dispute": stripe.Dispute,
    "event": stripe.Event,
    "item": stripe.LineItem,
    "webhook_endpoint": stripe.WebhookEndpoint,
    "balance": stripe.Balance,
    "account": stripe.Account,
}


def shaped(kind: str, **known: Any) -> dict[str, Any]:
    """The object `kind` with its null fields; TypeError for a field the library does not have."""
    fields = {name: hint for name, hint in CLASSES[kind].__annotations__.items() if name != "OBJECT_NAME"}
    if strange := known.keys() - fields.keys():
        raise TypeError(f"{kind} has no field {', '.join(sorted(strange))}")
    nulls = {name: None for name, hint in fields.items() if NoneType in typing.get_args(hint) and name not in ONLY_WHEN_ASKED}
    return {**nulls, "object": kind, **known}


def listed(url: str, data: list[dict[str, Any]], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": more, "url": url}
