"""A virtual Bambu printer in a loop of its own thread, for tests whose clients block."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from drivers.virtual.bambu import VirtualBambu, make_project
from tests.bambu_client import PATIENCE, Files

SPEED = 40.0


class Hands:
    """A printer and hands that reach into its loop: `do` runs a coroutine there, `call` a function."""

    def __init__(self, printer: VirtualBambu, loop: asyncio.AbstractEventLoop) -> None:
        self.printer, self._loop = printer, loop

    def __getattr__(self, name):
        return getattr(self.printer, name)

    def do(self, what):
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    def call(self, function, *args):
        async def go():
            return function(*args)

        return self.do(go())

    def upload(self, name: str = "farmd-1.gcode.3mf", seconds: float = 100.0, **words) -> str:
        content = make_project(seconds, **{"model": self.printer.kind.code} | words)
        with Files(self.printer) as files:
            assert files.put(name, content).startswith("226")
            assert files.size(name) == len(content)
        return name


@contextmanager
def running(model: str = "P1S", **words) -> Iterator[Hands]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    hands = Hands(VirtualBambu(model, **{"speed": SPEED} | words), loop)
    try:
        hands.do(hands.printer.start())
        yield hands
    finally:
        hands.do(hands.printer.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
