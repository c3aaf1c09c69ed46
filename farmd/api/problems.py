"""Everything that can go wrong at the door, said in one shape: RFC 9457 `application/problem+json`.

Handlers raise; this module alone turns exceptions into answers. Bad input is always the caller's 4xx with the field that has it,
never a 500, and an answer never repeats a value that was sent (it may be a secret).
"""

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from farmd.api.answers import answer
from farmd.domain.lifecycle import IllegalMove
from farmd.domain.refusals import NotNow, Unacceptable
from farmd.logs import blot_text
from farmd.store.engine import Conflict, StoreFailed
from farmd.store.printing import NotAssignable
from farmd.store.rows import Missing

MAX_ERRORS = 50
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
log = structlog.get_logger()

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a known key",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""pydantic's findings in the words of this API."""


class Problem(HTTPException):
    """An answer that is a refusal: `code` is stable, `errors` are `{pointer, detail}` (RFC 6901; `?name` for a query parameter)."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        errors: Iterable[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code, self.errors = code, list(errors)


def render(problem: Problem, instance: str) -> Response:
    """The problem document of `problem` for the resource `instance` (a path)."""
    body: dict[str, Any] = {
        "type": f"urn:farmd:problem:{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status_code,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "errors": problem.errors[:MAX_ERRORS],
    }
    return answer(problem.status_code, body, headers=problem.headers, media_type="application/problem+json")


def pointer(location: Sequence[str | int]) -> str:
    """Where a value stands in the request: `/lineItems/0/quantity` in the body, `?limit` in the query."""
    where, *rest = location or ("body",)
    steps = [blot_text(str(step)).replace("~", "~0").replace("/", "~1") for step in rest]  # a key may have been sent as a name
    if where == "body":
        return "".join(f"/{step}" for step in steps)
    return f"{'?' if where == 'query' else ''}{'/'.join(steps)}"


def from_domain(error: Exception) -> Problem:
    """The answer to a refusal of the rooms below."""
    match error:
        case Missing():
            return Problem(404, "not_found", str(error))
        case Unacceptable():
            errors = [{"pointer": each.pointer, "detail": each.detail} for each in error.problems]
            return Problem(422, error.code, str(error), errors)
        case NotNow():
            return Problem(409, error.code, error.detail)
        case Conflict():
            return Problem(409, "conflict", f"{error}: read it again and repeat the request")
        case IllegalMove():
            return Problem(409, "illegal_move", str(error))
        case NotAssignable():
            return Problem(409, "not_assignable", str(error))
        case _:
            return Problem(503, "store_failed", str(error), headers={"Retry-After": "5"})


def _words(found: Mapping[str, Any]) -> str:
    known = _WORDS.get(found["type"])
    return str(found["msg"]) if known is None else known.format_map(found.get("ctx", {}))


def _from_validation(error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(400, "malformed_json", "the body is not JSON: " + str(found[0].get("ctx", {}).get("error", "")))
    errors = [{"pointer": pointer(each["loc"]), "detail": _words(each)} for each in found]
    first = errors[0]
    return Problem(422, "invalid", f"{first['pointer'] or 'the body'}: {first['detail']}", errors)


def _known_methods(request: Request) -> str:
    """Every method the path of this request knows; the framework tells only those of the first route it came upon."""
    routes = request.app.routes
    known = [
        verb for verb in _METHODS if any(route.matches({**request.scope, "method": verb})[0] is Match.FULL for route in routes)
    ]
    return ", ".join(known)


def _from_http(error: HTTPException) -> Problem:
    if isinstance(error, Problem):
        return error
    status = error.status_code
    code = _CODES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "_"))
    details = {
        404: "there is nothing at this path; /openapi.json lists what there is",
        405: "this path does not know this method; /openapi.json lists what it knows",
    }
    headers = dict(error.headers) if error.headers else None
    return Problem(status, code, details.get(status, str(error.detail)), headers=headers)


def install(app: FastAPI) -> None:
    """Let every exception of a request become a problem document."""

    async def on_domain(request: Request, error: Exception) -> Response:
        return render(from_domain(error), request.url.path)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
        problem = _from_http(error)
        if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            problem.headers = {"Allow": _known_methods(request)}
        return render(problem, request.url.path)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
        return render(_from_validation(error), request.url.path)

    async def on_disconnect(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # nobody is left to read it

    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("api.failed", path=request.url.path, method=request.method, error=repr(error))
        detail = "farmd failed on this request; the log of the daemon says more"
        return render(Problem(500, "internal_error", detail), request.url.path)

    for kind in (Missing, Unacceptable, NotNow, Conflict, IllegalMove, NotAssignable, StoreFailed):
        app.add_exception_handler(kind, on_domain)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_bug)
