"""Printers as an operator sees and handles them."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from drivers.contract import Question, Wire
from farmd.domain.lifecycle import AttemptSignal
from farmd.domain.spools import Spool
from farmd.fleet.registry import Live
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.rows import get
from farmd.store.transitions import advance_attempt
from farmd.store.work import register_printers
from farmd.store.work_lists import plates_of
from tests import making
from tests.farm import farm_settings, open_farm

pytestmark = pytest.mark.slow  # each opens a whole farm; orders and SKUs stand for them in make check

PRINTERS = (making.printer("mk3-01"), making.printer("belt-01", bed_clear="auto", color="#FFFFFF"))


def run(tmp_path: Path, scenario) -> None:
    async def body() -> None:
        async with open_farm(tmp_path, printers=PRINTERS) as farm:
            await farm.store.write(lambda tx: register_printers(tx, farm.rooms.settings))
            await scenario(farm)

    asyncio.run(body())


async def show(farm, printer_id="mk3-01"):
    answer = await farm.operator.get(f"/api/printers/{printer_id}")
    assert answer.status_code == 200
    return answer.json()


async def act(farm, action, printer_id="mk3-01"):
    return await farm.operator.post(f"/api/printers/{printer_id}/{action}")


async def start_print(farm, *, seen=True):
    def work(tx):
        job_id = making.queued(tx, 1)
        return making.begin(tx, plates_of(tx.connection, [job_id])[job_id][0]["id"], "mk3-01", seen=seen)

    return await farm.store.write(work)


async def attempt_row(farm, attempt_id):
    return await farm.store.read(lambda connection: get(connection, t.attempts, attempt_id))


def test_a_printer_never_seen_is_offline_and_its_bed_is_not_trusted(tmp_path):
    async def scenario(farm):
        listed = (await farm.operator.get("/api/printers")).json()["data"]
        assert [printer["id"] for printer in listed] == ["mk3-01", "belt-01"]
        assert listed[0]["phase"] == "offline"
        assert [printer["bed"] for printer in listed] == ["unknown", "clear"]
        assert listed[1]["color"] == "#ffffff"
        assert listed[0]["buildVolume"] == [250.0, 210.0, 210.0]

    run(tmp_path, scenario)


def test_no_secret_and_no_address_is_shown(tmp_path):
    async def scenario(farm):
        for path in ("/api/printers", "/api/printers/mk3-01", "/"):
            text = (await farm.operator.get(path)).text
            assert "mk3-01" in text
            assert "hunter2" not in text
            assert "127.0.0.1:5000" not in text

    run(tmp_path, scenario)


def test_the_live_sight_is_merged_with_the_attempt(tmp_path):
    async def scenario(farm):
        attempt = await start_print(farm)
        seen = datetime(2024, 1, 15, 10, tzinfo=UTC)
        heat = {"bed": (60.1, 60.0), "tool0": (214.8, 215.0)}
        live = Live("printing", True, attempt, progress=0.4, seconds_left=60, temperatures=heat, last_seen=seen)
        farm.rooms.registry.see("mk3-01", live)
        shown = await show(farm)
        assert (shown["phase"], shown["bed"], shown["progress"]) == ("printing", "occupied", 0.4)
        assert shown["temperatures"]["tool0"] == {"actual": 214.8, "target": 215.0}
        assert shown["attempt"]["id"] == attempt
        assert shown["attempt"]["etaAt"] == "2024-01-15T10:01:00.000Z"
        assert shown["lastSeen"] == "2024-01-15T10:00:00.000Z"

    run(tmp_path, scenario)


def test_a_bed_with_our_print_on_it_cannot_be_called_clear(tmp_path):
    async def scenario(farm):
        attempt = await start_print(farm)
        assert (await act(farm, "clear-bed")).status_code == 409
        assert (await show(farm))["bed"] == "occupied"
        await farm.store.write(lambda tx: making.end(tx, attempt))
        answer = await act(farm, "clear-bed")
        assert (answer.status_code, answer.json()["bed"], answer.json()["bedNote"]) == (200, "clear", "confirmed by operator")

    run(tmp_path, scenario)


def test_pause_resume_and_cancel_leave_wishes(tmp_path):
    async def scenario(farm):
        attempt = await start_print(farm)
        assert (await act(farm, "pause")).status_code == 202
        assert (await attempt_row(farm, attempt))["wish"] == "pause"

        def paused(tx):
            printing.seen_printing(tx, get(tx.connection, t.attempts, attempt), paused=True)

        await farm.store.write(paused)
        assert (await attempt_row(farm, attempt))["wish"] == ""
        await act(farm, "pause")
        assert (await attempt_row(farm, attempt))["wish"] == ""  # it is paused already; nothing lies around
        await act(farm, "resume")
        await act(farm, "pause")
        assert (await attempt_row(farm, attempt))["wish"] == "pause"  # the last word counts
        for _ in range(2):
            assert (await act(farm, "cancel")).json()["attempt"]["cancelWanted"] is True

    run(tmp_path, scenario)


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_nothing_of_ours_runs(tmp_path, action):
    async def scenario(farm):
        farm.rooms.registry.see("mk3-01", Live("printing", True, foreign=True, file="benchy.gcode"))
        answer = await act(farm, action)
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing_running")

    run(tmp_path, scenario)


def test_a_print_that_has_not_started_can_only_be_cancelled(tmp_path):
    async def scenario(farm):
        def assigned(tx):
            job_id = making.queued(tx, 1)
            printing.set_bed(tx, "mk3-01", printing.Bed.CLEAR, None)
            plate = plates_of(tx.connection, [job_id])[job_id][0]["id"]
            token = printing.assign(tx, plate, "mk3-01", making.CLASS, "att-1")
            advance_attempt(tx, get(tx.connection, t.attempts, token), AttemptSignal.UPLOAD)

        await farm.store.write(assigned)
        answer = await act(farm, "pause")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_started")
        assert (await act(farm, "cancel")).status_code == 202

    run(tmp_path, scenario)


def test_enabling_takes_a_printer_out_of_quarantine(tmp_path):
    async def scenario(farm):
        await farm.store.write(lambda tx: printing.quarantine(tx, "mk3-01", "failed twice"))
        shown = await show(farm)
        assert shown["quarantined"] == "failed twice"
        assert [entry["code"] for entry in shown["attention"]] == ["quarantined"]
        assert (await act(farm, "disable")).json()["enabled"] is False
        shown = (await act(farm, "enable")).json()
        assert (shown["enabled"], shown["quarantined"], shown["attention"]) == (True, None, [])

    run(tmp_path, scenario)


def test_a_lost_print_stands_on_its_printer_until_somebody_resolves_it(tmp_path):
    async def scenario(farm):
        attempt = await start_print(farm)
        await farm.store.write(lambda tx: printing.lost(tx, get(tx.connection, t.attempts, attempt), "the power was cut"))
        (entry,) = (await show(farm))["attention"]
        assert (entry["code"], entry["attemptId"]) == ("attempt_unknown", attempt)
        await farm.operator.post(f"/api/attempts/{attempt}/resolve", json={"outcome": "failed"})
        assert (await show(farm))["attention"] == []

    run(tmp_path, scenario)


def test_filament_is_noted_and_only_what_is_sent_changes(tmp_path):
    async def scenario(farm):
        answer = await farm.operator.patch("/api/printers/mk3-01", json={"color": "#FF0000"})
        assert (answer.status_code, answer.json()["material"], answer.json()["color"]) == (200, "PLA", "#ff0000")
        assert (await farm.operator.patch("/api/printers/mk3-01", json={"material": None})).json()["material"] is None

    run(tmp_path, scenario)


AMS = (Spool("ams-0-0", "PLA", "#1a1a1a", 0.4), Spool("ams-0-1", "PETG", "#ff0000"), Spool("ams-0-2", None, None))


def test_a_printer_that_tells_what_is_loaded_is_not_contradicted(tmp_path):
    async def scenario(farm):
        assert (await show(farm))["spools"] is None
        farm.rooms.registry.see("mk3-01", Live("idle", True, spools=AMS))
        shown = await show(farm)
        assert shown["spools"][0] == {"slot": "ams-0-0", "material": "PLA", "color": "#1a1a1a", "remaining": 0.4}
        assert shown["spools"][2] == {"slot": "ams-0-2", "material": None, "color": None, "remaining": None}
        for body in ({"material": "ABS"}, {"material": "PLA", "color": "#ff0000"}, {"color": None}):
            answer = await farm.operator.patch("/api/printers/mk3-01", json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "machine_tells")
            assert "slot ams-0-1 PETG #ff0000, slot ams-0-2 unknown filament" in answer.json()["detail"]
            assert await show(farm) == shown
        answer = await farm.operator.patch("/api/printers/mk3-01", json={"material": "petg", "color": "#FF0000"})
        assert (answer.status_code, answer.json()["material"], answer.json()["color"]) == (200, "petg", "#ff0000")
        farm.rooms.registry.see("mk3-01", Live("idle", True, spools=AMS[:1]))
        assert ((await show(farm))["material"], (await show(farm))["color"]) == ("PLA", "#1a1a1a")
        farm.rooms.registry.see("mk3-01", Live("idle", True, spools=()))
        assert ((await show(farm))["material"], (await show(farm))["spools"]) == (None, [])

    run(tmp_path, scenario)


def test_the_dashboard_shows_every_spool(tmp_path):
    async def scenario(farm):
        farm.rooms.registry.see("mk3-01", Live("idle", True, spools=AMS))
        page = " ".join((await farm.operator.get("/")).text.split())
        assert "PETG" in page
        assert "#1a1a1a 40 %" in page
        assert "unknown filament" in page

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"color": "black"}, "/color"), ({"material": ""}, "/material"), ({"material": 3}, "/material"), ({"nozzle": 0.6}, "/nozzle")],
)
def test_bad_filament_is_refused_by_name(tmp_path, body, pointer):
    async def scenario(farm):
        answer = await farm.operator.patch("/api/printers/mk3-01", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert (await show(farm))["color"] == making.BLACK

    run(tmp_path, scenario)


def test_a_printer_outside_the_configuration_does_not_exist(tmp_path):
    async def scenario(farm):
        farm.rooms.registry.configure(PRINTERS[1:])
        assert [printer["id"] for printer in (await farm.operator.get("/api/printers")).json()["data"]] == ["belt-01"]
        for answer in (
            await farm.operator.get("/api/printers/mk3-01"),
            await act(farm, "clear-bed"),
            await act(farm, "explode", "belt-01"),
        ):
            assert answer.status_code == 404
        assert (await farm.customer.get("/api/printers")).status_code == 403

    run(tmp_path, scenario)


def test_a_filament_changed_in_the_file_wins_and_one_changed_by_hand_survives_a_restart(tmp_path):
    async def scenario(farm):
        async def boot(**changes):
            settings = farm_settings(tmp_path, printers=(replace(PRINTERS[0], **changes),))
            await farm.store.write(lambda tx: register_printers(tx, settings))
            return (await show(farm))["material"]

        await farm.operator.patch("/api/printers/mk3-01", json={"material": "PETG"})
        await act(farm, "clear-bed")
        assert await boot() == "PETG"
        assert await boot(material="ASA") == "ASA"
        assert await boot(material="ASA") == "ASA"
        assert (await show(farm))["bed"] == "clear"  # registering again forgets nothing about the bed

    run(tmp_path, scenario)


def test_what_the_machine_asks_is_shown_and_answered_once(tmp_path):
    async def scenario(farm):
        attempt_id = await start_print(farm)
        refused = await farm.operator.post("/api/printers/mk3-01/answer", json={"choice": 0})
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_asked")
        asks = Live("paused", True, attempt_id, question=Question("Nozzle parked", ("PurgeMore", "Continue")))
        farm.rooms.registry.see("mk3-01", asks)

        def seen(tx, paused):
            printing.seen_printing(tx, get(tx.connection, t.attempts, attempt_id), paused=paused)

        early = await farm.operator.post("/api/printers/mk3-01/answer", json={"choice": 1})
        assert (early.status_code, (await show(farm))["question"]) == (409, None)
        await farm.store.write(lambda tx: seen(tx, True))
        assert (await show(farm))["question"] == {"text": "Nozzle parked", "choices": ["PurgeMore", "Continue"]}
        wrong = await farm.operator.post("/api/printers/mk3-01/answer", json={"choice": 2})
        assert wrong.status_code == 422
        assert "0 = PurgeMore, 1 = Continue" in wrong.text
        assert (await farm.operator.post("/api/printers/mk3-01/answer", json={"choice": "1"})).status_code == 422
        assert (await attempt_row(farm, attempt_id))["answer"] is None
        given = await farm.operator.post("/api/printers/mk3-01/answer", json={"choice": 1})
        assert given.status_code == 202
        assert (await attempt_row(farm, attempt_id))["answer"] == 1
        await farm.store.write(lambda tx: seen(tx, False))
        assert (await attempt_row(farm, attempt_id))["answer"] is None

    run(tmp_path, scenario)


def test_a_serial_print_is_measured(tmp_path):
    async def scenario(farm):
        attempt_id = await start_print(farm)
        farm.rooms.registry.see("mk3-01", Live("printing", True, attempt_id, wire=Wire(1000, 7, 1.5), still=12.0))
        metrics = (await farm.operator.get("/metrics")).text
        names = f'{{attempt="{attempt_id}",printer="mk3-01"}}'
        assert f"farmd_print_lines{names} 1000.0" in metrics
        assert f"farmd_print_resent_lines{names} 7.0" in metrics
        assert f"farmd_print_stutter_seconds{names} 1.5" in metrics
        assert f"farmd_print_still_seconds{names} 12.0" in metrics

    run(tmp_path, scenario)
