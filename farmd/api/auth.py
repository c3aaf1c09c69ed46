"""Who is calling. Every path under /api needs a key, by construction: the door asks before any handler runs.

A handler only names the role it needs. Keys are looked up by the id inside them and compared by fingerprint in constant time.
"""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, cast

import structlog
from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers

from farmd.api.problems import Problem
from farmd.domain.ports import World
from farmd.store.engine import Store, StoreFailed
from farmd.store.keys import TRUSTED_SECONDS, find_key, fingerprint, touch_key
from farmd.store.rows import Row

Role = Literal["customer", "operator", "admin"]
_RANK: dict[Role, int] = {"customer": 0, "operator": 1, "admin": 2}
_TOUCH = timedelta(minutes=1)
_NOBODY = fingerprint("")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of a valid key. `customer_id` is set for customers only."""

    key_id: str
    name: str
    role: Role
    customer_id: str | None

    def at_least(self, role: Role) -> bool:
        """Whether this caller may do what `role` may."""
        return _RANK[self.role] >= _RANK[role]

    def owns(self, customer_id: str) -> bool:
        """Whether this caller may see what belongs to a customer."""
        return self.role != "customer" or self.customer_id == customer_id


class KeyRing:
    """The keys in use, remembered for less than a second."""

    def __init__(self, store: Store, world: World) -> None:
        self._store, self._world = store, world
        self._known: dict[str, tuple[Row, float]] = {}
        self._touched: dict[str, datetime] = {}

    async def identify(self, presented: str) -> Caller | None:
        """The caller holding this key, or None. Raises `StoreFailed` when the store cannot say."""
        prefix, _, rest = presented.partition("_")
        key_id, _, secret = rest.partition("_")
        row = await self._row(key_id) if prefix == "fk" and key_id and secret else None
        genuine = hmac.compare_digest(row["secret_sha256"] if row else _NOBODY, fingerprint(secret))
        if row is None or not genuine:
            return None
        await self._touch(row)
        return Caller(row["id"], row["name"], cast("Role", row["role"]), row["customer_id"])

    async def _row(self, key_id: str) -> Row | None:
        known = self._known.get(key_id)
        now = self._world.monotonic()
        if known is not None and now - known[1] < TRUSTED_SECONDS:
            return known[0]
        row = await self._store.read(lambda connection: find_key(connection, key_id))
        if row is None:
            self._known.pop(key_id, None)
        else:
            self._known[key_id] = row, now
        return row

    async def _touch(self, row: Row) -> None:
        now, last = self._world.now(), self._touched.get(row["id"], row["last_used_at"])
        if last is not None and now - last < _TOUCH:
            return
        self._touched[row["id"]] = now
        try:
            await self._store.write(lambda tx: touch_key(tx, row["id"], now))
        except StoreFailed as error:
            log.warning("key.not_touched", key=row["name"], error=str(error))


def presented_key(headers: Headers) -> str | None:
    """The key in X-API-Key or, without that, in `Authorization: Bearer`."""
    key = headers.get("x-api-key")
    if key is None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token if scheme.lower() == "bearer" else None
    return key.strip() if key else None


def unauthenticated() -> Problem:
    """The answer to a request without a valid key."""
    detail = "send a valid key in X-API-Key; `farmd keys create` makes one"
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="farmd"'})


_api_key = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key made by `farmd keys create`")
_bearer = HTTPBearer(auto_error=False, description="The same key as a bearer token")


async def anyone(
    request: Request,
    _key: Annotated[str | None, Security(_api_key)],
    _token: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Any valid key. The door has looked it up already; the parameters tell OpenAPI where it stands."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        raise unauthenticated()
    return caller


def _needs(role: Role) -> Callable[..., Awaitable[Caller]]:
    async def check(caller: Annotated[Caller, Security(anyone)]) -> Caller:
        if not caller.at_least(role):
            raise Problem(403, "forbidden", f"this needs a key with the role {role}; this key is that of {article(caller.role)}")
        return caller

    return check


def article(role: str) -> str:
    """`role` with its article, for a sentence."""
    return f"{'an' if role[0] in 'aeiou' else 'a'} {role}"


operator = _needs("operator")
admin = _needs("admin")
