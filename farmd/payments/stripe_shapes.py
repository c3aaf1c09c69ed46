"""What Stripe's objects mean for an order: dictionaries in, one `Sighting` out.

Any field may be missing, null, of another type or of another API version's shape; an odd answer is read as the state in which
nothing is concluded. No I/O, no clock.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from farmd.domain.till import IntentState, RefundSeen, RefundState, Sighting

Thing = Mapping[str, Any]

ORDER_KEY, CHECKOUT_KEY, REFUND_KEY = "order_id", "checkout_id", "refund_id"
"""What our own ids are called in the metadata of Stripe's objects."""

EVENT_TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "charge.refunded",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
"""Events after which an order's money may stand otherwise than before; at most 20, which is what a list may be filtered by."""

_INTENTS = {
    "succeeded": IntentState.SUCCEEDED,
    "requires_capture": IntentState.AUTHORIZED,
    "processing": IntentState.PROCESSING,
    "requires_action": IntentState.PROCESSING,  # a voucher or a transfer that the customer is still to make
    "requires_confirmation": IntentState.PROCESSING,
    "canceled": IntentState.CANCELED,
    "requires_payment_method": IntentState.UNPAID,
}
_REFUNDS = {"succeeded": RefundState.SUCCEEDED, "failed": RefundState.FAILED, "canceled": RefundState.FAILED}
_YEAR_10000 = 253_402_300_800  # the first second that a date cannot hold
_OPEN_DISPUTES = frozenset({"needs_response", "under_review", "warning_needs_response", "warning_under_review"})


def sighting(session: Thing, intent: Thing | None, refunds: Iterable[Thing], disputes: Iterable[Thing]) -> Sighting:
    """Everything about one checkout. `intent` is None where the session has none (yet)."""
    # a status that cannot be read concludes nothing: it is looked at again
    state = _INTENTS.get(text(intent, "status") or "", IntentState.PROCESSING) if intent else IntentState.NONE
    disputes = list(disputes)
    return Sighting(
        session_id=text(session, "id") or "",
        order_id=text(session, "client_reference_id") or own_id(session, ORDER_KEY),
        open=text(session, "status") == "open",
        expired=text(session, "status") == "expired",
        paid=text(session, "payment_status") in ("paid", "no_payment_required"),
        total=number(session, "amount_total"),
        currency=(text(session, "currency") or "").upper(),
        url=text(session, "url"),
        expires_at=moment(session, "expires_at"),
        intent_id=text(intent, "id") or intent_of(session),
        intent=state,
        authorized=_authorized(intent) if state is IntentState.AUTHORIZED else 0,
        captured=_captured(session, intent, state),
        capture_before=_capture_before(intent),
        refunds=tuple(seen for seen in map(refund_seen, refunds) if seen is not None),
        disputed=any(text(dispute, "status") in _OPEN_DISPUTES for dispute in disputes),
        charged_back=sum(number(dispute, "amount") for dispute in disputes if text(dispute, "status") == "lost"),
    )


def refund_seen(refund: Thing) -> RefundSeen | None:
    """One refund; None for something that is none."""
    refund_id = text(refund, "id")
    if refund_id is None:
        return None
    state = _REFUNDS.get(text(refund, "status") or "", RefundState.PENDING)
    why = text(refund, "failure_reason") or text(refund, "pending_reason")
    return RefundSeen(refund_id, number(refund, "amount"), state, own_id(refund, REFUND_KEY), why)


def intent_of(thing: Thing) -> str | None:
    """The id of the payment intent that an object names, expanded or not."""
    named = thing.get("payment_intent")
    return text(named, "id") if isinstance(named, Mapping) else named if isinstance(named, str) and named else None


def was_disputed(intent: Thing) -> bool:
    """Whether it is worth asking for disputes: the charge says so, or does not say."""
    charge = intent.get("latest_charge")
    return charge is not None and not (isinstance(charge, Mapping) and charge.get("disputed") is False)


def own_id(thing: Thing, key: str) -> str | None:
    """One of our ids in an object's metadata."""
    metadata = thing.get("metadata")
    return text(metadata, key) if isinstance(metadata, Mapping) else None


def text(thing: Thing | None, key: str) -> str | None:
    """A field that is text and not empty."""
    value = thing.get(key) if thing else None
    return value if isinstance(value, str) and value else None


def number(thing: Thing | None, key: str) -> int:
    """A field that is a whole number; 0 without one."""
    value = thing.get(key) if thing else None
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def moment(thing: Thing | None, key: str) -> datetime | None:
    """A field that is a time."""
    seconds = number(thing, key)
    return datetime.fromtimestamp(seconds, UTC) if 0 < seconds < _YEAR_10000 else None


def _captured(session: Thing, intent: Thing | None, state: IntentState) -> int:
    if state is IntentState.SUCCEEDED:
        return number(intent, "amount_received") or number(intent, "amount")
    return number(session, "amount_total") if intent is None and text(session, "payment_status") == "paid" else 0


def _authorized(intent: Thing | None) -> int:
    return number(intent, "amount_capturable") or number(intent, "amount")


def _capture_before(intent: Thing | None) -> datetime | None:
    charge = intent.get("latest_charge") if intent else None
    details = charge.get("payment_method_details") if isinstance(charge, Mapping) else None
    card = details.get("card") if isinstance(details, Mapping) else None
    return moment(card, "capture_before") if isinstance(card, Mapping) else None
