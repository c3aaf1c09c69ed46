"""The file calls of a virtual OctoPrint: upload, look, select and print, delete.

An upload goes to disk as it arrives. `print=true` on a busy machine stores the file, prints nothing and still answers
201: the trap is the real one's, and must stay. Only local storage is there; of the commands on a file, select and
unselect.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from drivers.virtual import names
from drivers.virtual.files import FileStore, Incoming, StoredFile
from drivers.virtual.listing import describe, describe_folder, listing, refs, resource
from drivers.virtual.machine import Machine, World
from drivers.virtual.multipart import MultipartReader, Part, boundary_of
from drivers.virtual.people import People, User
from drivers.virtual.requests import command_of, is_true, json_body, no_content, refuse, require, whoever
from drivers.virtual.states import State

_DEEP = 100
_LONGEST_VALUE = 1024 * 1024


@dataclass(slots=True)
class Form:
    """What an upload said: its plain values, and the file on disk if there was one."""

    values: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    upload: Incoming | None = None

    def says(self, name: str) -> bool:
        return is_true(self.values.get(name))


class FilesApi:
    """The routes that are about files."""

    def __init__(self, machine: Machine, people: People, store: FileStore, world: World) -> None:
        self._machine, self._people, self._store, self._world = machine, people, store, world

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("/api/files", "GET", self.list_all),
            ("/api/files/local", "GET", self.list_all),
            ("/api/files/local", "POST", self.upload),
            ("/api/files/local/{path:path}", "GET", self.show),
            ("/api/files/local/{path:path}", "POST", self.command),
            ("/api/files/local/{path:path}", "DELETE", self.delete),
            ("/downloads/files/local/{path:path}", "GET", self.download),
        ]
        return [Route(path, endpoint, methods=[method]) for path, method, endpoint in table]

    # --- looking ---

    async def list_all(self, request: Request) -> Response:
        require(whoever(request, self._people), "FILES_LIST")
        depth = _DEEP if is_true(request.query_params.get("recursive")) else 0
        disk = shutil.disk_usage(self._store.on_disk(""))
        files = listing(self._store, "", _base(request), depth=depth)
        return JSONResponse({"files": files, "free": disk.free, "total": disk.total})

    async def show(self, request: Request) -> Response:
        require(whoever(request, self._people), "FILES_DOWNLOAD")
        path = _path(request)
        if file := self._store.get(path):
            return JSONResponse(describe(file, _base(request)))
        if path and self._store.has_folder(path):
            depth = _DEEP if is_true(request.query_params.get("recursive")) else 1
            return JSONResponse(describe_folder(self._store, path, _base(request), depth=depth))
        raise refuse(404)

    async def download(self, request: Request) -> Response:
        require(whoever(request, self._people), "FILES_DOWNLOAD")
        path = _path(request)
        if path not in self._store:
            raise refuse(404)
        return FileResponse(self._store.on_disk(path))

    # --- uploading ---

    async def upload(self, request: Request) -> Response:
        user = whoever(request, self._people)
        require(user, "FILES_UPLOAD")
        async with self._form(request) as form:
            if form.upload is not None:
                return await self._keep(form, form.upload, user, _base(request))
            if "foldername" in form.values:
                return self._make_folder(form, _base(request))
        raise refuse(400, "No file to upload and no folder to create")

    @asynccontextmanager
    async def _form(self, request: Request) -> AsyncIterator[Form]:
        """The form as it was sent; a file nobody kept is gone afterwards."""
        form = Form()
        try:
            await self._receive(request, form)
            yield form
        finally:
            if form.upload is not None:
                form.upload.discard()

    async def _receive(self, request: Request, form: Form) -> None:
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("application/x-www-form-urlencoded"):
            form.values = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
            return
        values: dict[str, bytes] = {}
        part: Part | None = None
        try:
            reader = MultipartReader(boundary_of(content_type))
            async for chunk in request.stream():
                for piece in reader.feed(chunk):
                    if isinstance(piece, Part):
                        part = piece
                        self._open(part, form, values)
                    elif part is not None and part.filename is not None and form.upload is not None:
                        form.upload.write(piece)
                    elif part is not None:
                        values[part.name] = (values[part.name] + piece)[:_LONGEST_VALUE]
            if not reader.complete:
                raise ValueError("the form breaks off")
        except (ValueError, ClientDisconnect) as error:
            raise refuse(400, "The browser (or proxy) sent a request that this server could not understand.") from error
        form.values = {name: value.decode("utf-8", "replace") for name, value in values.items()}

    def _open(self, part: Part, form: Form, values: dict[str, bytes]) -> None:
        if part.filename is not None and part.name == "file" and form.upload is None:
            form.filename, form.upload = part.filename, self._store.incoming()
        else:
            values[part.name] = b""

    async def _keep(self, form: Form, upload: Incoming, user: User, base: str) -> Response:
        file = self._add(form, upload, user)
        await asyncio.to_thread(self._store.plan, file.path)
        ready = self._machine.state is State.OPERATIONAL
        select, start = form.says("select"), form.says("print")
        if ready and (select or start or self._in_hand(file.path)):
            self._machine.select(file, user.name)
            if start:
                self._machine.start(user.name)
        asked = {"name": file.name, "path": file.path, "target": "local", "select": select, "print": start}
        told = asked | {"effective_select": select and ready, "effective_print": start and ready}
        self._world.publish("Upload", told | ({"userdata": file.userdata} if "userdata" in form.values else {}))
        kept = {"name": file.name, "path": file.path, "origin": "local", "refs": refs(base, file.path)}
        effective = {"done": True, "effectiveSelect": select and ready, "effectivePrint": start and ready}
        location = {"location": resource(base, file.path)}
        return JSONResponse(effective | {"files": {"local": kept}}, 201, headers=location)

    def _add(self, form: Form, upload: Incoming, user: User) -> StoredFile:
        userdata = _userdata(form)
        folder, name = _destination(form)
        path = f"{folder}/{name}" if folder else name
        if self._in_hand(path) and self._machine.state.busy:
            raise refuse(409, "Trying to overwrite file that is currently being printed")
        if path in self._store and form.says("noOverwrite"):
            raise refuse(409, "File already exists and noOverwrite was set")
        if not names.is_machine_code(name):
            raise refuse(415, "Could not upload file, invalid type")
        display = form.values.get("filename") or names.split(form.filename)[1]
        date = int(self._world.wall())
        try:
            file = self._store.add(path, display, upload, user=user.name, userdata=userdata, date=date)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise refuse(409, "File or folder already exists") from error
        self._world.publish("FileAdded", _event(path) | {"operation": "add"})
        self._world.publish("UpdatedFiles", {"type": "printables"})
        return file

    def _make_folder(self, form: Form, base: str) -> Response:
        try:
            folder, name = names.split(form.values["foldername"])
            folder, name = names.clean_path(form.values.get("path") or folder), names.clean_name(name)
        except ValueError as error:
            raise refuse(400, "folder name is empty") from error
        path = f"{folder}/{name}" if folder else name
        if path in self._store:
            raise refuse(409, "File or folder already exists")
        self._store.add_folder(path)
        self._world.publish("FolderAdded", {"storage": "local", "path": path, "name": name})
        self._world.publish("UpdatedFiles", {"type": "printables"})
        made = {"name": name, "path": path, "origin": "local", "refs": {"resource": resource(base, path)}}
        return JSONResponse({"folder": made, "done": True}, 201, headers={"location": resource(base, path)})

    # --- selecting and deleting ---

    async def command(self, request: Request) -> Response:
        user = whoever(request, self._people)
        path = _path(request)
        body = await json_body(request)
        command = command_of(body, ("select", "unselect"))
        require(user, "FILES_SELECT")
        if command == "select":
            await self._select(path, user, start=is_true(body.get("print")))
        else:
            self._unselect(path)
        return no_content()

    async def _select(self, path: str, user: User, *, start: bool) -> None:
        if path not in self._store:
            raise refuse(404)
        await asyncio.to_thread(self._store.plan, path)
        file = self._store.get(path)  # it may have gone, and the machine may have begun, while the file was read
        if file is None:
            raise refuse(404)
        if self._machine.state is not State.OPERATIONAL:
            raise refuse(409, "Printer is already printing, cannot select a new file")  # its words even when it is offline
        if start:
            require(user, "PRINT")
        self._machine.select(file, user.name)
        if start:
            self._machine.start(user.name)

    def _unselect(self, path: str) -> None:
        selected = self._machine.selected
        if self._machine.state is not State.OPERATIONAL:
            raise refuse(409, "Printer is already printing, cannot unselect current file")
        if selected is None:
            raise refuse(409, "Cannot unselect current file when there is no file selected")
        if path not in (selected.path, "current"):
            raise refuse(400, "Only the currently selected file can be unselected")
        self._machine.deselect()

    async def delete(self, request: Request) -> Response:
        user = whoever(request, self._people)
        require(user, "FILES_DELETE")
        path = _path(request)
        if path in self._store:
            self._delete_file(path)
        elif path and self._store.has_folder(path):
            self._delete_folder(path)
        else:
            raise refuse(404)
        self._world.publish("UpdatedFiles", {"type": "printables"})
        return no_content()

    def _delete_file(self, path: str) -> None:
        if self._in_hand(path):
            if self._machine.state.busy:
                raise refuse(409, "Trying to delete a file that is currently in use")
            self._machine.deselect()
        self._store.remove(path)
        self._world.publish("FileRemoved", _event(path) | {"operation": "remove"})

    def _delete_folder(self, path: str) -> None:
        if self._in_hand(f"{path}/"):
            if self._machine.state.busy:
                raise refuse(409, "Trying to delete a folder that contains a file that is currently in use")
            self._machine.deselect()
        self._store.remove_folder(path)
        self._world.publish("FolderRemoved", {"storage": "local", "path": path, "name": names.split(path)[1]})

    def _in_hand(self, prefix: str) -> bool:
        """The selected file is this one, or lies in this folder (a prefix with a slash at its end)."""
        path = self._machine.selected.path if self._machine.selected is not None else ""
        return path == prefix or (prefix.endswith("/") and path.startswith(prefix))


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"


def _event(path: str) -> dict[str, Any]:
    return {"storage": "local", "path": path, "name": names.split(path)[1], "type": ["machinecode", "gcode"]}


def _path(request: Request) -> str:
    try:
        return names.clean_path(request.path_params["path"])
    except ValueError as error:
        raise refuse(404) from error


def _userdata(form: Form) -> Any:
    if "userdata" not in form.values:
        return None
    try:
        return json.loads(form.values["userdata"])
    except ValueError as error:
        raise refuse(400, "userdata contains invalid JSON") from error


def _destination(form: Form) -> tuple[str, str]:
    folder, name = names.split(form.filename)
    try:
        folder = names.clean_path(form.values.get("path") or folder)
        return folder, names.clean_name(form.values.get("filename") or name)
    except ValueError as error:
        raise refuse(400, "Can not upload file, invalid file name") from error
