"""The fleet against virtual OctoPrints on real sockets: nothing printed twice, nothing lost, no start on a part."""

import asyncio
from dataclasses import replace

import pytest

from farmd.store import making, printing
from farmd.store import tables as t
from farmd.store.rows import get
from tests.fleet_farm import eventually, fleet_farm


def test_an_order_is_printed_once_and_ends_ready(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(2, 1)
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            assert not await farm.attempts(), "nothing may start while nobody has confirmed the bed"
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await eventually(lambda: _one_in(farm, "SUCCEEDED"))
            assert await farm.bed("p1") == "occupied"
            assert len(await farm.attempts()) == 1, "a second plate must wait for the bed"
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "ready"))
            assert farm.virtual["p1"].crashes == 0
            assert [attempt["state"] for attempt in await farm.attempts()] == ["SUCCEEDED", "SUCCEEDED"]
            assert await farm.told(order) == [
                "order.created", "order.paid", "order.processing", "order.printing", "order.post_processing", "order.ready",
            ]  # fmt: skip

    asyncio.run(run())


def test_cancelling_while_it_prints_stops_the_machine(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1, seconds=600)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.cancel(order)
            await eventually(lambda: _cancelled(farm, order, "stopped"))
            assert farm.virtual["p1"].state == "Operational"
            assert await farm.bed("p1") == "occupied"
            assert (await farm.told(order)).count("order.cancelled") == 1

    asyncio.run(run())


