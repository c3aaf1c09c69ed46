"""The door itself, before any handler: a key for everything under /api, a limit for every body, one media type for what is sent.

Plain ASGI, so that streams pass untouched. What it refuses never reaches a route; a body that turns out too long while it is being
read ends the request there; the server throws the rest away unread, so that the client still gets to see the answer.
"""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farmd.api.auth import KeyRing, presented_key, unauthenticated
from farmd.api.problems import Problem, from_domain, render
from farmd.store.engine import StoreFailed

BODY_LIMIT = 1_000_000
MODEL_LIMIT = 200_000_000
_ENDLESS = frozenset({"/api/events/stream"})
_STRIPE = "/webhooks/stripe"
_MODEL = re.compile(r"/api/skus/[^/]+/model")


def too_large(limit: int) -> Problem:
    """The answer to a body over its limit."""
    return Problem(413, "body_too_large", f"the body may have at most {limit // 1_000_000} MB ({limit} bytes)")


class Door:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        if scope["method"] == "HEAD" and path not in _ENDLESS:
            scope = {**scope, "method": "GET"}  # the server leaves the body out of what it sends
        is_model = scope["method"] == "PUT" and _MODEL.fullmatch(path) is not None
        limit = MODEL_LIMIT if is_model else BODY_LIMIT
        try:
            if path == "/api" or path.startswith("/api/"):
                await self._identify(scope, headers)
            _check_length(headers, limit)
            if path.startswith("/api/") and not is_model:
                _check_media_type(headers)
        except Problem as problem:
            # whoever sends Stripe's messages is told one thing only: it is one of them, or it is not
            refusal = Problem(400, problem.code, problem.detail) if path == _STRIPE else problem
            await render(refusal, path)(scope, receive, send)
            return
        await self._app(scope, _counting(receive, limit), send)

    async def _identify(self, scope: Scope, headers: Headers) -> None:
        key = presented_key(headers)
        try:
            caller = await self._keys.identify(key) if key else None
        except StoreFailed as error:
            raise from_domain(error) from error
        if caller is None:
            raise unauthenticated()
        scope.setdefault("state", {})["caller"] = caller


def _check_length(headers: Headers, limit: int) -> None:
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large(limit)


def _check_media_type(headers: Headers) -> None:
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if has_body and given and given != "application/json" and not given.endswith("+json"):
        raise Problem(415, "unsupported_media_type", "send JSON with the header Content-Type: application/json")


def _counting(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large(limit)
        return message

    return counted
