"""Waiting for what must come true, and looking whether a process still lives."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

SHORTEST, LONGEST = 0.01, 0.2


def pause(waited: float) -> float:
    """Seconds to let pass before the next look, of one who has waited so long: what comes soon is seen soon, and what does not is
    not asked for a hundred times a second by a test that shares its processor with what it waits for."""
    return min(max(waited / 8, SHORTEST), LONGEST)


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Return once `condition` holds; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def wait_until(condition: Callable[[], object], seconds: float = 5) -> bool:
    """The same without a loop: whether `condition` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
