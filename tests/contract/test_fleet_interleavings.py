"""What may come between two steps of a print: commands of people, prints of strangers, spells without a link.

The judge is the machine: what it printed, and whether a print began on top of a part.
"""

import asyncio
from dataclasses import replace

import pytest

from drivers.virtual.history import Outcome
from farmd.domain.reconcile import START_PATIENCE
from farmd.store import printing, work
from farmd.store import tables as t
from farmd.store.rows import get
from tests.fleet_farm import (
    FleetFarm,
    away,
    bed_is,
    eventually,
    fleet_farm,
    one_in,
    play,
    printing_on,
    status_is,
)
from tests.outside_drivers import BrokenDriver, LateEyes, SwallowedStart, wrap


def start_at_the_machine(farm: FleetFarm, attempt: str, printer: str = "p1") -> None:
    """The machine prints a file of ours by itself: a start that was delivered late, or somebody's finger."""
    machine = farm.virtual[printer].machine
    (file,) = (stored for stored in machine._store if attempt in stored.path)
    machine.select(file, "somebody")
    machine.start("somebody")


async def without_power(farm: FleetFarm, printer: str = "p1") -> None:
    await farm.virtual[printer].lose_power()
    await eventually(lambda: not farm.registry.live(printer).connected, 40)
    await farm.virtual[printer].restore_power()


# between the assignment and the start


def test_a_printer_that_stood_idle_for_long_is_not_doubted_right_after_a_start(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await wrap(farm, LateEyes)
            farm.world.forward(3600)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: status_is(farm, order, "ready"))
            moves = await farm.store.read(lambda c: c.execute(t.history.select()).mappings().all())
            assert "lose" not in [move["signal"] for move in moves]
            assert "order.attention" not in await farm.told(order)

    play(story)()


