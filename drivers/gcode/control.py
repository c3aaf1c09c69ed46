"""How a streamer and the programs that look after it speak: JSON with its length before it, over a Unix socket.

Requests carry an `id` and get one answer, `ok` or `no` with `words`; news come by themselves and carry a growing `event`. The
version is told in `hello` and must be borne for ever: a daemon of tomorrow meets a streamer of today in the middle of a print.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

VERSION = 1
RELEASE = version("farmd")
"""Of the program that runs here: a streamer of an older one is replaced, once it prints nothing."""
SOCKET = "control"
LARGEST = 1 << 20
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")

Message = dict[str, Any]


class Garbled(Exception):
    """What arrived is not a message."""


class Declined(Exception):
    """A wish that the streamer cannot grant. `kind`: busy, not_ours, away, refused."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def pack(message: Message) -> bytes:
    """A message as it goes over the socket."""
    body = json.dumps(message).encode()
    return _LENGTH.pack(len(body)) + body


async def unpack(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None at the end. Raises `Garbled`."""
    try:
        size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
        if size > LARGEST:
            raise Garbled(f"a message of {size} bytes")
        message = json.loads(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except ValueError as error:
        raise Garbled(str(error)) from error
    if not isinstance(message, dict):
        raise Garbled("a message that is no object")
    return message


def peer_is_ours(connection: socket.socket) -> bool:
    """Whether the other end runs as this user, or as root."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(raw)[1] in (os.geteuid(), 0)


@contextmanager
def address(folder: Path) -> Iterator[str]:
    """A name for the socket of `folder` that is short enough for the kernel (107 bytes), however long the folder's own is."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