def test_a_daemon_that_comes_back_adopts_the_running_print(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1, seconds=4)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.close()
            await farm.open()
            await eventually(lambda: _is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1

    asyncio.run(run())


def test_a_print_that_ended_while_the_daemon_was_away_is_booked(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1, seconds=2)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.close()
            await eventually(lambda: farm.virtual["p1"].state == "Operational")
            await farm.open()
            await eventually(lambda: _is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1
            assert await farm.bed("p1") == "occupied"

    asyncio.run(run())


def test_a_lost_answer_to_a_start_never_starts_twice(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").connected)
            farm.virtual["p1"].lose_start_answer()
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1
            assert len(await farm.attempts()) == 1

    asyncio.run(run())


def test_power_lost_in_mid_print_is_unknown_until_a_person_says(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1, seconds=60)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.virtual["p1"].lose_power()
            await eventually(lambda: not farm.registry.live("p1").connected, 40)
            await farm.virtual["p1"].restore_power()
            attempt = await eventually(lambda: _one_in(farm, "UNKNOWN"), 60)
            assert await farm.bed("p1") == "unknown"
            assert (await farm.view(order))["attention"][0]["code"] == "attempt_unknown"
            assert await farm.status(order) == "printing"
            await farm.clear("p1")
            await asyncio.wait_for(farm.dispatcher.match(), 5)
            assert len(await farm.attempts()) == 1, "a plate in doubt must not be printed again"
            await farm.store.write(lambda tx: printing.failed(tx, get(tx.connection, t.attempts, attempt["id"]), "a person looked"))
            await eventually(lambda: _count(farm, 2))
            assert farm.virtual["p1"].crashes == 0

    asyncio.run(run())


def test_a_foreign_print_is_left_alone_and_its_bed_distrusted(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            await farm.clear("p1")
            farm.virtual["p1"].start_foreign(3)
            await eventually(lambda: _bed(farm, "p1", "unknown"))
            await farm.order(1)
            assert farm.registry.live("p1").foreign
            await eventually(lambda: farm.virtual["p1"].state == "Operational")
            assert [entry.outcome for entry in farm.virtual["p1"].history] == [farm.virtual["p1"].history[0].outcome]
            assert not await farm.attempts()

    asyncio.run(run())


@pytest.mark.parametrize("fault", ["drop_link", "firmware_error"])
def test_a_machine_that_stops_itself_has_its_plate_printed_again(tmp_path, fault):
    async def run() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            order = await farm.order(1, seconds=3)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            getattr(farm.virtual["p1"], fault)()
            await eventually(lambda: _one_in(farm, "FAILED"))
            assert await farm.bed("p1") == "occupied"
            assert await farm.status(order) == "printing"
            await farm.clear("p2")
            await eventually(lambda: _is(farm, order, "ready"))
            assert len(farm.virtual["p2"].history) == 1

    asyncio.run(run())


def test_one_hanging_printer_does_not_hold_up_another(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await eventually(lambda: farm.registry.live("p1").connected and farm.registry.live("p2").connected)
            await farm.virtual["p1"].hang()
            order = await farm.order(1, seconds=1)
            await farm.clear("p2")
            await eventually(lambda: _is(farm, order, "ready"), 10)
            await farm.virtual["p1"].unhang()

    asyncio.run(run())


def test_a_printer_that_ejects_its_parts_prints_plate_after_plate_by_itself(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path, bed_clear="auto", ejects=True) as farm:
            order = await farm.order(2, 2, 1, seconds=1)
            await eventually(lambda: _is(farm, order, "ready"), 40)
            assert len(farm.virtual["p1"].history) == 3
            assert farm.virtual["p1"].crashes == 0
            assert await farm.bed("p1") == "clear"

    asyncio.run(run())


def test_a_printer_that_ejects_waits_for_a_person_after_a_cancel(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path, bed_clear="auto", ejects=True) as farm:
            order = await farm.order(1, seconds=600)
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.cancel(order)
            await eventually(lambda: _cancelled(farm, order, "stopped"))
            assert await farm.bed("p1") == "occupied"

    asyncio.run(run())


def test_what_somebody_printed_while_the_daemon_was_away_makes_the_bed_doubtful(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            await farm.clear("p1")
            await farm.close()
            farm.virtual["p1"].start_foreign(1)
            await eventually(lambda: farm.virtual["p1"].state == "Operational")
            await farm.open()
            await farm.order(1)
            await eventually(lambda: _bed(farm, "p1", "unknown"))
            await farm.dispatcher.match()
            assert not await farm.attempts()
            assert farm.virtual["p1"].crashes == 0

    asyncio.run(run())


def test_no_start_leaves_for_a_bed_that_came_into_doubt(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            farm.virtual["p1"].set_delay(0.3)  # time for a doubt while the file goes up
            await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: _count(farm, 1))
            await farm.store.write(lambda tx: printing.set_bed(tx, "p1", printing.Bed.UNKNOWN, "somebody leaned on it"))
            attempt = await eventually(lambda: _one_in(farm, "FAILED"))
            assert "somebody leaned on it" in attempt["reason"]
            assert attempt["start_sent_at"] is None
            assert farm.virtual["p1"].history == []
            assert await farm.bed("p1") == "unknown"

    asyncio.run(run())


def test_a_printer_taken_out_of_the_configuration_leaves_no_order_hanging(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1, seconds=3)
            await farm.clear("p1")
            await eventually(lambda: _is(farm, order, "printing"))
            await farm.fleet.apply(replace(farm.settings, printers=()))
            assert (await farm.attempts())[0]["state"] == "UNKNOWN"
            assert (await farm.view(order))["attention"][0]["code"] == "attempt_unknown"
            await farm.fleet.apply(farm.settings)
            await eventually(lambda: _is(farm, order, "ready"))
            assert len(farm.virtual["p1"].history) == 1

    asyncio.run(run())


def test_a_job_that_waits_for_something_else_says_only_that(tmp_path):
    async def run() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await farm.order(1)
            job = (await farm.view(order))["jobs"][0]["id"]
            for code in ("model_missing", "no_printer"):
                await farm.store.write(lambda tx, code=code: making.hold(tx, job, code, "wait"))
            assert [entry["code"] for entry in (await farm.view(order))["attention"]] == ["no_printer"]

    asyncio.run(run())


async def _is(farm, order: str, status: str) -> bool:
    return await farm.status(order) == status


async def _bed(farm, printer: str, bed: str) -> bool:
    return await farm.bed(printer) == bed


async def _cancelled(farm, order: str, printers: str) -> bool:
    return (await farm.view(order))["cancellation"]["printers"] == printers


async def _one_in(farm, state: str):
    return next((attempt for attempt in await farm.attempts() if attempt["state"] == state), None)


async def _count(farm, number: int) -> bool:
    return len(await farm.attempts()) == number
