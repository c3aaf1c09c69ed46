"""Checkout sessions and the buyer in front of them. It must never let a session be paid twice, or paid after it ended."""

from typing import Any

from tests.doubles import stripe_payments as payments
from tests.doubles.stripe_books import Books, Object
from tests.doubles.stripe_currencies import check_amount, check_charge, check_currency
from tests.doubles.stripe_errors import Refused, bad_parameter, wrong_state
from tests.doubles.stripe_objects import shaped

SHORTEST, LONGEST = 30 * 60, 24 * 3600
MOST_LINES, MOST_SHIPPING, LONGEST_REFERENCE = 100, 5, 200


def create(books: Books, params: Object) -> Object:
    """Only mode=payment with prices given in the call; the rest of Checkout is not farmd's."""
    if params.get("mode") != "payment":
        raise bad_parameter("mode", "The double knows only Checkout Sessions with mode=payment.")
    _check_addresses(params)
    lines = [_line(books, line, f"line_items[{place}]") for place, line in enumerate(_lines(params))]
    currency = _one_currency([line["currency"] for line in lines])
    subtotal = sum(line["amount_subtotal"] for line in lines)
    shipping = _shipping(params, currency)
    total = subtotal + (shipping["amount_total"] if shipping else 0)
    if total:
        check_charge(total, currency, "line_items", "The Checkout Session's total amount")
    number = books.number("cs_test_a1", 56)
    session = books.add(
        "checkout.session",
        id=number,
        amount_subtotal=subtotal,
        amount_total=total,
        automatic_tax={"enabled": False, "liability": None, "provider": None, "status": None},
        created=books.now(),
        currency=currency,
        custom_fields=[],
        custom_text={"after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None},
        expires_at=_expiry(books, params.get("expires_at")),
        livemode=False,
        metadata=params.get("metadata") or {},
        mode="payment",
        payment_method_types=["card", "us_bank_account"],
        payment_status="unpaid" if total else "no_payment_required",
        shipping_cost=shipping,
        shipping_options=[{"shipping_amount": shipping["amount_total"], "shipping_rate": shipping["shipping_rate"]}]
        if shipping
        else [],
        status="open",
        total_details={"amount_discount": 0, "amount_shipping": shipping["amount_total"] if shipping else 0, "amount_tax": 0},
        ui_mode="hosted_page",
        url=f"https://checkout.stripe.com/c/pay/{number}#fidkdWxOYHwnPyd1blpxYHZxWjA0",
        **{name: params.get(name) for name in ("cancel_url", "client_reference_id", "customer_email", "success_url")},
    )
    books.plans[number] = {"intent": params.get("payment_intent_data") or {}, "line_items": lines}
    books.due(number, session["expires_at"], lambda: _end(books, session))
    return session


def _check_addresses(params: Object) -> None:
    if "success_url" not in params:
        raise bad_parameter("success_url", "Missing required param: success_url.", "parameter_missing")
    for name in ("success_url", "cancel_url"):
        if name in params and not params[name].startswith(("http://", "https://")):
            raise bad_parameter(name, "Not a valid URL", "url_invalid")
    if "@" not in params.get("customer_email", "@"):
        raise bad_parameter("customer_email", f"Invalid email address: {params['customer_email']}", "email_invalid")
    if len(params.get("client_reference_id", "")) > LONGEST_REFERENCE:
        raise bad_parameter("client_reference_id", f"Invalid string: must be at most {LONGEST_REFERENCE} characters")


def _lines(params: Object) -> list[Object]:
    lines = params.get("line_items")
    if not lines:
        raise bad_parameter("line_items", "Missing required param: line_items.", "parameter_missing")
    if len(lines) > MOST_LINES:
        raise bad_parameter("line_items", f"Array line_items exceeded maximum {MOST_LINES} allowed elements.")
    return list(lines)


def _line(books: Books, line: Object, where: str) -> Object:
    price, quantity = line.get("price_data"), line.get("quantity")
    if price is None or line.get("tax_rates"):
        raise bad_parameter(where, f"The double has no prices and no tax rates: give {where}[price_data].")
    if quantity is None or quantity < 1:
        raise bad_parameter(f"{where}[quantity]", f"Quantity is required and at least 1: {where}[quantity].", "parameter_missing")
    if "unit_amount" not in price or "product_data" not in price:
        missing = next(name for name in ("unit_amount", "product_data") if name not in price)
        raise bad_parameter(f"{where}[price_data]", f"Missing required param: {where}[price_data][{missing}].", "parameter_missing")
    currency = check_currency(price["currency"], f"{where}[price_data][currency]")
    amount = check_amount(price["unit_amount"], currency, f"{where}[price_data][unit_amount]")
    behaviour = price.get("tax_behavior", "unspecified")
    made = {
        "id": books.number("price_1"),
        "object": "price",
        "currency": currency,
        "unit_amount": amount,
        "tax_behavior": behaviour,
    }
    made["product"] = books.number("prod_", 14)
    total = amount * quantity
    return shaped(
        "item",
        id=books.number("li_1"),
        amount_discount=0,
        amount_subtotal=total,
        amount_tax=0,
        amount_total=total,
        currency=currency,
        description=price["product_data"]["name"],
        price=made,
        quantity=quantity,
        metadata=line.get("metadata") or {},
    )


def _one_currency(currencies: list[str]) -> str:
    if len(set(currencies)) > 1:
        raise bad_parameter("line_items", f"All line items must have the same currency: {', '.join(sorted(set(currencies)))}")
    return currencies[0]


def _shipping(params: Object, currency: str) -> Object | None:
    options = params.get("shipping_options") or []
    if len(options) > MOST_SHIPPING:
        raise bad_parameter("shipping_options", f"Array shipping_options exceeded maximum {MOST_SHIPPING} allowed elements.")
    if not options:
        return None
    where = "shipping_options[0][shipping_rate_data][fixed_amount]"
    amount = options[0].get("shipping_rate_data", {}).get("fixed_amount")
    if amount is None:
        raise bad_parameter(where, f"Missing required param: {where}.", "parameter_missing")
    if amount["currency"].lower() != currency:
        raise bad_parameter(f"{where}[currency]", f"The shipping rate is not available in {currency}.")
    total = check_amount(amount["amount"], currency, f"{where}[amount]")
    return {"amount_subtotal": total, "amount_tax": 0, "amount_total": total, "shipping_rate": "shr_1Double"}


def _expiry(books: Books, given: int | None) -> int:
    if given is None:
        return books.now() + LONGEST
    if given < books.now() + SHORTEST:
        raise bad_parameter("expires_at", "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.")
    if given > books.now() + LONGEST:
        raise bad_parameter("expires_at", "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.")
    return given


def sessions(books: Books, params: Object) -> Object:
    def keep(session: Object) -> bool:
        return all(params.get(name) in (None, session[name]) for name in ("status", "payment_intent"))

    return books.page("checkout.session", "/v1/checkout/sessions", params, keep)


def expire(books: Books, _params: Object, number: str) -> Object:
    session = books.find("checkout.session", number)
    if session["status"] != "open":
        raise wrong_state(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of `{session['status']}`.",
        )
    return _end(books, session)


def _end(books: Books, session: Object) -> Object:
    if session["status"] == "open":
        session.update(status="expired", url=None)
        books.emit("checkout.session.expired", session)
        if session["payment_intent"]:
            payments.release(books, books.find("payment_intent", session["payment_intent"]), "expired")
    return session


# the buyer


def pay(books: Books, number: str, amount: int | None = None, currency: str | None = None) -> Object:
    """With a card. Another amount or currency than asked is what a misconfigured shop or a tampered page would bring."""
    session = _open(books, number)
    session.update(amount_total=session["amount_total"] if amount is None else amount, currency=currency or session["currency"])
    if session["amount_total"] == 0:
        session.update(status="complete", url=None)
        books.emit("checkout.session.completed", session)
        return session
    intent = payments.authorise(books, _intent(books, session))
    session.update(status="complete", url=None, payment_status="paid" if intent["status"] == "succeeded" else "unpaid")
    _remember_buyer(session)
    books.emit("checkout.session.completed", session)
    return session


def pay_async(books: Books, number: str) -> Object:
    session = _open(books, number)
    payments.begin_debit(books, _intent(books, session))
    session.update(status="complete", url=None)
    _remember_buyer(session)
    books.emit("checkout.session.completed", session)
    return session


def settle_async(books: Books, number: str, ok: bool) -> Object:
    session = books.find("checkout.session", number)
    payments.end_debit(books, books.find("payment_intent", session["payment_intent"]), ok)
    session["payment_status"] = "paid" if ok else "unpaid"
    books.emit(f"checkout.session.async_payment_{'succeeded' if ok else 'failed'}", session)
    return session


def decline(books: Books, number: str) -> Object:
    session = _open(books, number)
    payments.decline(books, _intent(books, session))
    return session


def _open(books: Books, number: str) -> Object:
    session = books.find("checkout.session", number)
    if session["status"] != "open":
        raise Refused(400, f"The buyer sees: this page is no longer available ({session['status']}).")
    return session


def _remember_buyer(session: Object) -> None:
    email = session["customer_email"] or "buyer@example.com"
    session["customer_details"] = {
        "address": None,
        "email": email,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }


def _intent(books: Books, session: Object) -> Object:
    """Made at the first attempt to pay, not with the session."""
    if session["payment_intent"]:
        intent = books.find("payment_intent", session["payment_intent"])
        intent.update(amount=session["amount_total"], currency=session["currency"])
        return intent
    plan: dict[str, Any] = books.plans[session["id"]]["intent"]
    names = (
        "capture_method",
        "description",
        "metadata",
        "receipt_email",
        "shipping",
        "statement_descriptor_suffix",
        "transfer_group",
    )
    known = {name: plan[name] for name in names if plan.get(name)}
    intent = payments.new_intent(books, session["amount_total"], session["currency"], **known)
    session["payment_intent"] = intent["id"]
    return intent
