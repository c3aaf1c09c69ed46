"""A wire between a driver and its machine that a test can cut, freeze and mend; the bytes on it are real."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Link:
    """Relays 127.0.0.1:`port` to `target`. `cut` kills what is open and refuses what is new; `freeze` lets both hang."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refuse_web_sockets = False  # as a proxy does that knows only HTTP
        self.web_sockets = 0  # how many were opened so far
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.restore()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.cut()
        if self._relays:
            await asyncio.wait(self._relays)

    async def cut(self) -> None:
        self._flowing.set()
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.drop()

    def drop(self) -> None:
        """Kill what is open; new connections are still taken."""
        for writer in list(self._open):
            writer.transport.abort()

    async def restore(self) -> None:
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._flowing.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._join(reader, writer)
        finally:
            self._open.discard(writer)
            self._relays.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        self.web_sockets += b"/sockjs/websocket" in first
        if self.refuse_web_sockets and b"/sockjs/websocket" in first:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open.add(far_writer)
        try:
            far_writer.write(first)
            pumps = [asyncio.create_task(self._pump(reader, far_writer)), asyncio.create_task(self._pump(far_reader, writer))]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._open.discard(far_writer)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
