"""A printer that feeds itself from several spools, in the fleet: the slot that was chosen is the slot that is started, and a spool
that was exchanged in the last moment starts nothing."""

from contextlib import asynccontextmanager

from drivers.contract import Spool
from farmd.fleet.panel import panel
from farmd.fleet.why import why
from tests.fleet_farm import FleetFarm, away, eventually, fleet_farm, one_in, play, status_is
from tests.outside_drivers import SeveralSpools, wrap

WHITE = Spool("ams-0-0", "PLA", "#ffffff", 0.8)
BLACK = Spool("ams-0-1", "PLA", "#1A1A1A", 0.5)
PETG = Spool("ams-0-2", "PETG", "#1a1a1a")


@asynccontextmanager
async def self_feeding(folder, *spools: Spool):
    """A farm whose `p1` is such a machine; gives the machine's driver too."""
    made: list[SeveralSpools] = []

    def around(driver) -> SeveralSpools:
        made.append(SeveralSpools(driver, *spools))
        return made[-1]

    async with fleet_farm(folder) as farm:
        await wrap(farm, around)
        yield farm, made[-1]


async def show(farm: FleetFarm):
    return await farm.store.read(lambda c: panel(c, farm.registry, "p1", farm.world.now()))


async def reason(farm: FleetFarm, order: str):
    job = (await farm.view(order))["jobs"][0]["id"]
    return await farm.store.read(lambda c: why(c, farm.registry, job, farm.world.now()))


def test_a_print_is_started_from_the_spool_that_was_chosen_for_it(tmp_path):
    async def story() -> None:
        async with self_feeding(tmp_path, WHITE, BLACK, PETG) as (farm, driver):
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: status_is(farm, order, "ready"))
            assert driver.fed == ["ams-0-1"]
            assert [row["slot"] for row in await farm.attempts()] == ["ams-0-1"]

    play(story)()


def test_an_owner_sees_what_is_loaded_also_while_the_machine_is_away(tmp_path):
    async def story() -> None:
        async with self_feeding(tmp_path, BLACK, PETG, Spool("ams-0-3", "", None)) as (farm, _):
            shown = await show(farm)
            assert shown["spools"] == [
                {"slot": "ams-0-1", "material": "PLA", "color": "#1a1a1a", "remaining": 0.5},
                {"slot": "ams-0-2", "material": "PETG", "color": "#1a1a1a", "remaining": None},
                {"slot": "ams-0-3", "material": None, "color": None, "remaining": None},
            ]
            assert (shown["material"], shown["color"]) == ("PLA", "#1a1a1a")
            await away(farm)
            assert (await show(farm))["spools"] == shown["spools"]

    play(story)()


def test_a_job_waits_for_its_spool_and_starts_as_soon_as_it_is_put_in(tmp_path):
    async def story() -> None:
        async with self_feeding(tmp_path, WHITE) as (farm, driver):
            order = await farm.order(1)
            await farm.clear("p1")
            await farm.dispatcher.match()
            assert await farm.attempts() == []  # although somebody once said that black PLA is loaded
            assert (await show(farm))["material"] == "PLA"
            told = await reason(farm, order)
            assert told["waitsFor"]["code"] == "filament"
            assert "needs PLA #1a1a1a; loaded: slot ams-0-0 PLA #ffffff" in told["summary"]
            driver.exchange([WHITE, BLACK])
            await eventually(lambda: status_is(farm, order, "ready"))
            assert driver.fed == ["ams-0-1"]

    play(story)()


def test_a_spool_that_is_exchanged_while_the_file_goes_up_keeps_the_print_from_starting(tmp_path):
    async def story() -> None:
        async with self_feeding(tmp_path, WHITE, BLACK) as (farm, driver):
            farm.virtual["p1"].set_delay(0.5)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            driver.exchange([WHITE, PETG])
            await eventually(lambda: [spool.slot for spool in farm.registry.live("p1").spools or ()] == ["ams-0-0", "ams-0-2"])
            assert await one_in(farm, "UPLOADING")
            farm.virtual["p1"].set_delay(0)
            withheld = await eventually(lambda: one_in(farm, "FAILED"))
            assert withheld["start_sent_at"] is None
            assert withheld["reason"] == (
                "the filament of p1 was changed: slot ams-0-1 has to hold PLA #1a1a1a; "
                "loaded: slot ams-0-0 PLA #ffffff, slot ams-0-2 PETG #1a1a1a"
            )
            assert (driver.fed, farm.virtual["p1"].history) == ([], [])
            assert await farm.bed("p1") == "clear"
            driver.exchange([WHITE, PETG, Spool("ams-0-3", "PLA", "#1a1a1a")])
            await eventually(lambda: status_is(farm, order, "ready"))
            assert driver.fed == ["ams-0-3"]
            (job,) = (await farm.view(order))["jobs"]
            assert job["units"]["good"] == 1

    play(story)()


def test_a_plate_assigned_by_a_person_s_word_is_chosen_a_spool_once_the_machine_tells(tmp_path):
    async def story() -> None:
        async with self_feeding(tmp_path) as (farm, driver):
            driver.exchange(None)
            await eventually(lambda: farm.registry.live("p1").spools is None)
            farm.virtual["p1"].set_delay(0.5)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            driver.exchange([BLACK])
            await eventually(lambda: farm.registry.live("p1").spools)
            assert await one_in(farm, "UPLOADING")
            farm.virtual["p1"].set_delay(0)
            await eventually(lambda: status_is(farm, order, "ready"))
            assert driver.fed == ["ams-0-1"]
            rows = await farm.attempts()
            assert [(row["state"], row["slot"]) for row in rows] == [("FAILED", None), ("SUCCEEDED", "ams-0-1")]
            assert "a spool has to be chosen" in rows[0]["reason"]

    play(story)()
