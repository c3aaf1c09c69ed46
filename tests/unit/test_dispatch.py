"""Which plate goes to which printer: the hard rules, the order among those that may start, and the reasons told to people."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from farmd.domain.dispatch import PlateView, PrinterView, assign, fits, index, place_in_queue, refusals
from farmd.domain.spools import Spool
from farmd.fleet.offers import plate_views, printer_views
from farmd.fleet.registry import Live
from farmd.store import printing
from farmd.store.work import register_printers, withdraw_job
from farmd.store.work_lists import plates_of
from tests import making
from tests.farm import open_farm

DAY = 86_400.0
PLATE = PlateView("plate-1", "job-1", "ord-1", "PLA", "#1a1a1a", (20.0, 20.0, 20.0), {"k": 3600}, due=DAY, age=0.0)
PRINTER = PrinterView("mk3-01", "k", True, True, "idle", "clear", True, "PLA", "#1a1a1a", 0.4, (250.0, 210.0, 210.0), "generic-0.4")


def rules(plate=PLATE, **printer):
    return [refusal.rule for refusal in refusals(plate, replace(PRINTER, **printer))]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"enabled": False}, "disabled"),
        ({"quarantined": "failed twice"}, "quarantined"),
        ({"online": False, "phase": "offline"}, "offline"),
        ({"holding": "att-1"}, "busy"),
        ({"idle": False, "phase": "printing"}, "busy"),
        ({"bed": "unknown"}, "bed"),
        ({"bed": "occupied"}, "bed"),
        ({"material": "PETG"}, "material"),
        ({"material": None}, "material"),
        ({"color": "#ff0000"}, "color"),
        ({"color": None}, "color"),
        ({"volume": (19.0, 210.0, 210.0)}, "volume"),
        ({"class_key": "other"}, "not_sliced"),
    ],
)
def test_each_rule_keeps_a_plate_off_alone(change, rule):
    assert rules() == []
    assert rules(**change) == [rule]
    assert assign([PLATE], [replace(PRINTER, **change)]) == []


@pytest.mark.parametrize(("wants", "rule"), [({"nozzle": 0.6}, "nozzle"), ({"profile": "fine"}, "profile")])
def test_what_a_plate_insists_on(wants, rule):
    assert rules(replace(PLATE, **wants)) == [rule]


def test_material_and_colour_are_compared_without_case():
    assert rules(material="pla", color="#1A1A1A") == []


def test_a_part_may_be_turned_on_the_bed_but_not_tipped_over():
    assert fits((200, 100, 50), (100, 200, 50))
    assert not fits((50, 100, 200), (200, 100, 50))


def test_one_plate_per_printer_and_one_printer_per_plate():
    plates = [replace(PLATE, id=f"plate-{number}") for number in range(5)]
    printers = [replace(PRINTER, id=f"mk3-{number}") for number in range(3)]
    matches = assign(plates, printers)
    assert len(matches) == len({match.printer_id for match in matches}) == len({match.plate_id for match in matches}) == 3


def test_the_more_urgent_and_the_longer_paid_go_first():
    late = replace(PLATE, id="late", due=-DAY)
    old = replace(PLATE, id="old", age=5 * DAY)
    assert assign([PLATE, late], [PRINTER])[0].plate_id == "late"
    assert assign([PLATE, old], [PRINTER])[0].plate_id == "old"
    assert place_in_queue(PLATE, [PLATE, late, old], PRINTER) == 3


def test_the_quicker_printer_is_taken_whatever_its_name():
    plate = replace(PLATE, seconds={"k": 3600, "quick": 2400})
    for quick in ("a1-01", "zzz-01"):
        match = assign([plate], [PRINTER, replace(PRINTER, id=quick, class_key="quick")])
        assert [each.printer_id for each in match] == [quick]


def test_short_prints_that_are_due_in_days_still_go_by_their_age():
    older = replace(PLATE, id="plate-9", seconds={"k": 300}, due=20 * DAY, age=3600.0)
    newer = replace(PLATE, id="plate-1", seconds={"k": 300}, due=20 * DAY, age=0.0)
    sooner = replace(PLATE, id="plate-10", seconds={"k": 300}, due=19 * DAY, age=0.0)
    assert [match.plate_id for match in assign([newer, older], [PRINTER])] == ["plate-9"]
    assert [match.plate_id for match in assign([newer, older, sooner], [PRINTER])] == ["plate-10"]
    assert place_in_queue(older, [newer, older, sooner], PRINTER) == 2


def test_a_filament_change_costs_priority():
    assert index(PLATE, replace(PRINTER, last_color="#ffffff"), 3600) < index(PLATE, replace(PRINTER, last_color="#1a1a1a"), 3600)


def test_a_failed_plate_goes_elsewhere_unless_there_is_no_elsewhere():
    failed = replace(PLATE, avoid=frozenset({"mk3-01"}))
    other = replace(PRINTER, id="mk3-02")
    assert [match.printer_id for match in assign([failed], [PRINTER, other])] == ["mk3-02"]
    assert assign([failed], [PRINTER, replace(other, idle=False, phase="printing")]) == []  # the other one is soon free
    for gone in ({"material": "PETG"}, {"enabled": False}, {"quarantined": "broken"}, {"online": False, "idle": False}):
        assert [match.printer_id for match in assign([failed], [PRINTER, replace(other, **gone)])] == ["mk3-01"]


def test_the_same_facts_give_the_same_matches_whatever_their_order():
    plates = [replace(PLATE, id=f"plate-{number}", due=DAY * (number % 3)) for number in range(6)]
    printers = [replace(PRINTER, id=f"mk3-{number}") for number in range(3)]
    assert set(assign(plates, printers)) == set(assign(plates[::-1], printers[::-1]))


PRINTERS = (making.printer("mk3-01"), making.printer("mk3-02", color="#ff0000"), making.printer("mini", bed=(10.0, 10.0, 10.0)))


def run(tmp_path: Path, scenario) -> None:
    async def body() -> None:
        async with open_farm(tmp_path, printers=PRINTERS) as farm:
            await farm.store.write(lambda tx: register_printers(tx, farm.rooms.settings))
            await scenario(farm)

    asyncio.run(body())


async def offers(farm):
    now = farm.world.now()
    printers = await farm.store.read(lambda connection: printer_views(connection, farm.rooms.registry))
    return await farm.store.read(lambda connection: plate_views(connection, now)), {view.id: view for view in printers}


async def ready(farm, *names):
    for name in names:
        farm.rooms.registry.see(name, Live("idle", True))
        await farm.store.write(lambda tx, name=name: printing.clear_bed(tx, name, "a person"))


def test_rows_and_sights_become_offers(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 4, 3))
        farm.world.forward(3600)
        await ready(farm, "mk3-01")
        plates, printers = await offers(farm)
        assert [plate.job_id for plate in plates] == [job_id, job_id]
        assert (plates[0].seconds, plates[0].age, plates[0].due) == ({making.CLASS: 600}, 3600.0, 3 * DAY - 3600)
        assert refusals(plates[0], printers["mk3-01"]) == []
        assert not printers["mk3-02"].online
        assert len(assign(plates, list(printers.values()))) == 1

    run(tmp_path, scenario)


def test_a_printer_that_holds_an_attempt_or_finished_one_is_shown_so(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1, 1))
        await ready(farm, "mk3-01")

        def start(tx):
            return making.begin(tx, plates_of(tx.connection, [job_id])[job_id][0]["id"], "mk3-01")

        attempt = await farm.store.write(start)
        plates, printers = await offers(farm)
        assert len(plates) == 1
        assert printers["mk3-01"].holding == attempt
        await farm.store.write(lambda tx: making.end(tx, attempt))
        farm.rooms.registry.see("mk3-01", Live("finished", True))
        plates, printers = await offers(farm)
        assert [refusal.rule for refusal in refusals(plates[0], printers["mk3-01"])] == ["bed"]

    run(tmp_path, scenario)


def test_a_decision_on_stale_facts_about_the_filament_is_not_written(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1))
        await ready(farm, "mk3-01", "mk3-02")
        (plate,) = (await farm.store.read(lambda connection: plates_of(connection, [job_id])))[job_id]
        black, red = Spool("ams-0-0", "PLA", making.BLACK), Spool("ams-0-1", "PLA", "#ff0000")

        async def assigned(printer_id, **fed):
            return await farm.store.write(lambda tx: printing.assign(tx, plate["id"], printer_id, making.CLASS, "att-1", **fed))

        with pytest.raises(printing.NotAssignable, match=r"PLA #ff0000 is loaded, the job needs PLA #1a1a1a"):
            await assigned("mk3-02")
        for fed in (
            {"slot": "ams-0-0", "spools": (red,)},
            {"slot": "ams-0-1", "spools": (black, red)},
            {"slot": "ams-0-0", "spools": None},
            {"slot": None, "spools": (black,)},
        ):
            with pytest.raises(printing.NotAssignable):
                await assigned("mk3-01", **fed)
        assert await assigned("mk3-02", slot="ams-0-0", spools=(black, red)) == "att-1"

    run(tmp_path, scenario)


def test_cancelled_jobs_and_orders_offer_nothing(tmp_path):
    async def scenario(farm):
        first = await farm.store.write(lambda tx: making.queued(tx, 1))
        second = await farm.store.write(lambda tx: making.queued(tx, 1))
        await farm.store.write(lambda tx: withdraw_job(tx, first, "no"))
        plates, _ = await offers(farm)
        assert [plate.job_id for plate in plates] == [second]
        order_id = plates[0].order_id
        assert (await farm.operator.post(f"/api/orders/{order_id}/cancel", json={"reason": "no"})).status_code == 200
        assert (await offers(farm))[0] == []

    run(tmp_path, scenario)


async def why(farm, job_id):
    answer = await farm.operator.get(f"/api/jobs/{job_id}/why")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_why_names_the_rule_for_every_printer_or_the_place_in_its_queue(tmp_path):
    async def scenario(farm):
        first = await farm.store.write(lambda tx: making.queued(tx, 1))
        farm.world.forward(10)
        second = await farm.store.write(lambda tx: making.queued(tx, 1))
        told = await why(farm, second)
        by_printer = {each["printerId"]: each for each in told["printers"]}
        assert {rule["rule"] for rule in by_printer["mk3-01"]["rules"]} == {"offline", "bed"}
        assert by_printer["mk3-01"]["position"] == 2
        assert "color" in {rule["rule"] for rule in by_printer["mk3-02"]["rules"]}
        assert "volume" in {rule["rule"] for rule in by_printer["mini"]["rules"]}
        assert "position" not in by_printer["mini"]
        assert told["waitsFor"]["code"] == "printer"
        await ready(farm, "mk3-01")
        assert (await why(farm, first))["waitsFor"]["code"] == "dispatch"
        assert (await why(farm, first))["summary"] == "It can start on mk3-01 now and is number 1 there"
        assert (await farm.operator.get("/api/jobs/job-none/why")).status_code == 404

    run(tmp_path, scenario)


def test_why_says_when_no_printer_will_ever_do(tmp_path):
    async def scenario(farm):
        green = await farm.store.write(lambda tx: making.queued(tx, 1, color="#00ff00"))
        told = await why(farm, green)
        assert told["waitsFor"]["code"] == "filament"
        assert "needs colour #00ff00" in told["summary"]
        farm.rooms.registry.configure(PRINTERS[2:])
        told = await why(farm, green)
        assert told["waitsFor"]["code"] == "no_printer"
        assert "does not fit the build volume" in told["summary"]

    run(tmp_path, scenario)


def test_why_of_a_job_that_does_not_queue_names_what_it_waits_for(tmp_path):
    async def scenario(farm):
        (fresh,) = await farm.store.write(lambda tx: making.place_paid(tx, 1))
        assert (await why(farm, fresh))["waitsFor"]["code"] == "model"
        bench = await farm.store.write(lambda tx: making.queued(tx, 2, steps=("sand",)))
        await farm.store.write(lambda tx: making.print_all(tx, bench, "mk3-01"))
        assert (await why(farm, bench))["summary"] == "All units are printed; an operator has to finish 2 at 'sand'"
        await farm.operator.post(f"/api/jobs/{bench}/post-process", json={"step": "sand", "good": 1, "scrapped": 1})
        assert (await why(farm, bench))["waitsFor"]["code"] == "replan"
        done = await farm.store.write(lambda tx: making.queued(tx, 1))

        def start(tx):
            return making.begin(tx, plates_of(tx.connection, [done])[done][0]["id"], "mk3-01")

        attempt = await farm.store.write(start)
        assert (await why(farm, done))["summary"] == "It is on mk3-01 (PRINTING)"
        await farm.store.write(lambda tx: making.end(tx, attempt))
        assert (await why(farm, done))["state"] == "READY"
        assert (await why(farm, done))["printers"] == []
        await farm.operator.post(f"/api/jobs/{fresh}/cancel")
        assert "cancelled" in (await why(farm, fresh))["summary"]

    run(tmp_path, scenario)
