"""Attempts over HTTP: one plate on one printer, and the word of a person where no machine can tell how it ended."""

from typing import Any, Literal

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from farmd.api.answers import answer
from farmd.api.auth import Caller, operator
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.api.job_views import attempt_view
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import get
from farmd.store.work import resolve_attempt

router = json_router(tags=["attempts"])


class Resolve(BaseModel):
    """How the print came out, as seen on the bed."""

    model_config = ConfigDict(extra="forbid", strict=True)
    outcome: Literal["succeeded", "failed"]


@router.get("/api/attempts/{attempt_id}", dependencies=[Depends(operator)])
async def show_attempt(request: Request, attempt_id: str) -> Response:
    """One attempt."""
    row = await request.app.state.rooms.store.read(lambda connection: get(connection, t.attempts, attempt_id))
    return answer(200, attempt_view(row))


@router.post("/api/attempts/{attempt_id}/resolve")
async def resolve(request: Request, attempt_id: str, body: Resolve, caller: Caller = Depends(operator)) -> Response:
    """Settle an UNKNOWN attempt. The bed stays as it is known until clear-bed."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        resolve_attempt(tx, attempt_id, body.outcome, by=caller.name)
        return 200, attempt_view(get(tx.connection, t.attempts, attempt_id))

    return await command(request, effect)
