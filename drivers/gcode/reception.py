"""The streamer's socket: whoever looks after the machine asks here, and hears what is new.

Any number may listen; a slow one is dropped, never waited for. Only this user and root are let in. It decides nothing: every
wish goes to the streamer, which knows what the machine does.
"""

import asyncio
import socket
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from drivers.gcode.control import RELEASE, SOCKET, VERSION, Declined, Garbled, Message, address, pack, peer_is_ours, unpack

if TYPE_CHECKING:
    from drivers.gcode.streamer import Streamer

BACKLOG_BYTES = 1 << 20


class Reception:
    """Open while its context lasts. `alone_since` is the loop's time since when nobody is connected; infinite while somebody is."""

    def __init__(self, streamer: "Streamer") -> None:
        self._streamer = streamer
        self._event = 0
        self._server: asyncio.Server | None = None
        self._guests: set[asyncio.StreamWriter] = set()
        self._listeners: set[asyncio.StreamWriter] = set()
        self._left = 0.0

    @property
    def alone_since(self) -> float:
        return float("inf") if self._guests else self._left

    async def __aenter__(self) -> Self:
        self._left = asyncio.get_running_loop().time()
        folder = self._streamer.folder
        (folder / SOCKET).unlink(missing_ok=True)  # of a streamer that is gone: the lock is ours
        listener = socket.socket(socket.AF_UNIX)
        with address(folder) as name:
            listener.bind(name)
        (folder / SOCKET).chmod(0o600)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tell()
        if self._server is not None:
            self._server.close()
        for guest in list(self._guests):
            guest.close()
        (self._streamer.folder / SOCKET).unlink(missing_ok=True)

    def tell(self) -> None:
        """Tell every listener how things stand now."""
        self._event += 1
        if not self._listeners:
            return
        news = pack({"event": self._event, "state": self._streamer.state()})
        for listener in list(self._listeners):
            if listener.transport.get_write_buffer_size() > BACKLOG_BYTES:
                self._listeners.discard(listener)
                listener.transport.abort()
            else:
                listener.write(news)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not peer_is_ours(writer.get_extra_info("socket")):
            writer.close()
            return
        self._guests.add(writer)
        try:
            while (request := await unpack(reader)) is not None:
                writer.write(pack({"id": request.get("id")} | self._answer(request, writer)))
                await writer.drain()
        except (Garbled, ConnectionError):
            pass
        finally:
            self._guests.discard(writer)
            self._listeners.discard(writer)
            self._left = asyncio.get_running_loop().time()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    def _answer(self, request: Message, writer: asyncio.StreamWriter) -> Message:
        try:
            return self._do(str(request.get("do")), str(request.get("token")), request, writer)
        except Declined as error:
            return {"no": error.kind, "words": str(error)}
        except (ValueError, TypeError) as error:
            return {"no": "refused", "words": str(error)}

    def _do(self, what: str, token: str, request: Message, writer: asyncio.StreamWriter) -> Message:
        streamer = self._streamer
        wishes = {"start": streamer.start, "hold": streamer.hold, "resume": streamer.resume, "cancel": streamer.cancel}
        if what in wishes:
            wishes[what](token)
            return {"ok": True}
        match what:
            case "hello":
                return {"ok": {"version": VERSION, "release": RELEASE, "settings": asdict(streamer.settings)}}
            case "subscribe":
                self._listeners.add(writer)
                return {"ok": streamer.state(), "event": self._event}
            case "state":
                return {"ok": streamer.state(), "event": self._event}
            case "outcome":
                return {"ok": streamer.outcome(token)}
            case "answer":
                streamer.answer(token, int(request.get("choice") or 0))
            case "inject":
                streamer.say(str(request.get("line")))
            case "quit" if streamer.session.job is None:
                streamer.quit()
            case _:
                raise Declined("refused", f"{what!r} cannot be done")
        return {"ok": True}
