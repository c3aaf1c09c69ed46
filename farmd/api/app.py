"""The HTTP application: the door in front, the routers behind it, and one shape for everything that goes wrong.

Builds nothing but itself: the rooms are handed in by `daemon.py`, and a handler finds them under `request.app.state.rooms`.
"""

import asyncio

from fastapi import APIRouter, FastAPI

from farmd.api import attempts, events, health, jobs, orders, printers, refunds, skus, stripe, webhooks
from farmd.api.auth import KeyRing
from farmd.api.docs import describe
from farmd.api.door import Door
from farmd.api.problems import install
from farmd.api.rooms import Rooms

__all__ = ["Rooms", "create_app"]

VALIDATIONS_AT_ONCE = 2
_ROUTERS = (
    *(module.router for module in (orders, refunds, skus, jobs, printers, attempts)),
    webhooks.reader,
    webhooks.changer,
    *(module.router for module in (events, stripe, health)),
)


def create_app(rooms: Rooms, *pages: APIRouter) -> FastAPI:
    """The application over these rooms, with `pages` (the dashboard's) beside the API. Opens nothing; needs no shutdown. Raises
    `ValueError` when the payment provider is not the configured one: an order must never be called paid by the wrong authority."""
    if rooms.payments.name != rooms.settings.payment_provider:
        raise ValueError(f"[payments] provider is {rooms.settings.payment_provider!r}, but {rooms.payments.name!r} was built")
    app = FastAPI(
        title="farmd",
        summary="Print-farm controller: a paid order becomes shipped parts.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    keys = KeyRing(rooms.store, rooms.world)
    app.state.rooms, app.state.keys = rooms, keys
    app.state.validations = asyncio.Semaphore(VALIDATIONS_AT_ONCE)
    app.add_middleware(Door, keys=keys)
    install(app)
    for router in (*_ROUTERS, *pages):
        app.router.routes.extend(router.routes)  # as declared: `include_router` would build every one of them again
    describe(app)
    return app
