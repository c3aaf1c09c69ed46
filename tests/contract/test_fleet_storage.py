"""A printer whose storage fails, in the fleet: the first fault is told, the second before a good print takes the printer out."""

from contextlib import asynccontextmanager

from farmd.fleet.panel import panel
from farmd.store import work
from farmd.store.storage_faults import read_storage
from tests.fleet_farm import eventually, fleet_farm, play, status_is
from tests.outside_drivers import SickStorage, wrap

BAD_CARD = "0500-C010: the printer cannot read or write its storage card"


@asynccontextmanager
async def sick(folder, trouble=None):
    """A farm whose `p1` is such a machine; gives the machine too, that of the farm's latest life."""
    made: list[SickStorage] = []

    def around(driver) -> SickStorage:
        made.append(SickStorage(driver, trouble if not made else made[-1].trouble))
        return made[-1]

    async with fleet_farm(folder) as farm:
        await wrap(farm, around)
        yield farm, lambda trouble: made[-1].turns(trouble)


async def noted(farm, count, stands):
    async def same():
        return await farm.store.read(lambda c: read_storage(c, "p1")) == (count, stands)

    await eventually(same)


async def show(farm):
    return await farm.store.read(lambda c: panel(c, farm.registry, "p1", farm.world.now()))


def test_the_second_fault_takes_the_printer_out_until_somebody_enables_it(tmp_path):
    async def story() -> None:
        async with sick(tmp_path) as (farm, turns):
            turns(BAD_CARD)
            await noted(farm, 1, stands=True)
            shown = await show(farm)
            assert [each["code"] for each in shown["attention"]] == ["storage"]
            assert shown["quarantined"] is None
            turns(None)
            await noted(farm, 1, stands=False)
            turns(BAD_CARD)
            await noted(farm, 0, stands=True)
            assert "exchange or format the card" in (await show(farm))["quarantined"]
            turns(None)
            await noted(farm, 0, stands=False)
            order = await farm.order(1)
            await farm.clear("p1")
            assert await farm.dispatcher.match() == 0
            await farm.store.write(lambda tx: work.enable_printer(tx, "p1"))
            await eventually(lambda: status_is(farm, order, "ready"))

    play(story)()


def test_a_fault_that_stands_counts_once_however_often_the_daemon_starts(tmp_path):
    async def story() -> None:
        async with sick(tmp_path, BAD_CARD) as (farm, _):
            await noted(farm, 1, stands=True)
            for _ in range(2):
                await farm.close()
                await farm.open()
                await eventually(lambda: farm.registry.live("p1").phase == "idle")
                await eventually(lambda: [each["code"] for each in farm.registry.live("p1").attention] == ["storage"])
            assert (await show(farm))["quarantined"] is None
            await noted(farm, 1, stands=True)

    play(story)()


def test_a_good_print_between_two_faults_forgives_the_first(tmp_path):
    async def story() -> None:
        async with sick(tmp_path) as (farm, turns):
            turns(BAD_CARD)
            await noted(farm, 1, stands=True)
            turns(None)
            await noted(farm, 1, stands=False)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: status_is(farm, order, "ready"))
            await noted(farm, 0, stands=False)
            turns(BAD_CARD)
            await noted(farm, 1, stands=True)
            assert (await show(farm))["quarantined"] is None

    play(story)()
