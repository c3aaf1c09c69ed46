"""What every call to a virtual OctoPrint goes through before it means anything: key, right, JSON, command.

The order of these checks is the real one's, and part of its contract: a bad key is 403 on a GET but 400 "CSRF
validation failed" on anything that changes something.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from drivers.virtual.people import People, User

_FORBIDDEN = (
    "You don't have the permission to access the requested resource. It is either read-protected or not readable by the server."
)
_NOT_FOUND = (
    "The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again."
)
_WORDS = {403: _FORBIDDEN, 404: _NOT_FOUND, 405: "The method is not allowed for the requested URL."}
TRUE_WORDS = frozenset({"true", "yes", "y", "1", "on"})


def refuse(status: int, words: str | None = None) -> HTTPException:
    """The error to raise; 403, 404 and 405 have standing words."""
    return HTTPException(status, words or _WORDS[status])


async def show_error(_request: Request, error: Exception) -> Response:
    """Every refusal as OctoPrint words it."""
    assert isinstance(error, HTTPException)  # noqa: S101 - the only type this handler is registered for
    return JSONResponse({"error": _WORDS.get(error.status_code, error.detail)}, error.status_code)


def no_content() -> Response:
    return Response(status_code=204, headers={"content-type": "text/plain"})


def whoever(request: Request, people: People) -> User:
    """Who calls, by `X-Api-Key` or a bearer token."""
    key = request.headers.get("x-api-key")
    if key is None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = token if scheme.lower() == "bearer" else ""
    user = people.by_key(key)
    if user is not None:
        return user
    raise refuse(403) if request.method in ("GET", "HEAD") else refuse(400, "CSRF validation failed")


def require(user: User, right: str) -> None:
    if right not in user.rights:
        raise refuse(403)


async def json_body(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise refuse(415, "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.")
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise refuse(400, "The browser (or proxy) sent a request that this server could not understand.") from error
    if not isinstance(body, dict):
        raise refuse(400, "Expected a JSON object")
    return body


def command_of(body: Mapping[str, Any], known: Sequence[str]) -> str:
    command = body.get("command")
    if not isinstance(command, str) or command not in known:
        raise refuse(400, "command is invalid")
    return command


def is_true(value: Any) -> bool:
    """What OctoPrint takes for a yes."""
    return value is True or (isinstance(value, str) and value.lower() in TRUE_WORDS) or value == 1
