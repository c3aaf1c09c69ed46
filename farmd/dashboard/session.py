"""Who may look at the dashboard, and whether a click was really theirs.

The key itself is the session: it stands in an HttpOnly, SameSite=Strict cookie and is looked up at every request, so that revoking
it ends the session. A form proves itself by a token that only a page shown to this key contains, and by where it was sent from.
"""

import hashlib
import hmac
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import Response

COOKIE = "farmd_key"
MONTH = 30 * 86_400
ROLES = ("operator", "admin")


class Visitor(Protocol):
    """Who a key belongs to."""

    @property
    def name(self) -> str: ...

    @property
    def role(self) -> str: ...


async def visitor(request: Request, key: str | None = None) -> Visitor | None:
    """The operator or admin behind a key: the one given, else the cookie's or the header's. None when there is none."""
    key = key or key_of(request)
    if not key or not key.isascii():
        return None
    found: Visitor | None = await request.app.state.keys.identify(key)
    return found if found is not None and found.role in ROLES else None


def key_of(request: Request) -> str:
    """The key that came with a request, or an empty text."""
    return request.cookies.get(COOKIE) or request.headers.get("x-api-key", "")


async def form(request: Request) -> dict[str, str]:
    """The fields of a posted form, the last value of each; nothing when it is no form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        return dict(parse_qsl((await request.body()).decode("ascii"), max_num_fields=8))
    except ValueError:
        return {}


def form_token(key: str) -> str:
    """What a form of this session carries."""
    return hmac.new(key.encode(), b"farmd dashboard form", hashlib.sha256).hexdigest()


async def own_form(request: Request) -> bool:
    """Whether a posted form came from a page of ours that this session was shown."""
    token = (await form(request)).get("token", "")
    return same_origin(request.headers) and hmac.compare_digest(token.encode(), form_token(key_of(request)).encode())


def same_origin(headers: Headers) -> bool:
    """Whether a browser sent this from our own pages. Browsers always say where a form comes from."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none"):
        return False
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def remember(response: Response, key: str, *, secure: bool) -> None:
    """Begin a session."""
    response.set_cookie(COOKIE, key, max_age=MONTH, httponly=True, samesite="strict", secure=secure, path="/")


def forget(response: Response) -> None:
    """End it."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")
