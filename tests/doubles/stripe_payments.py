"""Payment intents and their charges: from the first attempt to captured, released or lapsed. It must never know whether a buyer,
the dashboard or the API asked."""

from typing import Any

from tests.doubles.stripe_books import Books, Object
from tests.doubles.stripe_currencies import check_charge, check_currency, money
from tests.doubles.stripe_errors import Refused, bad_parameter, wrong_state

HOLD_LASTS = 7 * 86400
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")
GOOD_CARDS = ("pm_card_visa", "pm_card_mastercard", "pm_card_us")
DECLINED = {
    "code": "card_declined",
    "decline_code": "generic_decline",
    "message": "Your card was declined.",
    "type": "card_error",
    "doc_url": "https://stripe.com/docs/error-codes/card-declined",
}


def new_intent(books: Books, amount: int, currency: str, **known: Any) -> Object:
    number = books.number("pi_3")
    defaults = {
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "metadata": {},
        "payment_method_types": ["card"],
    }
    intent = books.add(
        "payment_intent",
        id=number,
        amount=amount,
        amount_capturable=0,
        amount_received=0,
        amount_details={"tip": {}},
        client_secret=books.number(f"{number}_secret_"),
        created=books.now(),
        currency=currency,
        livemode=False,
        status="requires_payment_method",
        **(defaults | known),
    )
    books.emit("payment_intent.created", intent)
    return intent


def create(books: Books, params: Object) -> Object:
    currency = check_currency(params["currency"], "currency")
    amount = check_charge(params["amount"], currency, "amount")
    names = (
        "capture_method",
        "description",
        "metadata",
        "receipt_email",
        "shipping",
        "statement_descriptor_suffix",
        "transfer_group",
    )
    intent = new_intent(books, amount, currency, **{name: params[name] for name in names if params.get(name)})
    if method := params.get("payment_method"):
        _use(intent, method)
    return _confirm(books, intent) if params.get("confirm") else intent


def confirm(books: Books, params: Object, number: str) -> Object:
    intent = books.find("payment_intent", number)
    if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise _unexpected(intent, "confirmed", "requires_payment_method, requires_confirmation")
    if method := params.get("payment_method"):
        _use(intent, method)
    return _confirm(books, intent)


def _use(intent: Object, method: str) -> None:
    if not method.startswith("pm_card_"):
        raise bad_parameter("payment_method", f"No such PaymentMethod: '{method}'", "resource_missing")
    intent.update(payment_method=method, status="requires_confirmation")


def _confirm(books: Books, intent: Object) -> Object:
    if intent["payment_method"] is None:
        raise wrong_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method.", "payment_intent_unexpected_state"
        )
    if intent["payment_method"] in GOOD_CARDS:
        return authorise(books, intent)
    decline(books, intent)
    error = {name: value for name, value in DECLINED.items() if name not in ("type", "code", "message", "doc_url")}
    more = {"payment_intent": intent, "charge": intent["latest_charge"]} | error
    raise Refused(402, DECLINED["message"], kind="card_error", code=DECLINED["code"], saved=True, **more)


def _charge(books: Books, intent: Object, **known: Any) -> Object:
    card = {"brand": "visa", "last4": "4242", "country": "US", "exp_month": 12, "exp_year": 2034, "network": "visa"}
    defaults = {"amount_captured": 0, "captured": False, "paid": False, "payment_method_details": {"type": "card", "card": card}}
    charge = books.add(
        "charge",
        id=books.number("ch_3"),
        amount=intent["amount"],
        amount_refunded=0,
        billing_details={"address": None, "email": None, "name": None, "phone": None},
        created=books.now(),
        currency=intent["currency"],
        description=intent["description"],
        disputed=False,
        livemode=False,
        metadata=dict(intent["metadata"]),
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        refunded=False,
        shipping=intent["shipping"],
        **(defaults | known),
    )
    intent.update(latest_charge=charge["id"], last_payment_error=None)
    return charge


def authorise(books: Books, intent: Object) -> Object:
    """A card says yes: money taken, or held where capture is by hand."""
    held = intent["capture_method"] == "manual"
    if intent["payment_method"] is None:
        intent["payment_method"] = books.number("pm_1")
    charge = _charge(books, intent, status="succeeded", paid=True)
    if held:
        lapses = books.now() + HOLD_LASTS
        charge["payment_method_details"]["card"]["capture_before"] = lapses
        intent.update(status="requires_capture", amount_capturable=intent["amount"])
        books.due(intent["id"], lapses, lambda: lapse(books, intent))
    else:
        charge.update(captured=True, amount_captured=intent["amount"])
        intent.update(status="succeeded", amount_received=intent["amount"])
    books.emit("charge.succeeded", charge)
    books.emit("payment_intent.amount_capturable_updated" if held else "payment_intent.succeeded", intent)
    return intent


