"""Waiting for something to become true of a printer, without asking again and again."""

import asyncio
from collections.abc import Callable

Condition = Callable[[], bool]


class Waiters:
    """Whoever waits, and for what. `look` is called after everything that may have changed something."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Condition, asyncio.Future[None]]] = []

    async def until(self, condition: Condition, seconds: float) -> bool:
        """Whether it came true in time."""
        if condition():
            return True
        entry = condition, asyncio.get_running_loop().create_future()
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(seconds):
                await entry[1]
        except TimeoutError:
            return condition()
        finally:
            self._waiting.remove(entry)
        return True

    def look(self) -> None:
        """Wake those whose condition holds."""
        for condition, waiting in self._waiting:
            if not waiting.done() and condition():
                waiting.set_result(None)
