"""Lists in pages: the query parameters every list takes, and cursors that say nothing to anybody but this server."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query

from farmd.api.problems import Problem

MAX_PAGE = 1_000_000

PageNumber = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Which page, from 1")]
PageSize = Annotated[int, Query(ge=1, le=100, description="How many on a page")]


def paging(page: int | None, limit: int, total: int) -> dict[str, Any]:
    """The paging keys of a list's answer."""
    return {"page": page, "limit": limit, "total": total, "totalPages": -(-total // limit)}


def write_cursor(place: tuple[datetime, str] | None) -> str | None:
    """An opaque cursor for the place after which a list goes on."""
    if place is None:
        return None
    moment, key = place
    return base64.urlsafe_b64encode(f"{moment.astimezone(UTC).isoformat()}|{key}".encode()).rstrip(b"=").decode()


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """The place a cursor stands for. Raises `Problem` 422 for one that this server did not write."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, separator, key = text.partition("|")
        when = datetime.fromisoformat(moment)
        if not separator or when.tzinfo is None:
            raise ValueError
        return when, key
    except (ValueError, binascii.Error):
        detail = "is not a cursor of this list; take nextCursor of the page before"
        raise Problem(422, "bad_cursor", f"?cursor {detail}", [{"pointer": "?cursor", "detail": detail}]) from None