def decline(books: Books, intent: Object) -> Object:
    failure = {"failure_code": DECLINED["code"], "failure_message": DECLINED["message"]}
    charge = _charge(books, intent, status="failed", **failure)
    intent.update(status="requires_payment_method", payment_method=None, last_payment_error=DECLINED | {"charge": charge["id"]})
    books.emit("charge.failed", charge)
    books.emit("payment_intent.payment_failed", intent)
    return intent


def begin_debit(books: Books, intent: Object) -> Object:
    """A bank debit is under way; days go by before anybody knows."""
    details = {"type": "us_bank_account", "us_bank_account": {"bank_name": "STRIPE TEST BANK", "last4": "6789"}}
    intent["payment_method"] = books.number("pm_1")
    charge = _charge(books, intent, status="pending", captured=True, payment_method_details=details)
    intent.update(status="processing", payment_method_types=["us_bank_account"])
    books.emit("charge.pending", charge)
    books.emit("payment_intent.processing", intent)
    return intent


def end_debit(books: Books, intent: Object, ok: bool) -> Object:
    if intent["status"] != "processing":
        raise ValueError(f"{intent['id']} is {intent['status']}: no debit is under way")
    charge = books.find("charge", intent["latest_charge"])
    if ok:
        charge.update(status="succeeded", paid=True, amount_captured=charge["amount"])
        intent.update(status="succeeded", amount_received=intent["amount"])
    else:
        failure = {"code": "insufficient_funds", "message": "The account has insufficient funds.", "type": "card_error"}
        charge.update(status="failed", captured=False, failure_code=failure["code"], failure_message=failure["message"])
        intent.update(status="requires_payment_method", payment_method=None, last_payment_error=failure)
    books.emit("charge.succeeded" if ok else "charge.failed", charge)
    books.emit("payment_intent.succeeded" if ok else "payment_intent.payment_failed", intent)
    return intent


def capture(books: Books, params: Object, number: str) -> Object:
    """The rest of a partial capture is released, which the charge counts as refunded, though no refund object says so."""
    intent = books.find("payment_intent", number)
    if intent["status"] != "requires_capture":
        raise _unexpected(intent, "captured", "requires_capture")
    amount = params.get("amount_to_capture", intent["amount_capturable"])
    if amount < 1:
        raise bad_parameter("amount_to_capture", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if amount > intent["amount_capturable"]:
        most = money(intent["amount_capturable"], intent["currency"])
        message = f"The amount to capture is greater than the amount you can capture ({most})."
        raise wrong_state(message, "amount_too_large", param="amount_to_capture")
    charge = books.find("charge", intent["latest_charge"])
    charge.update(captured=True, amount_captured=amount, amount_refunded=charge["amount"] - amount)
    intent["metadata"].update(params.get("metadata") or {})
    intent.update(status="succeeded", amount_received=amount, amount_capturable=0)
    for session in books.tables["checkout.session"].values():
        if session["payment_intent"] == number:
            session["payment_status"] = "paid"
    books.emit("charge.captured", charge)
    books.emit("payment_intent.succeeded", intent)
    return intent


def cancel(books: Books, params: Object, number: str) -> Object:
    intent = books.find("payment_intent", number)
    sessions = books.tables["checkout.session"].values()
    if any(session["payment_intent"] == number and session["status"] == "open" for session in sessions):
        raise wrong_state("You cannot cancel the PaymentIntent of an open Checkout Session: expire the Checkout Session instead.")
    if intent["status"] not in CANCELABLE[:-1]:
        raise _unexpected(intent, "canceled", ", ".join(CANCELABLE))
    return release(books, intent, params.get("cancellation_reason"))


def release(books: Books, intent: Object, reason: str | None) -> Object:
    """Let go of what is held, if anything is."""
    held = intent["status"] == "requires_capture"
    intent.update(status="canceled", canceled_at=books.now(), cancellation_reason=reason, amount_capturable=0)
    if held:
        charge = books.find("charge", intent["latest_charge"])
        charge.update(amount_refunded=charge["amount"], refunded=True)
        books.emit("charge.expired" if reason == "automatic" else "charge.refunded", charge)
    books.emit("payment_intent.canceled", intent)
    return intent


def lapse(books: Books, intent: Object) -> None:
    """The bank's patience ends."""
    if intent["status"] == "requires_capture":
        release(books, intent, "automatic")


def _unexpected(intent: Object, done: str, allowed: str) -> Refused:
    message = (
        f"This PaymentIntent could not be {done} because it has a status of {intent['status']}. "
        f"Only a PaymentIntent with one of the following statuses may be {done}: {allowed}."
    )
    return wrong_state(message, "payment_intent_unexpected_state", payment_intent=dict(intent))
