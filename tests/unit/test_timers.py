"""The clockwork against a clock that is set while it runs. APScheduler is the real one; what it takes for the time is ours."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from farmd import timers
from farmd.world import SystemWorld
from tests.waiting import until


class WallClock(datetime):
    """What APScheduler imports as `datetime`."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + cls.ahead


class World(SystemWorld):
    def now(self):
        return WallClock.now(UTC)


@pytest.fixture
def wall(monkeypatch):
    for module in ("apscheduler.schedulers.base.datetime", "apscheduler.executors.base.datetime"):
        monkeypatch.setattr(module, WallClock)
    monkeypatch.setattr(timers, "LOOK", 0.05)
    monkeypatch.setattr(WallClock, "ahead", timedelta(0))
    return WallClock


@pytest.mark.parametrize("hours", [-24, 1], ids=["set back", "set forward"])
def test_a_clock_that_is_set_stops_nothing(wall, hours):
    async def story():
        ticks = []

        async def tick():
            ticks.append(1)

        clockwork = timers.Timers(World())
        clockwork.every(0.1, "tick", tick)
        clockwork.start()
        await until(lambda: len(ticks) >= 2, 5)
        wall.ahead = timedelta(hours=hours)
        before = len(ticks)
        await until(lambda: len(ticks) >= before + 5, 5)
        clockwork.stop()

    asyncio.run(story())


def test_a_tick_that_fails_comes_again_and_the_others_do_not_notice(wall):
    async def story():
        ticks, failures = [], []

        async def tick():
            ticks.append(1)

        async def fail():
            failures.append(1)
            raise RuntimeError("broken")

        clockwork = timers.Timers(World())
        clockwork.every(0.05, "tick", tick)
        clockwork.every(0.05, "fail", fail, at_once=True)
        clockwork.start()
        await until(lambda: len(ticks) >= 3 and len(failures) >= 3, 5)
        clockwork.stop()

    asyncio.run(story())
