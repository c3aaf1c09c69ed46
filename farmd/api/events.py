"""The feed over HTTP, as pages and as server-sent events; the pull twin of the webhooks, with the same bodies.

Operators see everything, a customer's key the events of its own orders and nothing else.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from farmd.api.answers import answer
from farmd.api.auth import Caller, anyone
from farmd.api.problems import Problem
from farmd.events.feed import Feed

HEARTBEAT_SECONDS = 15
SEND_SECONDS = 30.0  # a listener that takes nothing for this long is dropped; it comes back with its Last-Event-ID
LAST = 2**63 - 1
router = APIRouter(prefix="/api/events", tags=["events"])

Sequence = Annotated[int | None, Query(ge=0, le=LAST)]


@router.get("")
async def page(
    request: Request,
    caller: Annotated[Caller, Depends(anyone)],
    after: Annotated[int, Query(ge=0, le=LAST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Events after a sequence, oldest first; go on with `after` = `nextAfter`."""
    feed: Feed = request.app.state.rooms.feed
    told = await feed.page(after, limit, _own(caller))
    bodies = [orjson.Fragment(each.body) for each in told]
    return answer(200, {"data": bodies, "nextAfter": told[-1].sequence if told else after})


@router.get("/stream", response_class=EventSourceResponse)
async def stream(request: Request, caller: Annotated[Caller, Depends(anyone)], after: Sequence = None) -> Response:
    """Server-sent events: `id` is the sequence, `event` the type. A Last-Event-ID goes before `after`; without either the stream
    begins now."""
    feed: Feed = request.app.state.rooms.feed
    resumed = request.headers.get("last-event-id")
    start = after if resumed is None else _sequence(resumed)
    return EventSourceResponse(
        _messages(feed, start, _own(caller)),
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="still here"),
        send_timeout=SEND_SECONDS,
        sep="\n",
    )


async def _messages(feed: Feed, after: int | None, customer_id: str | None) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(feed.stream(after, customer_id)) as events:
        async for told in events:
            yield ServerSentEvent(data=told.body, id=str(told.sequence), event=told.type, sep="\n")


def _own(caller: Caller) -> str | None:
    return (caller.customer_id or "") if caller.role == "customer" else None


def _sequence(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= LAST):
        detail = "Last-Event-ID is the id of an event of this stream, a whole number"
        raise Problem(422, "invalid", detail, [{"pointer": "Last-Event-ID", "detail": detail}])
    return int(text)
