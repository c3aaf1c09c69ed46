"""Wishes and mishaps at every step of a print: cancelled here or at the machine, held, refused by the store, broken by a driver."""

import asyncio

import pytest
from sqlalchemy import event

from tests.fleet_farm import FleetFarm, eventually, fleet_farm, one_in, play, printing_on, status_is
from tests.outside_drivers import BrokenDriver, LateEyes, wrap


async def reached(farm: FleetFarm, state: str) -> str:
    """An order whose attempt has come to `state`, slowly enough to be caught there."""
    await wrap(farm, LateEyes)
    if state in ("ASSIGNED", "UPLOADING"):
        farm.virtual["p1"].set_delay(0.5)
    order = await farm.order(1, seconds=600)
    await farm.clear("p1")
    await eventually(lambda: one_in(farm, "PRINTING" if state == "PAUSED" else state))
    if state == "PAUSED":
        farm.virtual["p1"].machine.pause("somebody")
        await eventually(lambda: one_in(farm, "PAUSED"))
    return order


@pytest.mark.parametrize("state", ["UPLOADING", "STARTING", "PRINTING", "PAUSED"])
def test_an_order_cancelled_at_any_step_leaves_no_print_running(tmp_path, state):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await reached(farm, state)
            await farm.cancel(order)
            farm.virtual["p1"].set_delay(0)
            await eventually(lambda: stopped(farm, order))
            await eventually(lambda: farm.virtual["p1"].state == "Operational")
            ran = len(farm.virtual["p1"].history)
            assert ran == (0 if state == "UPLOADING" else 1)
            assert (await farm.bed("p1") == "clear") is (ran == 0)
            assert [row["state"] for row in await farm.attempts()] == ["CANCELLED"]
            assert (await farm.told(order)).count("order.cancelled") == 1
            (job,) = (await farm.view(order))["jobs"]
            assert job["units"] == {"waiting": 1, "printing": 0, "printed": 0, "good": 0, "scrapped": 0}

    play(story)()


def test_a_cancel_at_the_machine_s_own_screen_gives_the_plate_back_and_soils_the_bed(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await printing_on(farm)
            farm.virtual["p1"].machine.cancel("somebody")
            await eventually(lambda: one_in(farm, "FAILED"))
            assert await farm.bed("p1") == "occupied"
            assert await farm.status(order) == "printing"
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "PRINTING"))
            assert farm.virtual["p1"].crashes == 0

    play(story)()


def test_a_print_held_and_let_go_at_the_machine_is_followed_and_not_commanded(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await printing_on(farm, seconds=3)
            machine = farm.virtual["p1"].machine
            machine.pause("somebody")
            await eventually(lambda: one_in(farm, "PAUSED"))
            machine.resume("somebody")
            await eventually(lambda: one_in(farm, "PRINTING"))
            await eventually(lambda: status_is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1

    play(story)()


def test_three_cancels_at_the_machine_hand_the_job_to_a_person(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await printing_on(farm)
            for count in range(1, 4):
                await eventually(lambda: one_in(farm, "PRINTING"))
                farm.virtual["p1"].machine.cancel("somebody")
                await eventually(lambda count=count: failures(farm, count))
                await farm.clear("p1")
            view = await farm.view(order)
            assert view["jobs"][0]["state"] == "FAILED"
            assert view["attention"][0]["code"] == "job_failed"
            await farm.dispatcher.match()
            assert len(await farm.attempts()) == 3

    play(story)()


class ReadOnly:
    """The store's disk refuses every write while `on`."""

    def __init__(self, farm: FleetFarm) -> None:
        self.on = False
        event.listen(farm.store.engine, "checkout", self._set)

    def _set(self, connection, _record, _proxy) -> None:
        connection.execute(f"PRAGMA query_only={int(self.on)}")


def test_no_start_leaves_while_the_store_cannot_write_it_down(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            disk = ReadOnly(farm)
            farm.virtual["p1"].set_delay(0.3)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            disk.on = True
            farm.virtual["p1"].set_delay(0)
            failures_before = farm.store.commit_failures
            await eventually(lambda: farm.store.commit_failures > failures_before + 1)
            assert farm.virtual["p1"].history == []
            disk.on = False
            await eventually(lambda: status_is(farm, order, "ready"), 40)
            assert len(farm.virtual["p1"].history) == 1

    play(story)()


def test_a_print_that_ends_while_the_store_cannot_write_is_booked_once_it_can(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await printing_on(farm, seconds=1)
            disk = ReadOnly(farm)
            disk.on = True
            await eventually(lambda: farm.virtual["p1"].state == "Operational")
            await eventually(lambda: farm.store.commit_failures > 0)
            assert await one_in(farm, "PRINTING")
            disk.on = False
            await eventually(lambda: status_is(farm, order, "ready"))
            assert await farm.bed("p1") == "occupied"

    play(story)()


class BreaksAfterTheStart(BrokenDriver):
    """Its start command arrives, and its own code breaks over the answer."""

    async def start(self, remote, slot=None) -> None:
        await self._driver.start(remote, slot)
        raise KeyError("a defect in a driver")


def test_a_driver_that_breaks_over_a_start_is_not_asked_to_start_again(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await wrap(farm, lambda driver: BreaksAfterTheStart(driver, set()))
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: status_is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1

    play(story)()


def test_a_start_that_never_arrives_is_in_doubt_and_not_repeated(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await wrap(farm, lambda driver: BrokenDriver(driver, {"start"}))
            await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "STARTING"))
            await asyncio.sleep(0.5)
            assert await one_in(farm, "STARTING")
            farm.world.forward(60)
            await eventually(lambda: one_in(farm, "UNKNOWN"))
            assert farm.virtual["p1"].history == []
            assert await farm.bed("p1") == "unknown"

    play(story)()


async def stopped(farm: FleetFarm, order: str) -> bool:
    return (await farm.view(order))["cancellation"]["printers"] == "stopped"


async def failures(farm: FleetFarm, count: int) -> bool:
    return [row["state"] for row in await farm.attempts()].count("FAILED") == count
