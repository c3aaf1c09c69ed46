"""The two doors without a key: Stripe's own messages, which are signed, and the page a customer comes back to after paying.

Neither believes what it is told. Both only make the till look, and answer with nothing that a stranger should not know.
"""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from jinja2 import Environment
from starlette.responses import HTMLResponse, Response

from farmd.api.answers import answer
from farmd.api.problems import Problem
from farmd.api.rooms import Rooms
from farmd.payments.stripe_api import Refused
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.order_lists import order_row

router = APIRouter(tags=["payments"])
_PAGE = Environment(autoescape=True).from_string(
    """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }}</title><style>:root{color-scheme:light dark;font:18px/1.5 system-ui,sans-serif}
body{max-width:32rem;margin:20vh auto;padding:0 1rem;text-align:center}</style><h1>{{ title }}</h1><p>{{ words }}</p></html>"""
)
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Referrer-Policy": "no-referrer"}
_PATIENCE = 3.0


@router.post("/webhooks/stripe")
async def stripe_webhook(request: Request) -> Response:
    """A message of Stripe. Kept durably, then answered; anything that Stripe did not sign is refused."""
    rooms: Rooms = request.app.state.rooms
    if rooms.desk is None:
        raise Problem(400, "no_stripe", "this farm takes no payments through Stripe")
    try:
        payload = await request.body()
        await rooms.desk.inbox.receive(payload, request.headers.get("stripe-signature", ""))
    except (Refused, Problem) as error:
        raise Problem(400, "bad_webhook", str(error)) from None
    return answer(200, {"received": True})


@router.get("/checkout/success", include_in_schema=False)
async def paid_page(request: Request, session_id: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """Where a customer lands after paying, unless the shop has a page of its own."""
    rooms: Rooms = request.app.state.rooms
    paid = await _is_paid(rooms, session_id) if rooms.desk is not None else None
    if paid is None:
        return _page(404, "Nothing here", "This page belongs to a payment. Please go back to the shop.")
    if paid:
        return _page(200, "Thank you", "Your payment has arrived. We are getting to work.")
    return _page(200, "Thank you", "Your payment is being confirmed. You need not wait for it here.")


async def _is_paid(rooms: Rooms, session_id: str) -> bool | None:
    """Whether the order of this session is paid, after another look; None for a session that nobody here knows."""
    checkout = await rooms.store.read(partial(till.find_checkout, session=session_id))
    if checkout is None:
        return None

    def paid(connection: Any) -> bool:
        return order_row(connection, checkout["order_id"])["paid_at"] is not None

    if not await rooms.store.read(paid) and checkout["state"] in till.WAITING_FOR_MONEY:
        await rooms.store.write(partial(_look, checkout_id=checkout["id"]))
        await rooms.payments.opened(checkout["order_id"], _PATIENCE)
    return await rooms.store.read(paid)


def _look(tx: Tx, checkout_id: str) -> None:
    till.look_soon(tx, [checkout_id])


def _page(status: int, title: str, words: str) -> HTMLResponse:
    return HTMLResponse(_PAGE.render(title=title, words=words), status, _HEADERS)
