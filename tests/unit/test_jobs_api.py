"""Jobs as an operator and a customer see them over HTTP, on the real application and store."""

import asyncio
from pathlib import Path

import pytest

from farmd.fleet.registry import Live
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.making import refuse
from farmd.store.rows import get
from farmd.store.work import register_printers
from farmd.store.work_lists import plates_of
from tests import making
from tests.farm import open_farm

pytestmark = pytest.mark.slow  # each opens a whole farm; orders and SKUs stand for them in make check

PRINTERS = (making.printer("mk3-01"), making.printer("mk3-02"))


def run(tmp_path: Path, scenario) -> None:
    async def body() -> None:
        async with open_farm(tmp_path, printers=PRINTERS) as farm:
            await farm.store.write(lambda tx: register_printers(tx, farm.rooms.settings))
            await scenario(farm)

    asyncio.run(body())


def plate_ids(tx, job_id):
    return [row["id"] for row in plates_of(tx.connection, [job_id])[job_id]]


def test_a_running_job_shows_its_machine_s_progress_and_when_it_ends(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 2, 2))

        def start(tx):
            first, second = plate_ids(tx, job_id)
            return making.begin(tx, first, "mk3-01"), making.begin(tx, second, "mk3-02")

        first, second = await farm.store.write(start)
        farm.rooms.registry.see("mk3-01", Live("printing", True, first, progress=0.5, seconds_left=300))
        farm.rooms.registry.see("mk3-02", Live("printing", True, second, progress=0.25, seconds_left=900))
        shown = (await farm.operator.get(f"/api/jobs/{job_id}")).json()
        assert shown["state"] == "PRINTING"
        assert shown["units"] == {"waiting": 0, "printing": 4, "printed": 0, "good": 0, "scrapped": 0}
        assert shown["progress"] == 0.375
        assert shown["etaAt"] == "2024-01-15T10:15:00.000Z"
        assert shown["estimates"] == {"seconds": 1200, "grams": 18.0}
        assert [plate["state"] for plate in shown["plates"]] == ["ACTIVE", "ACTIVE"]
        assert [attempt["printerId"] for attempt in shown["attempts"]] == ["mk3-01", "mk3-02"]
        moves = [(move["from"], move["to"]) for move in shown["history"] if move["entity"] == job_id]
        assert moves == [("CREATED", "VALIDATING"), ("VALIDATING", "SLICING"), ("SLICING", "QUEUED"), ("QUEUED", "PRINTING")]

    run(tmp_path, scenario)


def test_no_end_is_promised_while_a_plate_still_waits(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1, 1))
        await farm.store.write(lambda tx: making.begin(tx, plate_ids(tx, job_id)[0], "mk3-01"))
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json()["etaAt"] is None

    run(tmp_path, scenario)


def test_the_list_filters_by_state_and_order_and_pages(tmp_path):
    async def scenario(farm):
        queued = await farm.store.write(lambda tx: making.queued(tx, 1))
        fresh = await farm.store.write(lambda tx: making.place_paid(tx, 1, 2))
        everything = (await farm.operator.get("/api/jobs?limit=2")).json()
        assert (everything["total"], everything["totalPages"], len(everything["data"])) == (3, 2, 2)
        found = (await farm.operator.get("/api/jobs?state=queued,printing")).json()["data"]
        assert [job["id"] for job in found] == [queued]
        order_id = (await farm.operator.get(f"/api/jobs/{fresh[0]}")).json()["orderId"]
        found = (await farm.operator.get(f"/api/jobs?orderId={order_id}")).json()["data"]
        assert sorted(job["id"] for job in found) == fresh

    run(tmp_path, scenario)


@pytest.mark.parametrize("query", ["state=BORED", "page=0", "limit=0", "limit=101", "page=99999999999999999999", "limit=x"])
def test_a_bad_query_is_refused_by_name(tmp_path, query):
    async def scenario(farm):
        answer = await farm.operator.get(f"/api/jobs?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "?" + query.split("=")[0]

    run(tmp_path, scenario)


def test_a_customer_sees_the_jobs_of_its_own_orders_only(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1))
        assert (await farm.customer.get(f"/api/jobs/{job_id}")).status_code == 200
        assert (await farm.stranger.get(f"/api/jobs/{job_id}")).status_code == 404
        assert (await farm.customer.get("/api/jobs")).json()["total"] == 1
        assert (await farm.stranger.get("/api/jobs")).json()["data"] == []
        for path in ("retry", "cancel"):
            assert (await farm.customer.post(f"/api/jobs/{job_id}/{path}")).status_code == 403
        assert (await farm.customer.get(f"/api/jobs/{job_id}/why")).status_code == 403

    run(tmp_path, scenario)


