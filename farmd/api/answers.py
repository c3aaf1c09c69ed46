"""JSON on its way out: compact, exact, and money with precisely the decimals of its currency.

An amount goes from the integer in the row straight to its digits; no float ever stands between.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson
from starlette.responses import Response

from farmd.domain.money import to_text


def money(minor: int, currency: str) -> orjson.Fragment:
    """A JSON number: 1250 in USD is written `12.50`, 500 in JPY `500`."""
    return orjson.Fragment(to_text(minor, currency).encode())


def to_json(payload: Any) -> bytes:
    """The bytes of an answer's body; a `Decimal` keeps its digits."""
    return orjson.dumps(payload, default=_exact)


def answer(status: int, payload: Any, headers: Mapping[str, str] | None = None, media_type: str = "application/json") -> Response:
    """A response with `payload` as its JSON body."""
    return Response(to_json(payload), status, dict(headers or {}), media_type)


def _exact(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
