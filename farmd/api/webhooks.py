"""Subscriptions over HTTP: made, looked at, changed, tried out, replayed.

Operators read, admins change. A secret is shown in the answer that makes it and nowhere else; the values of a webhook's own headers
are never shown again. Addresses are resolved before the transaction, which itself never waits for a network.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from farmd.api.answers import answer
from farmd.api.auth import admin, operator
from farmd.api.commands import command
from farmd.domain.catalog import Problem as Defect
from farmd.domain.refusals import Unacceptable
from farmd.events.addresses import Policy, Refused
from farmd.events.signing import new_secret, rotated
from farmd.events.subscribing import event_problems, header_problems
from farmd.store import subscriptions
from farmd.store.engine import Tx
from farmd.store.rows import Row
from farmd.store.subscriptions import NewWebhook
from farmd.store.views import iso

HIDDEN = "***"
_same: dict[str, Any] = {"prefix": "/api/webhooks", "tags": ["webhooks"], "strict_content_type": False}
reader = APIRouter(**_same, dependencies=[Depends(operator)])
changer = APIRouter(**_same, dependencies=[Depends(admin)])

Number = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Subscription(_Body):
    """The body of POST /api/webhooks."""

    url: str
    events: list[str]
    description: Annotated[str | None, Field(max_length=500)] = None
    headers: dict[str, str] = {}


class Alteration(_Body):
    """The body of PATCH /api/webhooks/{id}; what is left out stays."""

    url: str | None = None
    events: list[str] | None = None
    active: bool | None = None
    description: Annotated[str | None, Field(max_length=500)] = None
    headers: dict[str, str] | None = None
    rotateSecret: bool = False  # noqa: N815 - the wire's own name


class From(_Body):
    """The body of POST /api/webhooks/{id}/replay."""

    after: Number


def webhook_view(row: Row, secret: str | None = None) -> dict[str, Any]:
    """A webhook as it is shown; `secret` only in the answer that made it."""
    view = {
        "id": row["id"],
        "url": row["url"],
        "events": row["events"],
        "description": row["description"],
        "headers": dict.fromkeys(row["headers"], HIDDEN),
        "active": row["active"],
        "disabledReason": row["disabled_reason"],
        "createdAt": iso(row["created_at"]),
    }
    return view if secret is None else view | {"secret": secret}


def delivery_view(row: Row) -> dict[str, Any]:
    """A delivery as it is shown, without its body."""
    return {
        "id": row["id"],
        "messageId": row["message_id"],
        "sequence": row["sequence"],
        "type": row["type"],
        "orderId": row["order_id"],
        "state": row["state"],
        "tries": row["tries"],
        "status": row["status"],
        "detail": row["detail"],
        "tookMs": row["took_ms"],
        "nextAt": iso(row["next_at"]) if row["state"] == "PENDING" else None,
        "deliveredAt": iso(row["delivered_at"]),
        "createdAt": iso(row["created_at"]),
    }


async def _accept(request: Request, url: str | None, events: list[str] | None, headers: dict[str, str] | None) -> None:
    defects = [] if events is None else event_problems(events)
    defects += [] if headers is None else header_problems(headers)
    if url is not None:
        try:
            await Policy.of(request.app.state.rooms.settings).target(url)
        except Refused as refused:
            defects.insert(0, Defect("/url", str(refused)))
    if defects:
        raise Unacceptable("invalid_webhook", defects)


@changer.post("", status_code=201, responses={200: {"description": "It was there already"}})
async def subscribe(request: Request, body: Subscription) -> Response:
    """Subscribe. The same URL and events again answer 200 with the webhook that is there, without its secret."""
    await _accept(request, body.url, body.events, body.headers)
    new = NewWebhook(body.url, list(dict.fromkeys(body.events)), body.description, body.headers)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        secret = new_secret(tx.world)
        row, fresh = subscriptions.subscribe(tx, new, secret)
        return (201, webhook_view(row, secret)) if fresh else (200, webhook_view(row))

    return await command(request, effect)


@reader.get("")
async def listed(request: Request) -> Response:
    """Every webhook."""
    rows = await request.app.state.rooms.store.read(subscriptions.webhooks)
    return answer(200, {"data": [webhook_view(row) for row in rows]})


@reader.get("/{webhook_id}")
async def one(request: Request, webhook_id: str) -> Response:
    """One webhook."""
    row = await request.app.state.rooms.store.read(lambda connection: subscriptions.webhook(connection, webhook_id))
    return answer(200, webhook_view(row))


@changer.patch("/{webhook_id}")
async def alter(request: Request, webhook_id: str, body: Alteration) -> Response:
    """Change a webhook. `rotateSecret` answers with the new secret; the one before it signs beside it until the next rotation."""
    given = {name: value for name, value in body.model_dump(exclude_unset=True).items() if name != "rotateSecret"}
    nulls = [name for name in ("url", "events", "active", "headers") if name in given and given[name] is None]
    if nulls:
        raise Unacceptable("invalid_webhook", [Defect(f"/{name}", f"{name} cannot be null") for name in nulls])
    if "events" in given:
        given["events"] = list(dict.fromkeys(given["events"]))
    await _accept(request, body.url, body.events, body.headers)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        row = subscriptions.webhook(tx.connection, webhook_id)
        changes = dict(given)
        if "headers" in changes:
            changes["headers"] = _kept(row["headers"], changes["headers"])
        secret = new_secret(tx.world) if body.rotateSecret else None
        if secret is not None:
            changes["secret"] = rotated(row["secret"], secret)
        return 200, webhook_view(subscriptions.alter(tx, row, changes) if changes else row, secret)

    return await command(request, effect)


def _kept(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """The new headers; a value that still reads as it was shown stays what it is."""
    unknown = [name for name, value in new.items() if value == HIDDEN and name not in old]
    if unknown:
        defects = [Defect(f"/headers/{name}", f"{HIDDEN} stands for a kept value, and there is none") for name in unknown]
        raise Unacceptable("invalid_webhook", defects)
    return {name: old[name] if value == HIDDEN else value for name, value in new.items()}


@changer.delete("/{webhook_id}", status_code=204)
async def unsubscribe(request: Request, webhook_id: str) -> Response:
    """Delete a webhook and what waits for it; again, nothing more happens."""
    await request.app.state.rooms.store.write(lambda tx: subscriptions.unsubscribe(tx, webhook_id))
    return Response(status_code=204)


@changer.post("/{webhook_id}/test", status_code=202)
async def send_test(request: Request, webhook_id: str) -> Response:
    """Send a `farmd.test` message to this webhook; its delivery tells how it went."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        return 202, delivery_view(subscriptions.test_message(tx, subscriptions.webhook(tx.connection, webhook_id)))

    return await command(request, effect)