def test_only_a_failed_job_is_retried_and_one_never_sliced_begins_anew(tmp_path):
    async def scenario(farm):
        (job_id,) = await farm.store.write(lambda tx: making.place_paid(tx, 1))
        refused = await farm.operator.post(f"/api/jobs/{job_id}/retry")
        assert (refused.status_code, refused.json()["code"]) == (409, "job_not_failed")
        await farm.store.write(lambda tx: refuse(tx, job_id, "too_big", "the part is 400 mm tall", "Make it smaller"))
        order_id = (await farm.operator.get(f"/api/jobs/{job_id}")).json()["orderId"]
        assert (await order(farm, order_id))["attention"] != []
        answer = await farm.operator.post(f"/api/jobs/{job_id}/retry")
        assert (answer.status_code, answer.json()["state"], answer.json()["failure"]) == (200, "CREATED", None)
        assert (await order(farm, order_id))["attention"] == []

    run(tmp_path, scenario)


async def order(farm, order_id):
    return await farm.store.read(lambda connection: get(connection, t.orders, order_id))


def test_a_job_that_failed_at_printing_is_retried_from_its_plates_beside_those_that_print(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1, 1))

        def fail_thrice(tx):
            good, bad = plate_ids(tx, job_id)
            making.begin(tx, good, "mk3-02")
            for _ in range(3):
                making.end(tx, making.begin(tx, bad, "mk3-01"), well=False)

        await farm.store.write(fail_thrice)
        failed = (await farm.operator.get(f"/api/jobs/{job_id}")).json()
        assert (failed["state"], failed["failure"]["code"]) == ("FAILED", "print_failed")
        again = (await farm.operator.post(f"/api/jobs/{job_id}/retry")).json()
        assert again["state"] == "PRINTING"
        assert [plate["failures"] for plate in again["plates"]] == [0, 0]
        assert sorted(plate["state"] for plate in again["plates"]) == ["ACTIVE", "WAITING"]

    run(tmp_path, scenario)


def test_cancelling_a_job_stops_its_print_and_the_last_one_asks_the_owner(tmp_path):
    async def scenario(farm):
        first, second = await farm.store.write(lambda tx: making.place_paid(tx, 1, 1))

        def start(tx):
            (plate_id,) = making.slice_job(tx, first, 1)
            return making.begin(tx, plate_id, "mk3-01")

        attempt = await farm.store.write(start)
        for _ in range(2):  # the second time changes nothing
            answer = await farm.operator.post(f"/api/jobs/{first}/cancel", json={"reason": "wrong colour"})
            assert (answer.status_code, answer.json()["state"]) == (200, "CANCELLED")
        assert (await farm.operator.get(f"/api/attempts/{attempt}")).json()["cancelWanted"] is True
        order_id = answer.json()["orderId"]
        assert (await order(farm, order_id))["attention"] == []
        assert (await farm.operator.post(f"/api/jobs/{second}/cancel")).status_code == 200
        row = await order(farm, order_id)
        assert [entry["code"] for entry in row["attention"]] == ["all_jobs_cancelled"]
        assert row["cancelled_at"] is None
        assert (await farm.operator.post("/api/jobs/job-none/cancel")).status_code == 404

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": ""}, "/reason"),
        ({"reason": "a\u0000b"}, "/reason"),
        ({"reason": "x" * 501}, "/reason"),
        ({"reason": 7}, "/reason"),
        ({"because": "no"}, "/because"),
    ],
)
def test_a_bad_reason_changes_nothing(tmp_path, body, pointer):
    async def scenario(farm):
        (job_id,) = await farm.store.write(lambda tx: making.place_paid(tx, 1))
        answer = await farm.operator.post(f"/api/jobs/{job_id}/cancel", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json()["state"] == "CREATED"

    run(tmp_path, scenario)


def test_resolving_a_lost_print_moves_its_units_and_leaves_the_bed_as_it_was(tmp_path):
    async def scenario(farm):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1, 1))

        def lose_both(tx):
            lost = [
                making.begin(tx, plate_id, name) for plate_id, name in zip(plate_ids(tx, job_id), ("mk3-01", "mk3-02"), strict=True)
            ]
            for attempt in lost:
                printing.lost(tx, get(tx.connection, t.attempts, attempt), "the power was cut")
            printing.clear_bed(tx, "mk3-02", "a person")
            return lost

        first, second = await farm.store.write(lose_both)
        assert (await farm.operator.post(f"/api/attempts/{first}/resolve", json={"outcome": "perhaps"})).status_code == 422
        answer = await farm.operator.post(f"/api/attempts/{first}/resolve", json={"outcome": "succeeded"})
        assert (answer.status_code, answer.json()["state"]) == (200, "SUCCEEDED")
        again = await farm.operator.post(f"/api/attempts/{first}/resolve", json={"outcome": "failed"})
        assert (again.status_code, again.json()["code"]) == (409, "attempt_not_unknown")
        assert (await farm.operator.post(f"/api/attempts/{second}/resolve", json={"outcome": "failed"})).json()["state"] == "FAILED"
        shown = (await farm.operator.get(f"/api/jobs/{job_id}")).json()
        assert shown["units"] == {"waiting": 1, "printing": 0, "printed": 0, "good": 1, "scrapped": 0}
        beds = {each["id"]: each["bed"] for each in (await farm.operator.get("/api/printers")).json()["data"]}
        assert beds == {"mk3-01": "unknown", "mk3-02": "clear"}  # the second was looked at after its print was lost
        assert (await farm.operator.get("/api/attempts/att-none")).status_code == 404

    run(tmp_path, scenario)
