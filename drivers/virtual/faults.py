"""What goes wrong between a client and a virtual server, on demand.

Wraps the whole app. A fault concerns what the client learns, never what the machine does: a lost answer leaves its
effect in place.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Faults:
    """`delay` in seconds before each request is looked at; `lost_answers` counts the answers swallowed so far."""

    def __init__(self, app: ASGIApp) -> None:
        self.delay = 0.0
        self.lost_answers = 0
        self.hang_up: Callable[[Any], None] = lambda _scope: None
        self._app = app
        self._lose: dict[tuple[str, str], int] = {}

    def lose_answer(self, method: str, path_prefix: str, times: int = 1) -> None:
        """The next `times` such requests are carried out, and their connection dies before the answer."""
        self._lose[method, path_prefix] = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self.delay > 0:
                await asyncio.sleep(self.delay)
            if scope["type"] == "http" and self._loses(scope):
                await self._app(scope, receive, _swallow)
                self.lost_answers += 1
                self.hang_up(scope)
                await _gone(receive)
            else:
                await self._app(scope, receive, send)
        except asyncio.CancelledError:
            return  # the server closed over this request; nobody is there to be told

    def _loses(self, scope: Scope) -> bool:
        for (method, prefix), left in self._lose.items():
            if left > 0 and scope["method"] == method and scope["path"].startswith(prefix):
                self._lose[method, prefix] = left - 1
                return True
        return False


async def _swallow(_message: Message) -> None:
    return


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
