"""Printers over HTTP: what they do, what is on their beds, and an operator's hand on them.

Commands leave a wish or a fact in the rows; the printer's supervisor acts on it. A printer that is not in the configuration does
not exist here.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from farmd.api.answers import answer
from farmd.api.auth import Caller, operator
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.domain.catalog import COLOR
from farmd.domain.refusals import NotNow
from farmd.fleet.panel import panel, panels
from farmd.store.engine import Tx
from farmd.store.printing import clear_bed
from farmd.store.rows import Missing
from farmd.store.work import answer_printer, ask_printer, disable_printer, enable_printer, load_printer

router = json_router(tags=["printers"])


def _color(value: str) -> str:
    if not COLOR.fullmatch(value.lower()):
        raise ValueError("write the colour as #rrggbb, for example #1a1a1a")
    return value.lower()


Material = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 +._-]{0,31}$")]
Color = Annotated[str, AfterValidator(_color)]


class Loaded(BaseModel):
    """The filament somebody put in; null is none."""

    model_config = ConfigDict(extra="forbid", strict=True)
    material: Material | None = None
    color: Color | None = None


class Answer(BaseModel):
    """The number of a choice, from 0, as the printer's `question` lists them."""

    model_config = ConfigDict(extra="forbid", strict=True)
    choice: int = Field(default=0, ge=0)


@router.get("/api/printers", dependencies=[Depends(operator)])
async def list_printers(request: Request) -> Response:
    """Every printer of the configuration."""
    rooms = request.app.state.rooms
    data = await rooms.store.read(lambda connection: panels(connection, rooms.registry, rooms.world.now()))
    return answer(200, {"data": data})


@router.get("/api/printers/{printer_id}", dependencies=[Depends(operator)])
async def show_printer(request: Request, printer_id: str) -> Response:
    """One printer."""
    rooms = request.app.state.rooms
    found = await rooms.store.read(lambda connection: panel(connection, rooms.registry, printer_id, rooms.world.now()))
    return answer(200, found)


@router.patch("/api/printers/{printer_id}", dependencies=[Depends(operator)])
async def load(request: Request, printer_id: str, body: Loaded) -> Response:
    """Say what filament is loaded; only the keys that are sent change. 409 when the printer tells itself what is loaded, and it is
    something else."""
    changes = body.model_dump(exclude_unset=True)
    spools = request.app.state.rooms.registry.live(printer_id).spools
    return await _act(request, printer_id, lambda tx: load_printer(tx, printer_id, spools, **changes) if changes else None)


@router.post("/api/printers/{printer_id}/clear-bed")
async def confirm_clear_bed(request: Request, printer_id: str, caller: Caller = Depends(operator)) -> Response:
    """A person looked and the bed is empty. Refused while a print of ours is on it."""
    return await _act(request, printer_id, lambda tx: clear_bed(tx, printer_id, by=caller.name))


@router.post("/api/printers/{printer_id}/enable", dependencies=[Depends(operator)])
async def enable(request: Request, printer_id: str) -> Response:
    """Take a printer into work, out of quarantine too."""
    return await _act(request, printer_id, lambda tx: enable_printer(tx, printer_id))


@router.post("/api/printers/{printer_id}/disable", dependencies=[Depends(operator)])
async def disable(request: Request, printer_id: str) -> Response:
    """Give a printer no new work; what it prints it finishes."""
    return await _act(request, printer_id, lambda tx: disable_printer(tx, printer_id))


@router.post("/api/printers/{printer_id}/pause", status_code=202, dependencies=[Depends(operator)])
async def pause(request: Request, printer_id: str) -> Response:
    """Hold the print of ours that is on the machine; the supervisor follows within moments."""
    return await _act(request, printer_id, lambda tx: ask_printer(tx, printer_id, "pause"), status=202)


@router.post("/api/printers/{printer_id}/resume", status_code=202, dependencies=[Depends(operator)])
async def resume(request: Request, printer_id: str) -> Response:
    """Let a held print of ours go on."""
    return await _act(request, printer_id, lambda tx: ask_printer(tx, printer_id, "resume"), status=202)


@router.post("/api/printers/{printer_id}/answer", status_code=202, dependencies=[Depends(operator)])
async def give_answer(request: Request, printer_id: str, body: Answer) -> Response:
    """Answer what the machine asks in the middle of a print of ours; 409 while it asks nothing."""

    def act(tx: Tx) -> None:
        question = request.app.state.rooms.registry.live(printer_id).question
        if question is None:
            raise NotNow("nothing_asked", f"{printer_id} asks nothing now")
        answer_printer(tx, printer_id, body.choice, question.choices)

    return await _act(request, printer_id, act, status=202)


@router.post("/api/printers/{printer_id}/cancel", status_code=202, dependencies=[Depends(operator)])
async def cancel(request: Request, printer_id: str) -> Response:
    """Stop the print of ours; unless its job is cancelled too, its plate is printed again."""
    return await _act(request, printer_id, lambda tx: ask_printer(tx, printer_id, "cancel"), status=202)


async def _act(request: Request, printer_id: str, act: Callable[[Tx], None], status: int = 200) -> Response:
    """Do something to a configured printer and answer with it as it is then."""
    registry = request.app.state.rooms.registry
    if printer_id not in registry.settings():
        raise Missing("printer", printer_id)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        act(tx)
        return status, panel(tx.connection, registry, printer_id, tx.world.now())

    return await command(request, effect)