@reader.get("/{webhook_id}/deliveries")
async def deliveries(
    request: Request,
    webhook_id: str,
    cursor: Annotated[int | None, Query(ge=1)] = None,
    state: Literal["PENDING", "DELIVERED", "DEAD"] | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """The webhook's deliveries, newest first; go on with `cursor` = `nextCursor`."""

    def page(connection: Any) -> list[Row]:
        subscriptions.webhook(connection, webhook_id)
        return subscriptions.deliveries(connection, webhook_id, before=cursor, state=state, limit=limit + 1)

    rows = await request.app.state.rooms.store.read(page)
    more = rows[limit - 1]["id"] if len(rows) > limit else None
    return answer(200, {"data": [delivery_view(row) for row in rows[:limit]], "nextCursor": more})


@changer.post("/{webhook_id}/deliveries/{number}/retry", status_code=202)
async def retry(request: Request, webhook_id: str, number: Annotated[int, Field(ge=1, le=2**63 - 1)]) -> Response:
    """Send one delivery again, now and from the first try, under its own message id."""
    return await command(request, lambda tx: (202, delivery_view(subscriptions.retry(tx, webhook_id, number))))


@changer.post("/{webhook_id}/replay", status_code=202)
async def replay(request: Request, webhook_id: str, body: From) -> Response:
    """Queue again every event after a sequence that this webhook listens to, under the message ids they had. With very many events
    `nextAfter` says where to go on."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        queued, next_after = subscriptions.replay(tx, subscriptions.webhook(tx.connection, webhook_id), body.after)
        return 202, {"queued": queued, "nextAfter": next_after}

    return await command(request, effect)
