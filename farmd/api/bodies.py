"""JSON on its way in: strict, and with every decimal as it was written.

A number such as 0.1 becomes a `Decimal`, never a float; NaN, lone surrogates, bad UTF-8 and bottomless nesting are malformed.
"""

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from farmd.api.problems import Problem


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises `Problem` 400."""
    try:
        orjson.loads(body)  # the strict grammar; it would round decimals, so the value is read once more
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else "it nests too deeply or holds too long a number"
        raise Problem(400, "malformed_json", f"the body is not JSON: {detail}") from None


class ExactRequest(Request):
    """A request whose JSON keeps its decimals."""

    async def json(self) -> Any:
        return parse(await self.body())


def json_router(tags: list[str | Enum]) -> APIRouter:
    """A router whose bodies are JSON, whether their sender says so or not; the door has refused those that say otherwise."""
    return APIRouter(tags=tags, route_class=ExactRoute, strict_content_type=False)


class ExactRoute(APIRoute):
    """A route that reads its body through `ExactRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return exact
