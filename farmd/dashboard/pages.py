"""The dashboard: pages made on the server, readable without JavaScript, that refresh themselves with a few lines of it.

Everything shown is escaped by the templates; no script or style may come from anywhere else. A click is a form, and does what the
API does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import FileResponse, RedirectResponse, Response

from farmd.dashboard.board import board
from farmd.dashboard.session import Visitor, forget, form, form_token, key_of, own_form, remember, same_origin, visitor
from farmd.domain.money import to_text
from farmd.domain.refusals import NotNow
from farmd.store.engine import Conflict, Tx
from farmd.store.printing import NotAssignable, clear_bed
from farmd.store.rows import Missing
from farmd.store.work import ask_printer

router = APIRouter(include_in_schema=False)
HERE = Path(__file__).parent
SHEETS = {"board.css": "text/css", "board.js": "text/javascript"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.filters["money"] = to_text


def _page(name: str, status: int = 200, **values: Any) -> Response:
    return Response(_templates.get_template(name).render(**values), status, HEADERS, "text/html; charset=utf-8")


def _to_start(status: int = 303) -> Response:
    return RedirectResponse("/", status, HEADERS)


async def _shown(request: Request, who: Visitor, template: str, status: int = 200, said: str | None = None) -> Response:
    rooms = request.app.state.rooms
    now = rooms.world.now()
    sight = await rooms.store.read(lambda connection: board(connection, rooms.registry, now))
    if rooms.backups is not None and rooms.backups.failure is not None:
        sight.attention.insert(0, {"where": "farm", "code": "backup_failed", "detail": rooms.backups.failure})
    return _page(template, status, board=sight, who=who, now=now, token=form_token(key_of(request)), said=said)


@router.get("/")
async def start(request: Request) -> Response:
    """The board, or the door for those without a key."""
    who = await visitor(request)
    return _page("login.html", said=None) if who is None else await _shown(request, who, "board.html")


@router.get("/dashboard/live")
async def live(request: Request) -> Response:
    """The moving part of the board alone."""
    who = await visitor(request)
    return Response(status_code=401, headers=HEADERS) if who is None else await _shown(request, who, "live.html")


@router.get("/dashboard/static/{name}")
async def static(name: str) -> Response:
    """The style sheet and the script."""
    if name not in SHEETS:
        return Response(status_code=404, headers=HEADERS)
    headers = {key: value for key, value in HEADERS.items() if key != "Cache-Control"}
    return FileResponse(HERE / "static" / name, headers=headers | {"Cache-Control": "no-cache"}, media_type=SHEETS[name])


@router.post("/dashboard/login")
async def login(request: Request) -> Response:
    """Begin a session with an operator's or admin's key."""
    key = (await form(request)).get("key", "").strip()
    if not same_origin(request.headers) or not key or await visitor(request, key) is None:
        return _page("login.html", 401, said="This is not the key of an operator or admin.")
    response = _to_start()
    remember(response, key, secure=request.url.scheme == "https")
    return response


@router.post("/dashboard/logout")
async def logout(request: Request) -> Response:
    """End the session in this browser."""
    if not await own_form(request):
        return _page("login.html", 403, said="This form was not sent from the dashboard.")
    response = _to_start()
    forget(response)
    return response


_ACTIONS: dict[str, Callable[[Tx, str, str], None]] = {
    "clear-bed": clear_bed,
    "pause": lambda tx, printer_id, _by: ask_printer(tx, printer_id, "pause"),
    "resume": lambda tx, printer_id, _by: ask_printer(tx, printer_id, "resume"),
    "cancel": lambda tx, printer_id, _by: ask_printer(tx, printer_id, "cancel"),
}


@router.post("/dashboard/printers/{printer_id}/{action}")
async def act(request: Request, printer_id: str, action: str) -> Response:
    """One click of an operator on a printer."""
    who = await visitor(request)
    if who is None:
        return _page("login.html", 401, said="Your session has ended; sign in again.")
    if not await own_form(request):
        return await _shown(request, who, "board.html", 403, "This form was not sent from the dashboard; nothing was done.")
    rooms, do = request.app.state.rooms, _ACTIONS.get(action)
    if do is None or printer_id not in rooms.registry.settings():
        return await _shown(request, who, "board.html", 404, "There is no such printer or action.")
    try:
        await rooms.store.write(lambda tx: do(tx, printer_id, who.name))
    except (NotNow, NotAssignable, Conflict, Missing) as refusal:
        return await _shown(request, who, "board.html", 409, str(refusal))
    return _to_start()
