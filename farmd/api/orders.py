"""Orders over HTTP: the order API's own paths, keys and words.

A handler reads the request, asks the rooms, and shows the order; another customer's order does not exist for a customer's key.
"""

from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from farmd.api.answers import answer, money
from farmd.api.auth import Caller, anyone, operator
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.api.job_views import show_live
from farmd.api.paging import PageNumber, PageSize, paging, read_cursor, write_cursor
from farmd.api.problems import Problem
from farmd.api.rooms import Rooms
from farmd.api.schemas import CancelIn, Destination, LineItemIn, OrderIn, PayIn, QuoteIn, ShipIn
from farmd.domain.catalog import Problem as Fault
from farmd.domain.lifecycle import OrderStatus
from farmd.domain.pricing import Quote
from farmd.domain.refusals import Unacceptable
from farmd.orders.cancel import cancel
from farmd.orders.place import Basket, place
from farmd.orders.quote import Line, quote
from farmd.orders.release import release
from farmd.orders.ship import ship
from farmd.store.engine import Tx
from farmd.store.order_lists import Filter, Page, order_page, order_row, timeline
from farmd.store.rows import Missing, Row
from farmd.store.views import order_view

router = json_router(tags=["orders"])

Anyone = Annotated[Caller, Depends(anyone)]
Operator = Annotated[Caller, Depends(operator)]
CHECKOUT_PATIENCE = 3.0  # seconds that an answer may wait for the payment provider to open its page
_AMOUNTS = ("subtotal", "shipping", "tax", "total", "shippingTax", "authorized", "captured", "refunded", "chargedBack")


def present(view: dict[str, Any]) -> dict[str, Any]:
    """An order for the outside: amounts as decimals of its currency."""
    currency = view["currency"]
    lines = [line | {key: money(line[key], currency) for key in ("unitPrice", "total", "tax")} for line in view["lineItems"]]
    amounts = {key: money(view[key], currency) for key in _AMOUNTS}
    return view | {"lineItems": lines, "shippingAddress": view["shippingAddress"] or None} | amounts


def visible(connection: Any, order_id: str, caller: Caller) -> Row:
    """The order, if this caller may know of it. Raises `Missing`."""
    order = order_row(connection, order_id)
    if not caller.owns(order["customer_id"]):
        raise Missing("order", order_id)
    return order


def _shown(tx: Tx, order_id: str) -> dict[str, Any]:
    return present(order_view(tx.connection, order_id))


def _lines(sent: list[LineItemIn]) -> list[Line]:
    return [Line(line.sku_id, line.quantity, line.options) for line in sent]


def _address(sent: Destination | None) -> dict[str, Any]:
    return sent.model_dump(exclude_none=True) if sent else {}


def _priced(quoted: Quote, currency: str) -> dict[str, Any]:
    lines = [
        {
            "skuId": line.sku_id,
            "quantity": line.quantity,
            "unitPrice": money(line.unit_price, currency),
            "total": money(line.total, currency),
            "tax": money(line.tax, currency),
            "options": dict(line.options),
        }
        for line in quoted.lines
    ]
    sums = {key: money(getattr(quoted, key), currency) for key in ("subtotal", "shipping", "tax", "total")}
    rules = {
        "taxRate": float(quoted.rule.rate),
        "taxRule": quoted.rule.name,
        "taxIncluded": quoted.rule.included,
        "shippingTax": money(quoted.shipping_tax, currency),
        "shippingMethod": quoted.method,
    }
    return {"lineItems": lines, **sums, "currency": currency, **rules}


def _statuses(text: str | None) -> tuple[OrderStatus, ...]:
    known, words = {status.value: status for status in OrderStatus}, (text or "").split(",")
    unknown = [word for word in words if word and word not in known]
    if unknown:
        detail = f"{unknown[0]!r} is no status; the statuses are {', '.join(known)}"
        raise Unacceptable("unknown_status", [Fault("?status", detail)])
    return tuple(known[word] for word in words if word)


@router.post("/api/orders", status_code=201)
async def place_order(request: Request, sent: OrderIn, caller: Anyone) -> Response:
    """Place an order. Prices come from the catalog; the answer is the order, waiting for its payment."""
    if not caller.owns(sent.customer_id):
        raise Problem(403, "not_your_customer", f"this key orders for {caller.customer_id} only; send that as customerId")
    rooms: Rooms = request.app.state.rooms
    basket = Basket(sent.customer_id, _lines(sent.line_items), _address(sent.shipping_address), sent.notes)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        order_id = place(tx, rooms.settings, basket)
        rooms.payments.expect(tx, order_row(tx.connection, order_id))
        return 201, _shown(tx, order_id)

    return await command(request, effect, afterwards=lambda shown: _with_checkout(rooms, shown))


