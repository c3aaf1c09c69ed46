"""How much a refund comes to, and whether so much is there to give back.

A unit's refund is its price and its share of its line's tax. The line's tax was stored with the order, so that a rule that changed
since changes no refund; the shares of all units and of the shipping add up to the tax that was paid, to the cent. Shipping and its
tax go back only with all that is left of an order, or as a stated amount.
"""

from dataclasses import dataclass

from farmd.domain.catalog import Problem
from farmd.domain.money import card_coin, share_out, to_text
from farmd.domain.refusals import NotNow, Unacceptable
from farmd.store.engine import Tx
from farmd.store.refunds import lines_of, under_way, units_refunded
from farmd.store.rows import Row


@dataclass(frozen=True, slots=True)
class RefundWish:
    """What is asked for: an amount (minor units), some units of a line, a whole line, or (nothing given) all that is left."""

    amount: int | None = None
    line_item_id: str | None = None
    quantity: int | None = None


@dataclass(frozen=True, slots=True)
class Refundable:
    """What the wish comes to in minor units, and the units it is for."""

    amount: int
    quantity: int | None


def refundable(tx: Tx, order: Row, wish: RefundWish) -> Refundable:
    """Work out a refund. Raises `Unacceptable` for a wish that makes no sense, `NotNow` for more than was captured and kept."""
    left = order["captured"] - order["refunded"] - order["charged_back"] - under_way(tx.connection, order["id"])
    if left <= 0:
        why = "nothing was paid yet" if order["captured"] == 0 else "all of it was given back, or is on its way back"
        raise NotNow("nothing_to_refund", f"order {order['id']}: {why}")
    wanted = _work_out(tx, order, wish, left)
    if wanted.amount > left:
        texts = (to_text(wanted.amount, order["currency"]), to_text(left, order["currency"]), order["currency"])
        raise NotNow("refund_exceeds_captured", "a refund of {} is wanted, but only {} {} are left to give back".format(*texts))
    return wanted


def _work_out(tx: Tx, order: Row, wish: RefundWish, left: int) -> Refundable:
    line = _line(tx, order, wish.line_item_id) if wish.line_item_id is not None else None
    if wish.amount is not None:
        if wish.quantity is not None:
            raise Unacceptable("invalid", [Problem("/quantity", "give an amount or a quantity, not both")])
        return Refundable(wish.amount, None)
    if line is None:
        if wish.quantity is not None:
            raise Unacceptable("invalid", [Problem("/lineItemId", "is required with a quantity")])
        return Refundable(left, None)
    done = units_refunded(tx.connection, line["id"])
    quantity = line["quantity"] - done if wish.quantity is None else wish.quantity
    if quantity < 1 or done + quantity > line["quantity"]:
        left_over = f"{line['quantity'] - done} of the {line['quantity']} units of {line['id']}"
        raise NotNow("refund_exceeds_captured", f"only {left_over} are not refunded yet")
    return Refundable(units_amount(order, line, done, quantity), quantity)


def _line(tx: Tx, order: Row, line_item_id: str) -> Row:
    for line in lines_of(tx.connection, order["id"]):
        if line["id"] == line_item_id:
            return line
    raise Unacceptable("unknown_line_item", [Problem("/lineItemId", f"{line_item_id!r} is no line of order {order['id']}")])


def units_amount(order: Row, line: Row, first: int, quantity: int) -> int:
    """Price and tax of the units `first` to `first + quantity` of a line, from the shares stored when the order was placed."""
    price = quantity * line["unit_price"]
    if order["tax_included"]:
        return int(price)
    of_units = share_out(line["tax"], [1] * line["quantity"], card_coin(order["currency"]))
    return int(price + sum(of_units[first : first + quantity]))