CHANGES = {
    "disabled": lambda tx: work.disable_printer(tx, "p1"),
    "quarantined": lambda tx: printing.quarantine(tx, "p1", "it smells"),
    "other filament": lambda tx: work.load_printer(tx, "p1", material="PETG"),
    "other colour": lambda tx: work.load_printer(tx, "p1", color="#ffffff"),
    "bed in doubt": lambda tx: printing.set_bed(tx, "p1", printing.Bed.UNKNOWN, "somebody put a box on it"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_while_the_file_went_up_keeps_it_from_starting(tmp_path, what):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            farm.virtual["p1"].set_delay(0.5)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            await farm.store.write(CHANGES[what])
            farm.virtual["p1"].set_delay(0)
            given_back = await eventually(lambda: one_in(farm, "FAILED"))
            assert farm.virtual["p1"].history == []
            assert given_back["start_sent_at"] is None
            await farm.clear("p2")
            await eventually(lambda: status_is(farm, order, "ready"))
            assert farm.virtual["p1"].history == []
            assert (await farm.bed("p1") == "clear") is (what != "bed in doubt")

    play(story)()


def test_a_printer_whose_nozzle_was_changed_does_not_start_the_old_file(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            farm.virtual["p1"].set_delay(0.5)
            await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            block = replace(farm.settings.printers[0], nozzle=0.6)
            await farm.fleet.apply(replace(farm.settings, printers=(block,)))
            farm.virtual["p1"].set_delay(0)
            await eventually(lambda: one_in(farm, "FAILED"))
            assert farm.virtual["p1"].history == []

    play(story)()


# prints nobody here started


@pytest.mark.parametrize("who_is_away", ["the printer", "the daemon"])
def test_a_print_by_hand_that_nobody_watched_makes_the_bed_doubtful(tmp_path, who_is_away):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            machine = farm.virtual["p1"]
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            await farm.clear("p1")
            if who_is_away == "the printer":
                await away(farm)
            else:
                await farm.close()
            machine.start_foreign(1)
            await eventually(lambda: machine.state == "Operational")
            if who_is_away == "the printer":
                await farm.order(1)
                await machine.come_back()
            else:
                await farm.open()
                await farm.order(1)
            await eventually(lambda: bed_is(farm, "p1", "unknown"))
            await eventually(lambda: farm.registry.live("p1").connected)
            assert machine.crashes == 0
            assert len(machine.history) == 1

            await farm.clear("p1")  # a person looked: neither a restart nor a lost link asks again
            await farm.close()
            await farm.open()
            await eventually(lambda: one_in(farm, "SUCCEEDED"))
            assert machine.crashes == 0

    play(story)()


def test_a_click_on_clear_bed_during_a_print_by_hand_does_not_outlive_it(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            machine = farm.virtual["p1"]
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            machine.start_foreign(1.0)
            await eventually(lambda: farm.registry.live("p1").foreign)
            await farm.order(1)
            while machine.state != "Operational":
                await farm.store.write(lambda tx: printing.clear_bed(tx, "p1", "hasty"))
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            await eventually(lambda: bed_is(farm, "p1", "unknown"))
            assert not await one_in(farm, "STARTING", "PRINTING", "SUCCEEDED")
            assert machine.crashes == 0

    play(story)()


# a start that comes late


def test_a_lost_print_that_ran_after_all_leaves_no_clear_bed(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            machine = farm.virtual["p1"]
            await printing_on(farm, seconds=1)
            await without_power(farm)
            attempt = await eventually(lambda: one_in(farm, "UNKNOWN"), 60)
            await farm.clear("p1")
            await away(farm)
            start_at_the_machine(farm, attempt["id"])
            await eventually(lambda: machine.state == "Operational")
            await machine.come_back()
            await eventually(lambda: one_in(farm, "SUCCEEDED"))
            assert await farm.bed("p1") != "clear"
            await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: len(machine.history) == 3)
            assert machine.crashes == 0

    play(story)()


def test_a_late_start_of_a_cancelled_order_is_stopped_and_leaves_no_clear_bed(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            machine = farm.virtual["p1"]
            order = await printing_on(farm)
            await without_power(farm)
            attempt = await eventually(lambda: one_in(farm, "UNKNOWN"), 60)
            await farm.clear("p1")
            await away(farm)
            await farm.cancel(order)
            start_at_the_machine(farm, attempt["id"])
            await machine.come_back()
            await eventually(lambda: machine.state == "Operational")
            await eventually(lambda: one_in(farm, "CANCELLED"))
            assert await farm.bed("p1") != "clear"
            assert [row["state"] for row in await farm.attempts()] == ["CANCELLED"]

    play(story)()


def test_a_start_that_comes_after_a_person_called_it_failed_is_stopped_and_its_unit_made_once(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            machine = farm.virtual["p1"]
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            await wrap(farm, SwallowedStart)
            order = await farm.order(1, seconds=6)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "STARTING"))
            farm.world.forward(START_PATIENCE + 1)
            lost = await eventually(lambda: one_in(farm, "UNKNOWN"), 60)
            await farm.store.write(lambda tx: work.resolve_attempt(tx, lost["id"], "failed", "jane"))
            start_at_the_machine(farm, lost["id"])
            await eventually(lambda: machine.history and machine.history[-1].outcome is not Outcome.RUNNING)
            assert [begun.outcome for begun in machine.history] == [Outcome.CANCELLED]
            assert await farm.bed("p1") != "clear"
            await farm.clear("p2")
            await eventually(lambda: status_is(farm, order, "ready"))
            assert len(farm.virtual["p2"].history) == 1

    play(story)()


# stuck without a word


def test_a_printer_that_takes_no_file_gives_its_plate_back_with_the_reason(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            farm.virtual["p1"].lose_answer("POST", "/api/files/local", times=10**6)
            order = await farm.order(1)
            await farm.clear("p1")
            given_back = await eventually(lambda: one_in(farm, "FAILED"), 60)
            assert "could not be sent" in given_back["reason"]
            await farm.clear("p2")
            await eventually(lambda: status_is(farm, order, "ready"))

    play(story)()


def test_a_print_on_a_printer_taken_out_of_the_configuration_waits_for_a_person_and_is_adopted_again(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            order = await printing_on(farm)
            await farm.fleet.apply(replace(farm.settings, printers=farm.settings.printers[1:]))
            attempt = await one_in(farm, "UNKNOWN")
            assert "configuration" in attempt["reason"]
            assert (await farm.view(order))["attention"][0]["code"] == "attempt_unknown"
            assert farm.virtual["p1"].state == "Printing"
            await farm.fleet.apply(farm.settings)
            await eventually(lambda: one_in(farm, "PRINTING"))
            assert (await farm.view(order))["attention"] == []
            assert len(farm.virtual["p1"].history) == 1

    play(story)()


def test_a_plate_on_its_way_to_a_printer_taken_out_of_the_configuration_goes_to_another(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle")
            farm.virtual["p1"].set_delay(0.5)
            order = await farm.order(1)
            await farm.clear("p1")
            await eventually(lambda: one_in(farm, "UPLOADING"))
            await farm.fleet.apply(replace(farm.settings, printers=farm.settings.printers[1:]))
            await farm.clear("p2")
            await eventually(lambda: status_is(farm, order, "ready"))
            assert farm.virtual["p1"].history == []

    play(story)()


def test_a_printer_that_never_comes_back_is_given_to_a_person(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            order = await printing_on(farm)
            await away(farm)
            farm.world.forward(600)
            await asyncio.sleep(0.5)
            assert await farm.status(order) == "printing"
            assert await one_in(farm, "PRINTING"), "a lost link alone says nothing"
            farm.world.forward(3600)
            await eventually(lambda: one_in(farm, "UNKNOWN"))
            assert (await farm.view(order))["attention"][0]["code"] == "attempt_unknown"
            await farm.virtual["p1"].come_back()
            await eventually(lambda: one_in(farm, "PRINTING"), 40)

    play(story)()


def test_a_history_that_cannot_be_read_ends_with_a_person_not_in_silence(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await printing_on(farm)
            farm.virtual["p1"].lose_answer("GET", "/api/files/local/farmd", times=10**6)
            farm.virtual["p1"].drop_link()
            await eventually(lambda: farm.registry.live("p1").phase == "error")
            await asyncio.sleep(0.5)
            assert await one_in(farm, "PRINTING")
            farm.world.forward(300)
            await eventually(lambda: one_in(farm, "UNKNOWN"))

    play(story)()


# one must not stop the others


def test_a_driver_that_breaks_while_it_sends_gives_the_plate_back(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await wrap(farm, lambda driver: BrokenDriver(driver, {"upload"}))
            order = await farm.order(1)
            await farm.clear("p1")
            given_back = await eventually(lambda: one_in(farm, "FAILED"), 60)
            assert "a defect in a driver" in given_back["reason"]
            await farm.clear("p2")
            await eventually(lambda: status_is(farm, order, "ready"))

    play(story)()


def test_a_plate_that_cannot_be_bound_does_not_stop_the_dispatcher(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path, 2) as farm:
            await eventually(lambda: farm.registry.live("p1").phase == "idle" and farm.registry.live("p2").phase == "idle")
            first = await farm.order(1, seconds=1)
            await farm.clear("p1")
            await eventually(lambda: status_is(farm, first, "ready"))
            other = await farm.order(1, seconds=1)

            def poison(tx) -> None:
                """Rows as a restored or hand-edited store may hold them: a printed plate that claims to wait."""
                done = tx.connection.execute(t.plates.select().where(t.plates.c.order_id == first)).mappings().one()
                tx.connection.execute(t.plates.update().where(t.plates.c.id == done["id"]).values(state="WAITING"))
                tx.connection.execute(t.jobs.update().where(t.jobs.c.id == done["job_id"]).values(state="QUEUED"))

            await farm.store.write(poison)
            for printer in ("p1", "p2"):
                await farm.clear(printer)
            await eventually(lambda: status_is(farm, other, "ready"))
            assert not farm._dispatch.done()

    play(story)()


def test_a_refusal_is_believed_although_the_order_was_cancelled_meanwhile(tmp_path):
    async def story() -> None:
        async with fleet_farm(tmp_path) as farm:
            await farm.fleet.close()
            order = await farm.order(1)
            await farm.clear("p1")
            (plate,) = await farm.store.read(lambda c: c.execute(t.plates.select()).mappings().all())
            classes = [*plate["artifacts"]]

            def start(tx):
                printing.assign(tx, plate["id"], "p1", classes[0], "att-1")
                row = printing.advance_attempt(tx, get(tx.connection, t.attempts, "att-1"), printing.AttemptSignal.UPLOAD)
                return printing.start_sent(tx, printing.uploaded(tx, row, "farmd/att-1.gcode", 1))

            sent = await farm.store.write(start)
            await farm.cancel(order)
            await farm.store.write(lambda tx: printing.start_refused(tx, sent, "busy", foreign=True, blame_plate=False))
            assert (await farm.attempts())[0]["state"] == "FAILED"
            assert await farm.bed("p1") == "unknown"
            assert (await farm.view(order))["cancellation"]["printers"] == "stopped"

    play(story)()
