"""What a person has to look at about an order's money, said once and taken back when it is over."""

from collections.abc import Sequence

from farmd.domain.money import to_text
from farmd.domain.till import CheckoutState
from farmd.store.engine import Tx
from farmd.store.rows import Row
from farmd.store.transitions import keep_attention


def complain(tx: Tx, order: Row, checkouts: Sequence[Row]) -> None:
    """Bring the order's attention in line with its money. `order` is the row as it stands in this transaction."""
    found = {
        "payment_mismatch": _mismatch(order, checkouts),
        "payment_disputed": _disputed(order),
        "charged_back": _charged_back(order),
        "refund_failed": _refund_failed(order),
        "payment_failed": _payment_failed(order, checkouts),
    }
    standing = {entry["code"] for entry in order["attention"]}
    for code, detail in found.items():
        if detail is not None or code in standing:  # the rule is neither, and costs no statement
            keep_attention(tx, order["id"], code, detail)


def _mismatch(order: Row, checkouts: Sequence[Row]) -> str | None:
    wrong = next((row for row in checkouts if not row["agrees"]), None)
    if wrong is None or (order["captured"] and order["refunded"] >= order["captured"]):
        return None
    asked = f"{to_text(order['total'], order['currency'])} {order['currency']}"
    return (
        f"payment {wrong['intent_id']} is not what was asked for ({asked}); nothing is made. Look at it at Stripe, then "
        "refund or cancel the order"
    )


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
    return f"a refund failed; GET /api/orders/{order['id']}/refunds tells why. Refund again, or give it back in another way"


def _payment_failed(order: Row, checkouts: Sequence[Row]) -> str | None:
    waits = order["paid_at"] is None and order["cancelled_at"] is None
    if not (waits and checkouts and checkouts[-1]["state"] == CheckoutState.VOIDED):
        return None
    return f"the customer's bank did not pay; POST /api/orders/{order['id']}/checkout opens a new checkout"
