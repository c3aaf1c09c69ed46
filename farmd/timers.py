"""The clockwork: periodic ticks, and nothing else. What is due is a column in a row; a missed tick costs a delay.

The only file that imports APScheduler.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

log = structlog.get_logger()
Tick = Callable[[], Awaitable[object]]


class Timers:
    """Named ticks on the running loop."""

    def __init__(self) -> None:
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)

    def every(self, seconds: float, name: str, tick: Tick, *, at_once: bool = False) -> None:
        """Call `tick` every so many seconds, never twice at once, first after that long or `at_once`; its failure is logged and
        the next tick comes all the same."""

        async def guarded() -> None:
            try:
                await tick()
            except Exception:  # the supervised edge of every tick
                log.exception("tick.failed", tick=name)

        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        self._scheduler.add_job(guarded, "interval", seconds=seconds, id=name, **first)

    def start(self) -> None:
        """Begin ticking."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop ticking; a tick that is under way is not waited for."""
        self._scheduler.shutdown(wait=False)
