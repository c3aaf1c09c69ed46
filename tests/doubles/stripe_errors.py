"""What the double says no with: an answer in the shape of Stripe's error object. It stands between the books, which refuse, and
the server, which answers; it must never carry a key or a secret."""

from typing import Any


class Refused(Exception):
    """An answer other than 200. `saved` tells whether Stripe keeps it under the idempotency key: it does as soon as the endpoint
    began its work, so not for parameters that fail validation, conflicts, limits and keys."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        saved: bool = False,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.saved, self.headers = status, saved, headers or {}
        known = {"type": kind, "message": message, "code": code, "param": param} | more
        self.error = {name: value for name, value in known.items() if value is not None}
        if code:
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


def bad_parameter(param: str, message: str, code: str | None = None) -> Refused:
    """A parameter that does not pass validation: nothing began, nothing is saved."""
    return Refused(400, message, code=code, param=param)


def missing(kind: str, number: str, param: str = "id") -> Refused:
    """Named in the path: 404. Named in a parameter: 400."""
    return Refused(404 if param == "id" else 400, f"No such {kind}: '{number}'", code="resource_missing", param=param)


def wrong_state(message: str, code: str | None = None, **more: Any) -> Refused:
    """The endpoint looked at the object and would not: saved under the key."""
    return Refused(400, message, code=code, saved=True, **more)
