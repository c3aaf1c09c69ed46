"""A webhook receiver for tests: a real HTTP server on 127.0.0.1 that checks every signature with the independent package
`standardwebhooks` and answers as a test dictates, including not at all."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Message:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.event["type"]

    @property
    def order(self) -> str | None:
        return self.event["data"].get("orderId")

    def verify(self, secret: str) -> Any:
        return Webhook(secret).verify(self.body, self.headers)


@dataclass(frozen=True)
class Reply:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    endless: bool = False  # goes on writing for ever


HANG = "hang"
DROP = "drop"
Plan = Callable[[Message], "Reply | str"]


def accept(_message: Message) -> Reply:
    return Reply()


class Receiver:
    """Serves until left; `messages` holds everything that came, `taken` what was answered with 2xx."""

    def __init__(self, plan: Plan = accept, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.plan, self.messages, self.taken = plan, list[Message](), list[Message]()
        self.connections = 0
        self._tls, self._port = tls, port
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # the sender hung up, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        message = Message(path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
        self.messages.append(message)
        reply = self.plan(message)
        if reply == HANG:
            await asyncio.Event().wait()
        if not isinstance(reply, Reply):
            return False
        if 200 <= reply.status < 300:
            self.taken.append(message)
        await self._answer(writer, reply)
        return True

    async def _answer(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        length = {} if reply.endless else {"Content-Length": str(len(reply.body))}
        lines = [f"HTTP/1.1 {reply.status} As-Told", *(f"{name}: {value}" for name, value in (length | reply.headers).items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body)
        await writer.drain()
        while reply.endless:
            writer.write(b"x" * 65536)
            await writer.drain()
