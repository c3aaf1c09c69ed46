"""The HTTP face of a virtual OctoPrint, except its files: version, login, connection, job, printer.

Status codes and words are measured on OctoPrint 1.11. Where the real one silently does nothing and says 204, so does
this.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drivers.virtual import reports
from drivers.virtual.machine import Machine
from drivers.virtual.people import People
from drivers.virtual.requests import command_of, json_body, no_content, refuse, require, whoever
from drivers.virtual.states import State

VERSION = {"api": "0.1", "server": "1.11.8", "text": "OctoPrint 1.11.8"}
_BAUDRATES = [250000, 230400, 115200, 57600, 38400, 19200, 9600]
_HEAT = re.compile(r"^M(104|109|140|190)\b.*?\bS(\d+(?:\.\d+)?)")
_NEITHER = "Printer is neither printing nor paused, '{}' command cannot be performed"
_MARLIN_HALT = "Thermal Runaway, system stopped! Heater_ID: bed - Printer halted. kill() called!"
_REPETIER_HALT = (
    "fatal: Heater/sensor error - Printer stopped and heaters disabled due to this error. Fix error and restart with M999."
)

Endpoint = Callable[[Request], Awaitable[Response]]


class ControlApi:
    """The routes that are about the machine."""

    def __init__(self, machine: Machine, people: People, board: reports.JobBoard) -> None:
        self._machine, self._people, self._board = machine, people, board

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Endpoint]] = [
            ("/api/version", "GET", self.version),
            ("/api/server", "GET", self.server),
            ("/api/currentuser", "GET", self.current_user),
            ("/api/login", "POST", self.login),
            ("/api/connection", "GET", self.connection),
            ("/api/connection", "POST", self.connect),
            ("/api/job", "GET", self.job),
            ("/api/job", "POST", self.control),
            ("/api/printer", "GET", self.printer),
            ("/api/printer/command", "POST", self.send),
        ]
        return [Route(path, endpoint, methods=[method]) for path, method, endpoint in table]

    async def version(self, request: Request) -> Response:
        whoever(request, self._people)
        return JSONResponse(VERSION)

    async def server(self, request: Request) -> Response:
        whoever(request, self._people)
        return JSONResponse({"version": VERSION["server"], "safemode": None})

    async def current_user(self, request: Request) -> Response:
        user = whoever(request, self._people)
        return JSONResponse({"name": user.name, "permissions": sorted(user.rights), "groups": list(user.groups)})

    async def login(self, request: Request) -> Response:
        user = whoever(request, self._people)
        body = await json_body(request)
        if not body.get("passive"):
            raise refuse(403)
        return JSONResponse(user.passive_login(self._people.open_session(user)))

    async def connection(self, request: Request) -> Response:
        require(whoever(request, self._people), "STATUS")
        machine = self._machine
        linked = machine.state is not State.OFFLINE
        current = {
            "state": machine.state.value if linked else "Closed",  # /api/job calls the same thing "Offline"
            "port": "VIRTUAL" if linked else None,
            "baudrate": 115200 if linked else None,
            "printerProfile": "_default",
        }
        options = {
            "ports": ["VIRTUAL"],
            "baudrates": _BAUDRATES,
            "printerProfiles": [{"id": "_default", "name": "Default"}],
            "portPreference": "VIRTUAL",
            "baudratePreference": 115200,
            "printerProfilePreference": "_default",
        }
        return JSONResponse({"current": current, "options": options})

    async def connect(self, request: Request) -> Response:
        user = whoever(request, self._people)
        body = await json_body(request)
        require(user, "CONNECTION")
        command = command_of(body, ("connect", "disconnect", "fake_ack"))
        if command == "connect":
            if body.get("port", "VIRTUAL") not in ("VIRTUAL", "AUTO"):
                raise refuse(400, "port is invalid")
            if body.get("baudrate", 0) not in (0, *_BAUDRATES):
                raise refuse(400, "baudrate is invalid")
            self._machine.connect()
        elif command == "disconnect":
            self._machine.disconnect()
        return no_content()

    async def job(self, request: Request) -> Response:
        require(whoever(request, self._people), "STATUS")
        return JSONResponse(self._board.show(self._machine))

    async def control(self, request: Request) -> Response:
        user = whoever(request, self._people)
        machine = self._machine
        if not machine.state.operational:
            raise refuse(409, "Printer is not operational")
        body = await json_body(request)
        command = command_of(body, ("start", "restart", "pause", "cancel"))
        require(user, "PRINT")
        if command == "start":
            if machine.state.busy:
                raise refuse(409, "Printer already has an active print job, did you mean 'restart'?")
            machine.start(user.name)
        elif command == "restart":
            if machine.state is not State.PAUSED:
                raise refuse(409, "Printer does not have an active print job or is not paused")
            machine.start(user.name)
        elif not machine.state.busy:
            raise refuse(409, _NEITHER.format(command))
        elif command == "pause":
            self._pause(body.get("action", "toggle"), user.name)
        else:
            machine.cancel(user.name)
        return no_content()

    def _pause(self, action: Any, user: str) -> None:
        paused = self._machine.state is State.PAUSED
        if action not in ("toggle", "pause", "resume"):
            raise refuse(400, "Unknown action")
        if action == "resume" or (action == "toggle" and paused):
            self._machine.resume(user)
        else:
            self._machine.pause(user)

    async def printer(self, request: Request) -> Response:
        require(whoever(request, self._people), "STATUS")
        if not self._machine.state.operational:
            raise refuse(409, "Printer is not operational")
        exclude = frozenset(request.query_params.get("exclude", "").split(","))
        return JSONResponse(reports.printer(self._machine, exclude))

    async def send(self, request: Request) -> Response:
        user = whoever(request, self._people)
        if not self._machine.state.operational:
            raise refuse(409, "Printer is not operational")
        body = await json_body(request)
        require(user, "CONTROL")
        commands = [body["command"]] if "command" in body else body.get("commands")
        if not isinstance(commands, list):
            raise refuse(400, "Need one of 'command', 'commands' or 'script'")
        for command in commands:
            self._obey(str(command))
        return no_content()

    def _obey(self, command: str) -> None:
        """G-code sent by hand: heaters listen, faults of the real one's virtual printer happen, the rest changes nothing here."""
        machine = self._machine
        if heat := _HEAT.match(command):
            machine.heat("tool0" if heat[1] in ("104", "109") else "bed", float(heat[2]))
        faults: dict[str, Callable[[], None]] = {
            "drop_connection": lambda: machine.drop("SerialTimeoutException: "),
            "trigger_fatal_error_marlin": lambda: machine.fatal(_MARLIN_HALT),
            "trigger_fatal_error_repetier": lambda: machine.fatal(_REPETIER_HALT),
            "maxtemp_error": lambda: machine.fatal("MAXTEMP triggered! - ok"),
            "mintemp_error": lambda: machine.fatal("MINTEMP triggered! - ok"),
            "action_disconnect": machine.disconnect,
            "action_pause": lambda: machine.pause(None),
            "action_resume": lambda: machine.resume(None),
            "action_cancel": lambda: machine.cancel(None),
            "go_awol": machine.freeze,
        }
        happen = faults.get(command.removeprefix("!!DEBUG:")) if command.startswith("!!DEBUG:") else None
        if happen is not None:
            machine.fault(happen)
