"""The clockwork: periodic ticks, and nothing else. What is due is a column in a row; a missed tick costs a delay.

The only file that imports APScheduler, which plans by the wall clock. Clocks are set: one that is set back by a day must not keep
backups and sweeps waiting for a day, so a jump is noticed by the clock that only grows, and everything ticks at once.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from farmd.domain.ports import World

LOOK = 15.0  # seconds between looks at whether the clock was set
JUMP = 5.0  # seconds that it may gain or lose in between by itself
log = structlog.get_logger()
Tick = Callable[[], Awaitable[object]]


class Timers:
    """Named ticks on the running loop."""

    def __init__(self, world: World) -> None:
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        self._world = world
        self._look: asyncio.TimerHandle | None = None
        self._apart = 0.0

    def every(self, seconds: float, name: str, tick: Tick, *, at_once: bool = False) -> None:
        """Call `tick` every so many seconds, never twice at once, first after that long or `at_once`; its failure is logged and
        the next tick comes all the same."""

        async def guarded() -> None:
            try:
                await tick()
            except Exception:  # the supervised edge of every tick
                log.exception("tick.failed", tick=name)

        first = {"next_run_time": self._world.now()} if at_once else {}
        self._scheduler.add_job(guarded, "interval", seconds=seconds, id=name, **first)

    def start(self) -> None:
        """Begin ticking."""
        self._scheduler.start()
        self._apart = self._between_clocks()
        self._look = asyncio.get_running_loop().call_later(LOOK, self._mind_the_clock)

    def stop(self) -> None:
        """Stop ticking; a tick that is under way is not waited for."""
        if self._look is not None:
            self._look.cancel()
        self._scheduler.shutdown(wait=False)

    def _between_clocks(self) -> float:
        return self._world.now().timestamp() - self._world.monotonic()

    def _mind_the_clock(self) -> None:
        apart = self._between_clocks()
        if abs(jump := apart - self._apart) > JUMP:
            log.warning("clock.was_set", seconds=round(jump), cure="keep the time by NTP")
            for job in self._scheduler.get_jobs():
                job.modify(next_run_time=self._world.now())
        self._apart = apart
        self._look = asyncio.get_running_loop().call_later(LOOK, self._mind_the_clock)