async def _with_checkout(rooms: Rooms, shown: dict[str, Any]) -> dict[str, Any] | None:
    """The order once more with the address where it can be paid, if that comes about soon; the order stands all the same."""
    if not await rooms.payments.opened(shown["id"], CHECKOUT_PATIENCE):
        return None
    return present(await rooms.store.read(partial(order_view, order_id=shown["id"])))


@router.post("/api/quotes")
async def quote_basket(request: Request, sent: QuoteIn, _caller: Anyone) -> Response:
    """What a basket would cost, sent to an address or collected. Nothing is kept."""
    settings = request.app.state.rooms.settings
    lines, address = _lines(sent.line_items), _address(sent.shipping_address)
    return await command(request, lambda tx: (200, _priced(quote(tx, settings, lines, address), settings.currency)))


@router.get("/api/orders")
async def list_orders(
    request: Request,
    caller: Anyone,
    status: Annotated[str | None, Query(description="One status, or several with commas between")] = None,
    customer_id: Annotated[str | None, Query(alias="customerId")] = None,
    page: PageNumber | None = None,
    limit: PageSize = 20,
    cursor: Annotated[str | None, Query(description="nextCursor of the page before; instead of page")] = None,
) -> Response:
    """Orders, newest first. A customer's key lists its own."""
    if cursor is not None and page is not None:
        raise Unacceptable("invalid", [Fault("?page", "give a page or a cursor, not both")])
    if customer_id is not None and not caller.owns(customer_id):
        return answer(200, {"data": [], **paging(page or 1, limit, 0), "nextCursor": None})
    only = Filter(_statuses(status), customer_id or caller.customer_id)
    after = read_cursor(cursor) if cursor is not None else None
    rooms: Rooms = request.app.state.rooms

    def read(connection: Any) -> Page:
        found = order_page(connection, only, limit=limit, page=page or 1, after=after)
        show_live(connection, rooms.registry, found.orders, rooms.world.now())
        return found

    found = await rooms.store.read(read)
    number = None if after else page or 1
    body = {"data": [present(view) for view in found.orders], **paging(number, limit, found.total)}
    return answer(200, body | {"nextCursor": write_cursor(found.following)})


@router.get("/api/orders/{order_id}")
async def get_order(request: Request, order_id: str, caller: Anyone) -> Response:
    """One order with its jobs."""
    rooms: Rooms = request.app.state.rooms

    def read(connection: Any) -> dict[str, Any]:
        visible(connection, order_id, caller)
        view = order_view(connection, order_id)
        show_live(connection, rooms.registry, [view], rooms.world.now())
        return view

    return answer(200, present(await rooms.store.read(read)))


@router.post("/api/orders/{order_id}/cancel")
async def cancel_order(request: Request, order_id: str, caller: Anyone, sent: CancelIn | None = None) -> Response:
    """Take an order back; a second time changes nothing. Printing jobs are stopped, what was paid is owed back."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        visible(tx.connection, order_id, caller)
        cancel(tx, order_id, sent.reason if sent else None, request.app.state.rooms.payments.take_back)
        return 200, _shown(tx, order_id)

    return await command(request, effect)


@router.post("/api/orders/{order_id}/pay")
async def pay_order(request: Request, order_id: str, _caller: Operator, sent: PayIn | None = None) -> Response:
    """The whole amount has arrived, says an operator. The lines become jobs."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        reference = sent.reference if sent else None
        request.app.state.rooms.payments.accept(tx, order_row(tx.connection, order_id), reference)
        return 200, _shown(tx, order_id)

    return await command(request, effect)


@router.post("/api/orders/{order_id}/checkout")
async def open_checkout(request: Request, order_id: str, caller: Anyone) -> Response:
    """A new place to pay, when the last one expired."""

    rooms: Rooms = request.app.state.rooms

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        rooms.payments.open_checkout(tx, visible(tx.connection, order_id, caller))
        return 200, _shown(tx, order_id)

    return await command(request, effect, afterwards=lambda shown: _with_checkout(rooms, shown))


@router.post("/api/orders/{order_id}/ship")
async def ship_order(request: Request, order_id: str, sent: ShipIn, _caller: Operator) -> Response:
    """Handed to a carrier. The order must be ready."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        ship(tx, order_id, sent.carrier, sent.tracking_number)
        return 200, _shown(tx, order_id)

    return await command(request, effect)


@router.post("/api/orders/{order_id}/release")
async def release_order(request: Request, order_id: str, _caller: Operator) -> Response:
    """Make and ship an order although its payment is disputed."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        release(tx, order_id)
        return 200, _shown(tx, order_id)

    return await command(request, effect)


@router.get("/api/orders/{order_id}/events")
async def order_events(
    request: Request,
    order_id: str,
    caller: Anyone,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """What happened to an order, oldest first."""

    def read(connection: Any) -> list[dict[str, Any]]:
        visible(connection, order_id, caller)
        return timeline(connection, order_id, after=after, limit=limit)

    return answer(200, {"data": await request.app.state.rooms.store.read(read)})
