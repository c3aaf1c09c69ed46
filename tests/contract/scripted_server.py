"""An HTTP server that answers as a test dictates, including not at all: what a real OctoPrint will not do on demand."""

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    then_hang_up: bool = False  # without having said so

    def encode(self) -> bytes:
        body = self.body if isinstance(self.body, bytes) else b"" if self.body is None else json.dumps(self.body).encode()
        lines = [f"HTTP/1.1 {self.status} Scripted", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


HANG_UP = None  # in place of a reply: the request is taken and the connection closed

Script = Callable[[Request], Reply | None]


class ScriptedServer:
    """Serves `script` on 127.0.0.1 and keeps every request. `pushes`, if any, go out to whoever opens a web socket."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None, pushes: Sequence[Any] = ()) -> None:
        self.requests: list[Request] = []
        self._pushes = pushes
        self._script = script
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def sent(self, method: str) -> list[Request]:
        return [request for request in self.requests if request.method == method]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, body)
        self.requests.append(request)
        if self._pushes and "sec-websocket-key" in headers:
            writer.write(_accept(headers["sec-websocket-key"]) + b"".join(map(_frame, self._pushes)))
            await reader.read(-1)
            return False
        reply = self._script(request)
        if reply is None:
            return False
        writer.write(reply.encode())
        await writer.drain()
        return not reply.then_hang_up


def _accept(key: str) -> bytes:
    proof = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()  # noqa: S324 - RFC 6455's
    upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{upgrade}Sec-WebSocket-Accept: {proof}\r\n\r\n".encode()


def _frame(message: Any) -> bytes:
    """One unmasked text frame."""
    text = json.dumps(message).encode()
    return b"\x81\x7e" + len(text).to_bytes(2, "big") + text if len(text) > 125 else bytes([0x81, len(text)]) + text
