"""What farmd writes to Stripe: the exact bodies of its requests, made once and kept in a row before they are sent.

Pure. The sum of a checkout's lines is the order's total to the last coin; a test holds every body against the library's own types.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from farmd.config import StripeSettings
from farmd.payments.stripe_shapes import CHECKOUT_KEY, ORDER_KEY, REFUND_KEY
from farmd.store.rows import Row

MAX_LINES = 100
"""Lines that Stripe takes in one checkout."""
_NAME, _METADATA = 250, 500


def session_body(
    order: Row, lines: Sequence[tuple[Row, str]], checkout_id: str, expires_at: datetime, stripe: StripeSettings, success_url: str
) -> dict[str, Any]:
    """A checkout for an order; `lines` come with the names of their SKUs."""
    currency = order["currency"].lower()
    ours = {ORDER_KEY: order["id"], CHECKOUT_KEY: checkout_id}
    intent: dict[str, Any] = {"metadata": ours, "description": f"Order {order['id']}"}
    if stripe.capture == "when_sliced":
        intent["capture_method"] = "manual"
    body: dict[str, Any] = {
        "mode": "payment",
        "client_reference_id": order["id"],
        "metadata": ours,
        "line_items": _line_items(order, lines, currency),
        "payment_intent_data": intent,
        "success_url": success_url,
        "expires_at": int(expires_at.timestamp()),
    }
    if order["shipping"]:
        amount = {"amount": order["shipping"], "currency": currency}
        rate = {"display_name": order["shipping_method"] or "Shipping", "type": "fixed_amount", "fixed_amount": amount}
        body["shipping_options"] = [{"shipping_rate_data": rate}]
    if stripe.cancel_url:
        body["cancel_url"] = stripe.cancel_url
    if email := (order["address"] or {}).get("email"):
        body["customer_email"] = email
    return body


def _line_items(order: Row, lines: Sequence[tuple[Row, str]], currency: str) -> list[dict[str, Any]]:
    """A line each, what is beyond Stripe's hundred in one, and the tax as the last."""
    tax = 0 if order["tax_included"] else order["tax"]
    room = MAX_LINES - bool(tax)
    shown = lines if len(lines) <= room else lines[: room - 1]
    items = [_item(name, line["unit_price"], line["quantity"], currency, line["id"]) for line, name in shown]
    if rest := lines[len(shown) :]:
        items.append(_item(f"{len(rest)} more items", sum(line["total"] for line, _ in rest), 1, currency))
    if tax:
        items.append(_item(order["tax_rule"] or "Tax", tax, 1, currency))
    return items


def _item(name: str, amount: int, quantity: int, currency: str, line_id: str | None = None) -> dict[str, Any]:
    product: dict[str, Any] = {"name": name[:_NAME]}
    if line_id:
        product["metadata"] = {"line_item_id": line_id}
    return {"price_data": {"currency": currency, "unit_amount": amount, "product_data": product}, "quantity": quantity}


def refund_body(refund: Row, intent_id: str) -> dict[str, Any]:
    """A refund of one of our rows; the metadata is how it is recognised should the answer be lost."""
    words = {"reason_given": refund["reason"][:_METADATA]} if refund["reason"] else {}
    line = {"line_item_id": refund["line_item_id"]} if refund["line_item_id"] else {}
    return {
        "payment_intent": intent_id,
        "amount": refund["amount"],
        "reason": "duplicate" if refund["cause"] == "duplicate" else "requested_by_customer",
        "metadata": {ORDER_KEY: refund["order_id"], REFUND_KEY: refund["id"]} | line | words,
    }


def void_body() -> dict[str, Any]:
    """Giving an authorisation back."""
    return {"cancellation_reason": "requested_by_customer"}
