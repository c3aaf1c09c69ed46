"""Visits to printers' file servers, each in a thread of a pool that the whole farm shares.

A printer takes minutes for a file, so many go up at once; a printer that does not answer costs no thread, because the connection is
made on the event loop. Calling a visit off waits until its thread has let go.
"""

import asyncio
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

from drivers.bambu.ftps import CalledOff, DeafData, Errand, Server
from drivers.bambu.mqtt import USER
from drivers.bambu.tls import Place, Trust, dial
from drivers.contract import Progress, Refused, Unreachable

AT_ONCE = 32
T = TypeVar("T")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bambu-files")


class FileServer:
    """The file server of one printer; one connection per errand, as the printers like it."""

    def __init__(self, place: Place, access_code: str, trust: Trust, *, keep: bool = True, may_be_deaf: bool = False) -> None:
        """`keep`: a certificate seen for the first time is written down. `may_be_deaf`: a model of which some firmware takes files
        over bare connections only; they get one when the other way was tried in vain."""
        self._place, self._code, self._trust, self._keep = place, access_code, trust, keep
        self._may_be_deaf, self._clear = may_be_deaf, False

    async def put(self, file: Path, name: str, size: int, progress: Progress) -> None:
        """Store `file`, whose length is `size`, under `name`. Raises `Refused`, `Unreachable`, `Unauthorized`."""
        loop = asyncio.get_running_loop()

        def sent(count: int) -> None:
            loop.call_soon_threadsafe(progress, count, size)

        def work(server: Server) -> None:
            try:
                stream = file.open("rb")
            except OSError as error:
                raise Refused(f"{file} cannot be read: {error.strerror}") from error
            with stream:
                server.put(name, stream, size, sent)

        try:
            await self._visit(work)
        except DeafData as error:
            if not self._may_be_deaf:
                raise Unreachable(f"cannot store {name}: the printer shakes no hands for the file") from error
            self._clear = True
            await self._visit(work)

    async def size(self, name: str) -> int | None:
        """Bytes of a stored file; None when it is not there."""
        return await self._visit(lambda server: server.look(name))

    async def delete(self, name: str) -> None:
        """A no-op when it is gone."""
        await self._visit(lambda server: server.delete_file(name))

    async def greet(self) -> None:
        """Log in and leave: for an examination."""
        await self._visit(lambda _server: None)

    async def _visit(self, work: Callable[[Server], T]) -> T:
        sock = await dial(self._place, self._trust.context(newest=False))
        try:
            await self._trust.check(sock, keep=self._keep)
        except BaseException:
            sock.close()
            raise
        errand = Errand()

        def visit() -> T:
            server = Server(sock, self._place.host, self._place.serial, errand)
            try:
                server.log_in(USER, self._code, clear=self._clear)
                return work(server)
            finally:
                server.leave()

        return await _finished(_pool().submit(visit), errand, sock)


async def _finished(work: Future[T], errand: Errand, sock: ssl.SSLSocket) -> T:
    """The result; when the wait is cancelled, only after the thread has let go of its sockets."""
    waiting = asyncio.wrap_future(work)
    try:
        return await asyncio.shield(waiting)
    except CalledOff as error:
        raise Unreachable("it was called off") from error
    finally:
        if not waiting.done():
            errand.call_off()
            if work.cancel():
                sock.close()
            while not waiting.done():
                try:
                    await asyncio.wait([waiting])
                except asyncio.CancelledError:
                    continue  # the thread is about to end; leaving it behind would be worse
            if not waiting.cancelled():
                waiting.exception()  # of no interest any more
