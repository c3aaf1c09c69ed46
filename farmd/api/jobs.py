"""Jobs over HTTP: lists, one job with its story, why it waits, and what an operator may do about it."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from farmd.api.answers import answer
from farmd.api.auth import Caller, anyone, operator
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.api.job_views import job_view, job_views
from farmd.api.problems import Problem
from farmd.domain.lifecycle import JobState
from farmd.fleet.why import why
from farmd.pipeline.post_process import Settled, settle_step
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import Missing, get
from farmd.store.work import retry_job, withdraw_job
from farmd.store.work_lists import Connection, job_page, owner_of

router = json_router(tags=["jobs"])

LAST_PAGE = 1_000_000
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CancelJob(_Body):
    """Why a job is taken back."""

    reason: Text = "cancelled by an operator"


class PostProcess(_Body):
    """What became of units that waited at a step, named or by its index from 0. Scrapped units are printed again."""

    step: Text | Annotated[int, Field(ge=0)]
    good: int = Field(0, ge=0)
    scrapped: int = Field(0, ge=0)


@router.get("/api/jobs")
async def list_jobs(
    request: Request,
    state: str | None = None,
    order_id: Annotated[str | None, Query(alias="orderId")] = None,
    page: Annotated[int, Query(ge=1, le=LAST_PAGE)] = 1,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    caller: Caller = Depends(anyone),
) -> Response:
    """Jobs, newest first; `state` takes several, separated by commas."""
    rooms, states = request.app.state.rooms, _states(state)
    owner = caller.customer_id if caller.role == "customer" else None

    def read(connection: Connection) -> dict[str, Any]:
        rows, total = job_page(connection, states=states, order_id=order_id, customer_id=owner, page=page, limit=limit)
        data = job_views(connection, rooms.registry, rows, rooms.world.now())
        return {"data": data, "page": page, "limit": limit, "total": total, "totalPages": -(-total // limit)}

    return answer(200, await rooms.store.read(read))


def _states(text: str | None) -> list[JobState]:
    words = [word.strip().upper() for word in text.split(",")] if text else []
    unknown = [word for word in words if word not in JobState.__members__]
    if unknown:
        detail = f"{unknown[0][:40]!r} is not a job state; choose of {', '.join(JobState)}"
        raise Problem(422, "invalid", detail, [{"pointer": "?state", "detail": detail}])
    return [JobState(word) for word in words]


@router.get("/api/jobs/{job_id}")
async def show_job(request: Request, job_id: str, caller: Caller = Depends(anyone)) -> Response:
    """One job with its plates, attempts and history."""
    rooms = request.app.state.rooms

    def read(connection: Connection) -> dict[str, Any]:
        job = get(connection, t.jobs, job_id)
        if not caller.owns(owner_of(connection, job["order_id"]) or ""):
            raise Missing("job", job_id)
        return job_view(connection, rooms.registry, job, rooms.world.now())

    return answer(200, await rooms.store.read(read))


@router.get("/api/jobs/{job_id}/why", dependencies=[Depends(operator)])
async def explain_job(request: Request, job_id: str) -> Response:
    """What the job waits for, and for every printer the rules that keep it off or its place in the queue."""
    rooms = request.app.state.rooms
    return answer(200, await rooms.store.read(lambda connection: why(connection, rooms.registry, job_id, rooms.world.now())))


@router.post("/api/jobs/{job_id}/retry")
async def retry(request: Request, job_id: str, caller: Caller = Depends(operator)) -> Response:
    """Try a FAILED job again."""

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        retry_job(tx, job_id, by=caller.name)
        return 200, _shown(request, tx, job_id)

    return await command(request, effect)


@router.post("/api/jobs/{job_id}/cancel", dependencies=[Depends(operator)])
async def cancel(request: Request, job_id: str, body: CancelJob | None = None) -> Response:
    """Take one job back; what prints of it is stopped. The order and its money are not touched."""
    reason = (body or CancelJob()).reason

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        withdraw_job(tx, job_id, reason)
        return 200, _shown(request, tx, job_id)

    return await command(request, effect)


@router.post("/api/jobs/{job_id}/post-process", dependencies=[Depends(operator)])
async def post_process(request: Request, job_id: str, body: PostProcess) -> Response:
    """Settle units that wait at a post-processing step."""
    settled = Settled(body.good, body.scrapped)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        settle_step(tx, job_id, body.step, settled)
        return 200, _shown(request, tx, job_id)

    return await command(request, effect)


def _shown(request: Request, tx: Tx, job_id: str) -> dict[str, Any]:
    registry = request.app.state.rooms.registry
    return job_view(tx.connection, registry, get(tx.connection, t.jobs, job_id), tx.world.now())
