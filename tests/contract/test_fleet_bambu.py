"""A Bambu printer in the fleet: real store, real supervisors, the real driver, and a virtual printer over TLS that knows how often
it was really started."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

from drivers.bambu import factory
from drivers.virtual.bambu import faults as codes
from drivers.virtual.bambu.ams import Spool
from drivers.virtual.bambu.faults import Unsigned
from drivers.virtual.bambu.printer import VirtualBambu
from drivers.virtual.bambu.project import make_project
from drivers.virtual.history import Outcome
from farmd.config import PrinterSettings
from farmd.fleet.panel import panel
from tests.contract.bambu_bench import SPEED, block
from tests.fleet_farm import FleetFarm, bed_is, eventually, one_in, play, status_is


class BambuFarm(FleetFarm):
    """A farm of one Bambu printer, `p1`."""

    def __init__(self, folder, printer: VirtualBambu) -> None:
        super().__init__(folder, {})
        self.virtual, self.printer = {"p1": printer}, printer
        settings = PrinterSettings("p1", "bambu", block(printer), material="PLA", color="#1a1a1a", machine=printer.model)
        self.settings = replace(self.settings, printers=(settings,))
        self.factories = {"bambu": factory}

    async def sliced_order(self, seconds: float) -> str:
        """One plate that prints for `seconds`; the bed is cleared for it."""
        order = await self.order(1, content=make_project(seconds * SPEED, model=self.printer.kind.code), seconds=round(seconds))
        await self.clear("p1")
        return order

    async def reopen(self) -> None:
        """The daemon ends, and the next one comes up."""
        await self.close()
        await self.open()

    async def show(self):
        return await self.store.read(lambda c: panel(c, self.registry, "p1", self.world.now()))


@asynccontextmanager
async def bambu_farm(folder, model="P1S", **more):
    async with VirtualBambu(model, speed=SPEED, **more) as printer:
        farm = BambuFarm(folder, printer)
        await farm.open()
        try:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            yield farm, printer
        finally:
            await farm.close()


async def state(farm, *states):
    return await eventually(lambda: one_in(farm, *states))


def test_an_order_becomes_parts(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            order = await farm.sliced_order(2)
            await eventually(lambda: status_is(farm, order, "ready"))
            (made,) = printer.record.prints
            (attempt,) = await farm.attempts()
            assert (made.subtask_name, made.fed, made.on_occupied_bed) == (f"farmd-{attempt['id']}", (0,), False)
            assert await bed_is(farm, "p1", "occupied")
            assert printer.record.complaints == []

    play(story)()


def test_the_spool_of_an_order_is_the_one_it_is_printed_from(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path, spools=(Spool("PLA", "#FFFFFF"), Spool("PETG", "#1A1A1A"), Spool("PLA", "#1A1A1A"))) as (
            farm,
            printer,
        ):
            order = await farm.sliced_order(2)
            await eventually(lambda: status_is(farm, order, "ready"))
            assert [made.fed for made in printer.record.prints] == [(2,)]
            assert [row["slot"] for row in await farm.attempts()] == ["ams-0-2"]

    play(story)()


def test_a_daemon_that_ends_at_any_moment_starts_once_and_finishes_the_order(tmp_path):
    """While the file goes up, while the start is on its way, and in the middle of the print."""

    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            printer.faults.upload.rate = 1000.0
            printer.faults.job.start_after = 20.0
            order = await farm.sliced_order(3)
            await eventually(lambda: farm.registry.live("p1").uploading is not None)
            await farm.reopen()
            printer.faults.upload.rate = None
            await eventually(lambda: printer.record.starts)
            await farm.reopen()
            await eventually(lambda: printer.state == "RUNNING")
            await farm.reopen()
            await eventually(lambda: status_is(farm, order, "ready"))
            assert len(printer.record.starts) == len(printer.record.prints) == 1

    play(story)()


def test_a_start_that_is_read_in_for_minutes_is_waited_for(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            printer.faults.job.start_after = 60.0
            order = await farm.sliced_order(2)
            await eventually(lambda: printer.record.starts)
            await eventually(lambda: farm.registry.live("p1").phase == "busy")
            farm.world.forward(200)
            assert await one_in(farm, "STARTING")
            await eventually(lambda: status_is(farm, order, "ready"))

    play(story)()


def test_a_cancelled_order_stops_the_printer(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            order = await farm.sliced_order(60)
            await eventually(lambda: printer.state == "RUNNING")
            await farm.cancel(order)
            await state(farm, "CANCELLED")
            assert [made.outcome for made in printer.record.prints] == [Outcome.CANCELLED]
            assert await bed_is(farm, "p1", "occupied")

    play(story)()


def test_a_printer_without_developer_mode_is_taken_out_and_says_the_cure(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            printer.faults.wire.unsigned = Unsigned.ANSWER
            await farm.sliced_order(2)

            async def quarantined():
                return (await farm.show())["quarantined"]

            assert "enable Developer Mode" in await eventually(quarantined)
            assert "locked" in [each["code"] for each in (await farm.show())["attention"]]
            assert await bed_is(farm, "p1", "clear")  # nothing was started
            assert printer.record.prints == []

    play(story)()


def test_a_card_that_fails_twice_takes_the_printer_out(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            printer.faults.job.start_error = codes.STORAGE_EXCEPTION
            await farm.sliced_order(2)
            for _ in range(2):
                await eventually(lambda: not printer.firmware.machine.busy)

                async def failed_or_out():
                    shown = await farm.show()
                    return shown["quarantined"] or (shown["bed"] != "clear" and not await one_in(farm, "STARTING"))

                await eventually(failed_or_out)
                if not (await farm.show())["quarantined"]:
                    await farm.clear("p1")

            async def quarantined():
                return (await farm.show())["quarantined"]

            assert "exchange or format the card" in await eventually(quarantined)
            assert len(printer.record.starts) == 2
            assert printer.record.prints == []

    play(story)()


def test_a_runout_calls_a_person_and_goes_on(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            order = await farm.sliced_order(6)
            await eventually(lambda: printer.state == "RUNNING" and printer.feeder.now == 0)
            printer.run_out()
            await state(farm, "PAUSED")

            async def held():
                return [each["detail"] for each in (await farm.show())["attention"] if each["code"] == "held"]

            assert "run out" in (await eventually(held))[0]
            printer.refill(0)
            printer.resume_by_hand()
            await eventually(lambda: status_is(farm, order, "ready"))

    play(story)()


def test_a_power_cut_in_the_middle_asks_a_person(tmp_path):
    async def story() -> None:
        async with bambu_farm(tmp_path) as (farm, printer):
            order = await farm.sliced_order(60)
            await eventually(lambda: status_is(farm, order, "printing"))
            await printer.lose_power()
            await eventually(lambda: not farm.registry.live("p1").connected)
            await asyncio.sleep(0)
            await printer.restore_power()
            await state(farm, "UNKNOWN")
            assert await bed_is(farm, "p1", "unknown")
            assert len(printer.record.starts) == 1

    play(story)()
