"""OctoPrint's push socket: tells at once that something changed, for a fraction of what polling costs.

It replays nothing after a gap and may lag behind the answers of the REST side, so it only ever says *when* to look. A proxy
that does not pass web sockets is common; `NoSocket` then tells the driver to poll instead.
"""

import logging
from typing import Self

import websockets
from websockets.asyncio.client import ClientConnection, connect

from drivers.contract import Unreachable
from drivers.octoprint.protocol import Push, auth_message, read_push, subscription
from drivers.octoprint.rest import CONNECT_SECONDS, Rest, tls

PING_SECONDS = 8.0
PONG_SECONDS = 7.0
MESSAGE_LIMIT = 4 * 1024 * 1024

# The library writes every frame at DEBUG, and the one that opens a session is a secret.
_frames = logging.getLogger("drivers.octoprint.frames")
_frames.setLevel(logging.WARNING)


class NoSocket(Exception):
    """The server answers, but no web socket can be had from it."""


class PushSocket:
    """An authenticated, subscribed push socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, rest: Rest, throttle: int) -> Self:
        """Log in, connect and subscribe. Raises `NoSocket`; `Unreachable`, `Unauthorized` and `Refused` from the login."""
        login = await log_in(rest)
        name, session = login.get("name"), login.get("session")
        if not isinstance(name, str) or not isinstance(session, str):
            raise NoSocket("the login gave no session")
        address = rest.url.replace("http", "ws", 1) + "/sockjs/websocket"
        try:
            connection = await connect(
                address,
                ssl=tls() if address.startswith("wss:") else None,
                proxy=None,
                open_timeout=CONNECT_SECONDS,
                close_timeout=1,
                ping_interval=PING_SECONDS,
                ping_timeout=PONG_SECONDS,
                max_size=MESSAGE_LIMIT,
                logger=_frames,
            )
        except (OSError, TimeoutError, websockets.WebSocketException) as error:
            raise NoSocket(str(error) or type(error).__name__) from error
        socket = cls(connection)
        try:
            for message in (*subscription(throttle), auth_message(name, session)):
                await connection.send(message)
        except websockets.ConnectionClosed as error:
            await socket.close()
            raise NoSocket("the web socket closed at once") from error
        return socket

    async def next(self) -> Push | None:
        """The next message; None once the socket is lost. Safe to cancel."""
        try:
            return read_push(await self._connection.recv())
        except websockets.ConnectionClosed:
            return None

    async def close(self) -> None:
        """Close the socket, without waiting long for the other side."""
        await self._connection.close()


async def log_in(rest: Rest) -> dict[str, object]:
    """Turn the API key into a session. The answer repeats the key: it must never be logged."""
    answer = await rest.tell("/api/login", {"passive": True}, "log in")
    if not isinstance(answer.body, dict):
        raise Unreachable(f"what answers at {rest.url} is not OctoPrint: its login has no content")
    return answer.body
