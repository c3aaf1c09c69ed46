"""A farm that is paid through Stripe, from outside: the daemon as a process, and the double of Stripe on a socket."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.daemon_process import wait_for
from tests.doubles.stripe_double import StripeDouble
from tests.doubles.stripe_webhooks import signature
from tests.peers.contract_farm import CUSTOMER, Farm, running_farm
from tests.shop import ADDRESS

HOOK = "/webhooks/stripe"
NO_SLICER = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'


def payments(stripe: StripeDouble, *secrets: str, **options: Any) -> str:
    """The sections that name Stripe; what is None is left out."""
    known = {"api_key": stripe.key, "webhook_secrets": list(secrets or (stripe.secret,)), "api_base": stripe.url} | options
    lines = [f"{key} = {json.dumps(value)}" for key, value in known.items() if value is not None]
    return "\n".join(['[payments]\nprovider = "stripe"\n[payments.stripe]', *lines, ""])


@contextmanager
def paid_farm(
    folder: Path,
    stripe: StripeDouble,
    *,
    printers: int = 0,
    more: str = NO_SLICER,
    roles: tuple[str, ...] = ("admin",),
    **options: Any,
) -> Iterator[Farm]:
    """A running farm of which Stripe knows the endpoint; `options` are those of `[payments.stripe]`."""
    with running_farm(folder, printers, more=payments(stripe, **options) + more, roles=roles) as farm:
        stripe.deliver_to(farm.daemon.url + HOOK)
        yield farm


def place(farm: Farm, sku: str, quantity: int = 1) -> dict[str, Any]:
    """An order as its 201 shows it."""
    line = {"skuId": sku, "quantity": quantity, "options": {"quality": "draft", "infill": 0}}
    answer = farm.ask("POST", "/api/orders", {"customerId": CUSTOMER, "lineItems": [line], "shippingAddress": ADDRESS})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def view(farm: Farm, order: dict[str, Any]) -> dict[str, Any]:
    return dict(farm.ok("GET", f"/api/orders/{order['id']}"))


def until(farm: Farm, order: dict[str, Any], seconds: float = 20.0, **values: Any) -> dict[str, Any]:
    """Wait until the order has these values."""
    found: dict[str, Any] = {}

    def look() -> bool:
        found.update(view(farm, order))
        return all(found[key] == value for key, value in values.items())

    wait_for(look, seconds)
    return found


def told(farm: Farm, order: dict[str, Any]) -> list[str]:
    """The types of the order's own events, oldest first."""
    events = farm.ok("GET", f"/api/orders/{order['id']}/events")["data"]
    return [event["type"] for event in events if event["type"].startswith("order.")]


def session(stripe: StripeDouble, order: dict[str, Any]) -> dict[str, Any]:
    """The one session of an order at Stripe."""
    (found,) = (each for each in stripe.sessions.values() if each["client_reference_id"] == order["id"])
    return found


def intent(stripe: StripeDouble, order: dict[str, Any]) -> str:
    """The one payment of an order at Stripe."""
    (found,) = (key for key, each in stripe.intents.items() if each["metadata"].get("order_id") == order["id"])
    return found


def completed(stripe: StripeDouble, order: dict[str, Any]) -> bytes:
    """Stripe's message that the order's checkout is done, as it would be sent."""
    number = session(stripe, order)["id"]
    (event,) = (
        each
        for each in stripe.events.values()
        if each["type"] == "checkout.session.completed" and each["data"]["object"]["id"] == number
    )
    return json.dumps(event, indent=2).encode()


def signed(body: bytes, *secrets: str, age: float = 0.0) -> str:
    """The header Stripe-Signature of these bytes."""
    return signature(body, list(secrets), int(time.time() - age))


def post(farm: Farm, body: Any, header: str | bytes | None, kind: str = "application/json; charset=utf-8") -> httpx.Response:
    """A message at the farm's door, with no key of the farm's."""
    headers: dict[str, Any] = {"Content-Type": kind} | ({} if header is None else {"Stripe-Signature": header})
    return farm.ask("POST", HOOK, role=None, content=body, headers=headers)
