"""Refunds over HTTP: how much is worked out by `orders`, carried out by whoever holds the money."""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from farmd.api.answers import answer, money
from farmd.api.auth import Caller, anyone, operator
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.api.orders import present, visible
from farmd.api.schemas import RefundIn
from farmd.domain.catalog import Problem as Fault
from farmd.domain.money import MoneyError, to_minor
from farmd.domain.refusals import Unacceptable
from farmd.domain.till import RefundState
from farmd.orders.refund import RefundWish, refundable
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row
from farmd.store.refunds import refund_row, refunds_by_age
from farmd.store.rows import Row
from farmd.store.views import iso, order_view

router = json_router(tags=["orders"])


def show_refund(refund: Row, currency: str) -> dict[str, Any]:
    """A refund for the outside."""
    return {
        "id": refund["id"],
        "orderId": refund["order_id"],
        "amount": money(refund["amount"], currency),
        "currency": currency,
        "status": "pending" if refund["state"] == RefundState.OWED else refund["state"].lower(),
        "cause": refund["cause"],
        "lineItemId": refund["line_item_id"],
        "quantity": refund["quantity"],
        "reason": refund["reason"],
        "failure": refund["failure"],
        "createdAt": iso(refund["created_at"]),
        "settledAt": iso(refund["settled_at"]),
    }


def _amount(sent: RefundIn, currency: str) -> int | None:
    try:
        return None if sent.amount is None else to_minor(sent.amount, currency)
    except MoneyError as error:
        raise Unacceptable("invalid", [Fault("/amount", str(error))]) from error


@router.post("/api/orders/{order_id}/refunds", status_code=201)
async def refund_order(
    request: Request, order_id: str, _caller: Annotated[Caller, Depends(operator)], sent: RefundIn | None = None
) -> Response:
    """Give money back: an amount, some units of a line with their tax, a line, or all that is left. Never more than was paid."""
    sent = sent or RefundIn()

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        order = order_row(tx.connection, order_id)
        currency = order["currency"]
        wish = RefundWish(_amount(sent, currency), sent.line_item_id, sent.quantity)
        wanted = refundable(tx, order, wish)
        refund_id = request.app.state.rooms.payments.refund(
            tx,
            order,
            wanted.amount,
            reason=sent.reason,
            line_item_id=sent.line_item_id,
            quantity=wanted.quantity,
            by_hand=sent.by_hand,
        )
        shown = show_refund(refund_row(tx.connection, refund_id), currency)
        return 201, shown | {"order": present(order_view(tx.connection, order_id))}

    return await command(request, effect)


@router.get("/api/orders/{order_id}/refunds")
async def list_refunds(request: Request, order_id: str, caller: Annotated[Caller, Depends(anyone)]) -> Response:
    """Every refund of an order, oldest first."""

    def read(connection: Any) -> list[dict[str, Any]]:
        currency = visible(connection, order_id, caller)["currency"]
        return [show_refund(refund, currency) for refund in refunds_by_age(connection, order_id)]

    return answer(200, {"data": await request.app.state.rooms.store.read(read)})
