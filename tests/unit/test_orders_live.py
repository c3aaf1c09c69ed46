"""An order shows how far its prints are and when they end, as the machines tell."""

import asyncio
from datetime import timedelta

from farmd.api.job_views import show_live
from farmd.fleet.registry import Live, Registry
from farmd.store.views import iso
from tests.fleet_farm import eventually, fleet_farm

NOW_SECONDS_LEFT = 90


def test_progress_and_eta_come_from_the_machine(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(2, seconds=600)
            await farm.clear("p1")
            await eventually(lambda: _printing(farm, order))
            view = await farm.view(order)
            attempt = view["jobs"][0]["attempts"][0]
            registry, now = Registry(), farm.world.now()
            registry.configure(farm.settings.printers)
            registry.see("p1", Live("printing", True, attempt, progress=0.5, seconds_left=NOW_SECONDS_LEFT))
            await farm.store.read(lambda c: show_live(c, registry, [view], now))
            assert view["jobs"][0]["progress"] == 0.5
            assert view["jobs"][0]["etaAt"] == iso(now + timedelta(seconds=NOW_SECONDS_LEFT))

    asyncio.run(run())


async def _printing(farm, order: str) -> bool:
    return (await farm.status(order)) == "printing"
