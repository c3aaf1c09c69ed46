"""Between a printer and whoever reads its snapshots.

The reader may be slow; it then gets the newest picture of each state, never a backlog of stale progress. A change of phase, print,
concern or epoch is never swallowed.
"""

import asyncio

from drivers.contract import Snapshot


class Mailbox:
    """Snapshots on their way to one reader."""

    def __init__(self) -> None:
        self._waiting: list[Snapshot] = []
        self._reader: asyncio.Future[None] | None = None  # while it waits
        self._ended = False

    def put(self, snapshot: Snapshot) -> None:
        """Leave a snapshot; it replaces an unread one that tells the same but for its progress."""
        if self._waiting and _state(self._waiting[-1]) == _state(snapshot):
            self._waiting.pop()
        self._waiting.append(snapshot)
        self._wake()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._wake()

    async def next(self) -> Snapshot | None:
        """The oldest unread snapshot; None after the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._waiting.pop(0)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _state(one: Snapshot) -> tuple[object, ...]:
    return one.phase, one.epoch, one.token, one.file, one.message, one.concerns, one.spools
