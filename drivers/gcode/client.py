"""The daemon's end of a streamer's socket: one connection, requests with answers, and the news in between.

Knows nothing of printers. A connection that broke stays broken: whoever needs one opens the next.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from drivers.gcode.control import Declined, Garbled, Message, address, pack, unpack

ANSWER_SECONDS = 10.0


class Disconnected(Exception):
    """The streamer is not there, or not any more."""


class Client:
    """One connection. `state` is the newest that came. `news` is set when the next one comes, or the connection breaks, and is
    another event from then on: whoever waits for it misses nothing, however many wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.state: Message = {}
        self.event = 0
        self.broken = False
        self.news = asyncio.Event()
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._task = asyncio.create_task(self._listen())

    @classmethod
    async def connect(cls, folder: Path) -> Self:
        """To the streamer of `folder`. Raises `Disconnected`."""
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            with address(folder) as name:
                await asyncio.get_running_loop().sock_connect(connection, name)
            return cls(*await asyncio.open_unix_connection(sock=connection))
        except OSError as error:
            connection.close()
            raise Disconnected(error.strerror or str(error)) from error

    async def ask(self, do: str, **words: Any) -> Any:
        """One request and its answer. Raises `Declined`; `Disconnected` when it is not known whether the request arrived."""
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if self.broken:
            raise Disconnected("the streamer is gone")
        self._waiting[number] = answer
        try:
            self._writer.write(pack({"id": number, "do": do} | words))
            async with asyncio.timeout(ANSWER_SECONDS):
                message = await answer
        except TimeoutError:
            raise Disconnected("the streamer does not answer") from None
        except ConnectionError as error:
            raise Disconnected(str(error)) from error
        finally:
            self._waiting.pop(number, None)
        if "no" in message:
            raise Declined(str(message["no"]), str(message.get("words")))
        if do == "subscribe":
            self.state, self.event = message["ok"], message["event"]
        return message["ok"]

    async def until(self, condition: Callable[[Message], bool], seconds: float) -> bool:
        """Wait for a state in which `condition` holds, or so long. Gives whether it does; False too when the connection broke."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition(self.state) and not self.broken:
                    await self.news.wait()
        return condition(self.state)

    async def gone(self, seconds: float) -> bool:
        """Wait until the streamer has ended, or so long. Gives whether it has."""
        await self.until(lambda _: False, seconds)
        return self.broken

    async def close(self) -> None:
        """Leave; the streamer goes on."""
        self.broken = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()  # also when nothing was listened for yet

    async def _listen(self) -> None:
        try:
            while (message := await unpack(self._reader)) is not None:
                if "event" in message and "state" in message:
                    self.state, self.event = message["state"], message["event"]
                    self._tell()
                elif (waiting := self._waiting.get(message.get("id", 0))) is not None and not waiting.done():
                    waiting.set_result(message)
        except (Garbled, OSError):
            pass
        finally:
            self.broken = True
            self._tell()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(Disconnected("the streamer is gone"))
            with suppress(OSError):
                self._writer.close()

    def _tell(self) -> None:
        news, self.news = self.news, asyncio.Event()
        news.set()
