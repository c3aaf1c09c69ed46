"""What a person has to look at about an order's money, said once and taken back when it is over."""

from collections.abc import Sequence

from farmd.domain.money import to_text
from farmd.domain.till import CheckoutState
from farmd.payments.account import Account
from farmd.payments.figures import mismatched, refund_facts
from farmd.store import till
from farmd.store.rows import Row
from farmd.store.transitions import keep_attention

AFTER_TRIES = 4
"""Tries of a request after which a person is told that it does not get through."""


def complain(account: Account) -> None:
    """Bring the order's attention in line with its money."""
    tx, order, checkouts = account.tx, account.order, account.checkouts
    order = keep_attention(tx, order, "payment_mismatch", _mismatch(account))
    order = keep_attention(tx, order, "payment_disputed", _disputed(order))
    order = keep_attention(tx, order, "charged_back", _charged_back(order))
    order = keep_attention(tx, order, "refund_failed", _refund_failed(order))
    order = keep_attention(tx, order, "payment_failed", _payment_failed(order, checkouts))
    if order["cancelled_at"] is not None or order["paid_at"] is not None:
        order = keep_attention(tx, order, "checkout_failed", None)
    account.order = order
    complain_of_calls(account)


def complain_of_calls(account: Account) -> None:
    """Tell of requests that do not get through, for as long as they do not."""
    stuck = next((call for call in account.calls if till.tries_of(account.tx.connection, call) >= AFTER_TRIES), None)
    detail = None
    if stuck is not None:
        why = till.last_error(account.tx.connection, stuck)
        detail = f"Stripe has not taken the request to {stuck['kind']} yet ({why}); farmd keeps trying"
    if account.order["disputed"]:
        detail = None  # that is told already, and is the reason
    account.order = keep_attention(account.tx, account.order, "payment_stuck", detail)


def _mismatch(account: Account) -> str | None:
    order = account.order
    wrong = mismatched(account.checkouts, [refund_facts(row) for row in account.refunds])
    if wrong is None:
        return None
    asked = f"{to_text(order['total'], order['currency'])} {order['currency']}"
    cure = "Look at it at Stripe, then refund or cancel the order"
    return f"payment {wrong['intent_id']} is not what was asked for ({asked}); nothing is started. {cure}"


def _disputed(order: Row) -> str | None:
    if not order["disputed"]:
        return None
    release = f"POST /api/orders/{order['id']}/release makes it all the same"
    return f"the customer disputes the payment; nothing more is started. Answer in Stripe's dashboard; {release}"


def _charged_back(order: Row) -> str | None:
    if order["charged_back"] == 0:
        return None
    taken = f"{to_text(order['charged_back'], order['currency'])} {order['currency']}"
    return f"the customer's bank took {taken} back; cancel or release the order"


def _refund_failed(order: Row) -> str | None:
    if order["payment_status"] != "refund_failed":
        return None
    refunds = f"/api/orders/{order['id']}/refunds"
    return f'a refund failed; GET {refunds} tells why. POST there again, or with "byHand": true once you gave it back otherwise'


def _payment_failed(order: Row, checkouts: Sequence[Row]) -> str | None:
    waits = order["paid_at"] is None and order["cancelled_at"] is None
    if not (waits and checkouts and checkouts[-1]["state"] == CheckoutState.VOIDED):
        return None
    return f"the customer's bank did not pay; POST /api/orders/{order['id']}/checkout opens a new checkout"
