"""The listening socket of a virtual server, and what a network does to it.

Runs an ASGI app on uvicorn's protocols but keeps the socket itself, because a test must be able to refuse connections,
to freeze the server as a stopped process is frozen, and to open it again on the same port. It installs no signal
handlers.
"""

import asyncio
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

_KEEP_ALIVE = 3600  # seconds; as patient with an idle connection as tornado is


class Door:
    """Closed until `open`. The port stays the same over any number of openings."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._config = uvicorn.Config(
            app,
            http="h11",
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=_KEEP_ALIVE,
            ws_ping_interval=None,
        )
        self._state = ServerState()
        self._host, self.port = host, port
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Take the port and serve. Raises `OSError` naming the address when it is taken."""
        if self._socket is not None:
            return
        if not self._config.loaded:
            self._config.load()
        # named as TCP, or asyncio leaves Nagle's algorithm on and every answer waits 40 ms
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self.port))
            listening.listen(128)
        except OSError as error:
            listening.close()
            raise OSError(error.errno, f"cannot listen on {self._host}:{self.port}: {error.strerror}") from error
        self._socket, self.port = listening, listening.getsockname()[1]
        await self._accept()

    async def close(self) -> None:
        """Refuse connections from now on; open ones are torn down and what they were doing is abandoned."""
        await self._stop_accepting()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for connection in list(self._state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the loop tells each connection that it is lost
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def freeze(self) -> None:
        """Stand still like a stopped process: the kernel completes connections and takes requests, nobody answers."""
        await self._stop_accepting()
        for connection in self._state.connections:
            connection.transport.pause_reading()

    async def thaw(self) -> None:
        """Go on; what came in meanwhile is carried out now, whether or not its sender still waits."""
        for connection in self._state.connections:
            connection.transport.resume_reading()
        if self._socket is not None and self._server is None:
            await self._accept()

    def hang_up(self, scope: Any) -> None:
        """Tear down the connection of one request without an answer."""
        for connection in list(self._state.connections):
            if getattr(connection, "scope", None) is scope:
                connection.transport.abort()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            self._server = await loop.create_server(self._protocol, sock=self._socket.dup())

    async def _stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self._config.http_protocol_class
        made: asyncio.Protocol = protocol(config=self._config, server_state=self._state, app_state={})
        return made
