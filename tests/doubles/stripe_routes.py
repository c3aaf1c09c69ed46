"""Which call is answered by what: method, path, the library's class of its parameters, and the entry in the books. It must never
hold a rule of Stripe's."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.doubles import stripe_checkout as checkout
from tests.doubles import stripe_payments as payments
from tests.doubles import stripe_refunds as refunds
from tests.doubles.stripe_books import Books, Object
from tests.doubles.stripe_errors import Refused
from tests.doubles.stripe_objects import listed, shaped
from tests.doubles.stripe_params import check, decode, params_class

Answer = Callable[..., Object]


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    params: Any
    answer: Answer

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        found = re.fullmatch(self.path.replace("{id}", "([^/]+)"), path) if method == self.method else None
        return found.groups() if found else None


def _retrieve(kind: str) -> Answer:
    def answer(books: Books, _params: Object, number: str) -> Object:
        return books.find(kind, number)

    return answer


def _list_of(kind: str, url: str) -> Answer:
    def answer(books: Books, params: Object) -> Object:
        return books.page(kind, url, params, lambda each: refunds.of(params, each))

    return answer


def _intents(books: Books, params: Object) -> Object:
    return books.page("payment_intent", "/v1/payment_intents", params)


def _line_items(books: Books, params: Object, number: str) -> Object:
    books.find("checkout.session", number)
    return books.line_items(number, params)


def _events(books: Books, params: Object) -> Object:
    return books.list_events(params)


def _balance(books: Books, _params: Object) -> Object:
    sums = {books.account["default_currency"]: 0}
    for charge in books.tables["charge"].values():
        sums[charge["currency"]] = sums.get(charge["currency"], 0) + refunds.left_of(books, charge)
    amounts = [{"amount": amount, "currency": currency, "source_types": {"card": amount}} for currency, amount in sums.items()]
    return shaped(
        "balance", available=amounts, pending=[{"amount": 0, "currency": each["currency"]} for each in amounts], livemode=False
    )


def _account(books: Books, _params: Object) -> Object:
    return books.account


def _endpoints(books: Books, params: Object) -> Object:
    page = books.page("webhook_endpoint", "/v1/webhook_endpoints", params)
    return listed(
        page["url"], [{name: value for name, value in each.items() if name != "secret"} for each in page["data"]], page["has_more"]
    )


def add_endpoint(books: Books, params: Object) -> Object:
    """The one answer that shows the secret."""
    return books.add(
        "webhook_endpoint",
        id=books.number("we_1"),
        api_version=params.get("api_version"),
        created=books.now(),
        description=params.get("description"),
        enabled_events=list(params["enabled_events"]),
        livemode=False,
        metadata=params.get("metadata") or {},
        secret=books.number("whsec_", 32),
        status="enabled",
        url=params["url"],
    )


def _route(method: str, path: str, module: str, name: str, answer: Answer) -> Route:
    return Route(method, f"/v1/{path}", params_class(module, name), answer)


ROUTES = (
    _route("POST", "checkout/sessions", "checkout._session_create_params", "SessionCreateParams", checkout.create),
    _route("GET", "checkout/sessions", "checkout._session_list_params", "SessionListParams", checkout.sessions),
    _route(
        "GET", "checkout/sessions/{id}", "checkout._session_retrieve_params", "SessionRetrieveParams", _retrieve("checkout.session")
    ),
    _route("POST", "checkout/sessions/{id}/expire", "checkout._session_expire_params", "SessionExpireParams", checkout.expire),
    _route(
        "GET",
        "checkout/sessions/{id}/line_items",
        "checkout._session_line_item_list_params",
        "SessionLineItemListParams",
        _line_items,
    ),
    _route("POST", "payment_intents", "_payment_intent_create_params", "PaymentIntentCreateParams", payments.create),
    _route("GET", "payment_intents", "_payment_intent_list_params", "PaymentIntentListParams", _intents),
    _route(
        "GET", "payment_intents/{id}", "_payment_intent_retrieve_params", "PaymentIntentRetrieveParams", _retrieve("payment_intent")
    ),
    _route(
        "POST", "payment_intents/{id}/confirm", "_payment_intent_confirm_params", "PaymentIntentConfirmParams", payments.confirm
    ),
    _route(
        "POST", "payment_intents/{id}/capture", "_payment_intent_capture_params", "PaymentIntentCaptureParams", payments.capture
    ),
    _route("POST", "payment_intents/{id}/cancel", "_payment_intent_cancel_params", "PaymentIntentCancelParams", payments.cancel),
    _route("GET", "charges/{id}", "_charge_retrieve_params", "ChargeRetrieveParams", _retrieve("charge")),
    _route("POST", "refunds", "_refund_create_params", "RefundCreateParams", refunds.create),
    _route("GET", "refunds", "_refund_list_params", "RefundListParams", _list_of("refund", "/v1/refunds")),
    _route("GET", "refunds/{id}", "_refund_retrieve_params", "RefundRetrieveParams", _retrieve("refund")),
    _route("GET", "disputes", "_dispute_list_params", "DisputeListParams", _list_of("dispute", "/v1/disputes")),
    _route("GET", "disputes/{id}", "_dispute_retrieve_params", "DisputeRetrieveParams", _retrieve("dispute")),
    _route("GET", "events", "_event_list_params", "EventListParams", _events),
    _route("GET", "events/{id}", "_event_retrieve_params", "EventRetrieveParams", _retrieve("event")),
    _route("GET", "balance", "_balance_retrieve_params", "BalanceRetrieveParams", _balance),
    _route("GET", "account", "_account_retrieve_current_params", "AccountRetrieveCurrentParams", _account),
    _route("GET", "webhook_endpoints", "_webhook_endpoint_list_params", "WebhookEndpointListParams", _endpoints),
    _route("POST", "webhook_endpoints", "_webhook_endpoint_create_params", "WebhookEndpointCreateParams", add_endpoint),
)


def route(method: str, path: str) -> tuple[Route, tuple[str, ...]]:
    for each in ROUTES:
        if (numbers := each.match(method, path)) is not None:
            return each, numbers
    raise Refused(404, f"Unrecognized request URL ({method}: {path}).")


def answer(books: Books, method: str, path: str, encoded: str) -> Object:
    """Validate, do, expand: one call of the API upon the books."""
    found, numbers = route(method, path)
    params = check(found.params, decode(encoded))
    asked = params.pop("expand", [])
    return books.expanded(found.answer(books, params, *numbers), asked)
