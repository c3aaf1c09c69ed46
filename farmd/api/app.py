"""The HTTP application: the door in front, the routers behind it, and one shape for everything that goes wrong.

Builds nothing but itself: the rooms are handed in by `daemon.py`, and a handler finds them under `request.app.state.rooms`.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from farmd.api.auth import KeyRing
from farmd.api.door import Door
from farmd.api.problems import install
from farmd.config import Settings
from farmd.domain.model import ModelReport
from farmd.domain.ports import World
from farmd.fleet.registry import Registry
from farmd.store.engine import Store

if TYPE_CHECKING:
    from farmd.events.feed import Feed

_ROUTERS = (
    "farmd.api.orders",
    "farmd.api.skus",
    "farmd.api.jobs",
    "farmd.api.printers",
    "farmd.api.attempts",
    "farmd.api.webhooks",
    "farmd.api.events",
    "farmd.api.health",
    "farmd.dashboard.pages",
)


def _nobody_missing() -> Sequence[str]:
    return ()


@dataclass
class Rooms:
    """What the handlers work with. `validate` is `farmd.pipeline.validate.validate_model`; `unsupervised` names the configured
    printers that no supervisor looks after yet."""

    settings: Settings
    store: Store
    world: World
    registry: Registry
    feed: "Feed"
    validate: Callable[..., Awaitable[ModelReport]]
    unsupervised: Callable[[], Sequence[str]] = _nobody_missing


def create_app(rooms: Rooms) -> FastAPI:
    """The application over these rooms. Opens nothing; needs no shutdown."""
    app = FastAPI(
        title="farmd",
        summary="Print-farm controller: a paid order becomes shipped parts.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    keys = KeyRing(rooms.store, rooms.world)
    app.state.rooms, app.state.keys = rooms, keys
    app.add_middleware(Door, keys=keys)
    install(app)
    for name in _ROUTERS:
        if find_spec(name) is not None:
            module: Any = import_module(name)
            app.include_router(module.router)
    return app
