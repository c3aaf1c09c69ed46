"""An operator settles printed units: they move on, become good, or are printed again."""

import asyncio
from pathlib import Path

import pytest

from farmd.store.making import queue
from farmd.store.work import jobs_to_replan, register_printers, units_without_plate
from farmd.store.work_lists import plates_of
from tests import making
from tests.farm import open_farm

pytestmark = pytest.mark.slow  # each opens a whole farm; orders and SKUs stand for them in make check

PRINTERS = (making.printer("mk3-01"),)
STEPS = ("sand", "paint")


def run(tmp_path: Path, scenario) -> None:
    async def body() -> None:
        async with open_farm(tmp_path, printers=PRINTERS) as farm:
            await farm.store.write(lambda tx: register_printers(tx, farm.rooms.settings))
            await scenario(farm)

    asyncio.run(body())


async def printed(farm, *copies: int, steps: tuple[str, ...] = STEPS) -> str:
    def work(tx):
        job_id = making.queued(tx, *copies, steps=steps)
        making.print_all(tx, job_id, "mk3-01")
        return job_id

    return await farm.store.write(work)


async def settle(farm, job_id, step, good=0, scrapped=0):
    return await farm.operator.post(f"/api/jobs/{job_id}/post-process", json={"step": step, "good": good, "scrapped": scrapped})


def test_units_walk_the_steps_by_name_and_by_index_until_the_order_is_ready(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 3)
        shown = (await settle(farm, job_id, "sand", good=3)).json()
        assert shown["state"] == "POST_PROCESSING"
        assert shown["postProcess"] == [{"step": "sand", "waiting": 0}, {"step": "paint", "waiting": 3}]
        assert (await settle(farm, job_id, 1, good=2)).json()["units"]["good"] == 2
        shown = (await settle(farm, job_id, "paint", good=1)).json()
        assert (shown["state"], shown["units"]["good"]) == ("READY", 3)
        assert (await farm.operator.get(f"/api/orders/{shown['orderId']}")).json()["status"] == "ready"

    run(tmp_path, scenario)


def test_a_whole_scrapped_plate_is_printed_again_from_the_same_file(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 2, 2)
        shown = (await settle(farm, job_id, "sand", good=2, scrapped=2)).json()
        assert shown["state"] == "QUEUED"
        assert shown["units"] == {"waiting": 2, "printing": 0, "printed": 2, "good": 0, "scrapped": 2}
        assert [plate["state"] for plate in shown["plates"]] == ["DONE", "DONE", "WAITING"]
        assert shown["waitsFor"] is None
        assert await farm.store.read(jobs_to_replan) == []
        await farm.store.write(lambda tx: making.print_all(tx, job_id, "mk3-01"))
        await settle(farm, job_id, "sand", good=2)
        assert (await settle(farm, job_id, "paint", good=4)).json()["state"] == "READY"

    run(tmp_path, scenario)


def test_a_part_of_a_plate_waits_for_a_plate_of_its_own(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 4)
        shown = (await settle(farm, job_id, 0, good=3, scrapped=1)).json()
        assert (shown["state"], shown["waitsFor"]["code"]) == ("QUEUED", "replan")
        assert await farm.store.read(jobs_to_replan) == [job_id]
        assert await farm.store.read(lambda connection: units_without_plate(connection, job_id)) == 1
        await farm.store.write(lambda tx: queue(tx, job_id, [making.plate(1)]))
        assert await farm.store.read(jobs_to_replan) == []
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json()["waitsFor"] is None

    run(tmp_path, scenario)


def test_full_plates_are_reused_and_only_the_rest_is_cut_anew(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 3, 3)
        shown = (await settle(farm, job_id, "sand", scrapped=5)).json()
        waiting = [plate["copies"] for plate in shown["plates"] if plate["state"] == "WAITING"]
        assert waiting == [3]
        assert await farm.store.read(lambda connection: units_without_plate(connection, job_id)) == 2

    run(tmp_path, scenario)


def test_it_does_not_matter_what_the_job_prints_meanwhile(tmp_path):
    async def scenario(farm):
        def half(tx):
            job_id = making.queued(tx, 1, 1, steps=STEPS)
            first, second = (row["id"] for row in plates_of(tx.connection, [job_id])[job_id])
            making.end(tx, making.begin(tx, first, "mk3-01"))
            return job_id, making.begin(tx, second, "mk3-01")

        job_id, running = await farm.store.write(half)
        assert (await settle(farm, job_id, "sand", good=1)).json()["state"] == "PRINTING"
        assert (await settle(farm, job_id, "paint", good=1)).json()["units"]["good"] == 1
        await farm.store.write(lambda tx: making.end(tx, running))
        await settle(farm, job_id, "sand", good=1)
        assert (await settle(farm, job_id, "paint", good=1)).json()["state"] == "READY"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"step": "sand", "good": -1}, 422, "/good"),
        ({"step": "sand", "good": 1.5}, 422, "/good"),
        ({"step": "sand", "good": True}, 422, "/good"),
        ({"step": "sand", "good": "1"}, 422, "/good"),
        ({"step": "sand", "scrapped": -3}, 422, "/scrapped"),
        ({"step": "sand"}, 422, "/good"),
        ({"good": 1}, 422, "/step"),
        ({"step": "polish", "good": 1}, 422, "/step"),
        ({"step": 2, "good": 1}, 422, "/step"),
        ({"step": "sand", "good": 1, "lost": 1}, 422, "/lost"),
        ({"step": "sand", "good": 2, "scrapped": 1}, 409, None),
        ({"step": "paint", "good": 1}, 409, None),
        ({"step": "sand", "good": 10**30}, 409, None),
    ],
)
def test_counts_that_cannot_be_true_change_nothing(tmp_path, body, status, pointer):
    async def scenario(farm):
        job_id = await printed(farm, 2)
        before = (await farm.operator.get(f"/api/jobs/{job_id}")).json()
        answer = await farm.operator.post(f"/api/jobs/{job_id}/post-process", json=body)
        assert answer.status_code == status, answer.text
        if pointer:
            assert answer.json()["errors"][0]["pointer"].startswith(pointer)
        else:
            assert "wait at" in answer.json()["detail"]
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json() == before

    run(tmp_path, scenario)


def test_a_job_without_steps_says_so(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 1, steps=())
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json()["state"] == "READY"
        answer = await settle(farm, job_id, "sand", good=1)
        assert (answer.status_code, answer.json()["code"]) == (409, "no_post_processing")

    run(tmp_path, scenario)


def test_a_repeated_call_with_its_key_settles_once(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 4)
        body = {"step": "sand", "good": 1, "scrapped": 1}
        answers = [
            await farm.operator.post(f"/api/jobs/{job_id}/post-process", json=body, headers={"Idempotency-Key": "bench-7"})
            for _ in range(2)
        ]
        assert answers[0].content == answers[1].content
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert (await farm.operator.get(f"/api/jobs/{job_id}")).json()["units"]["scrapped"] == 1

    run(tmp_path, scenario)


def test_a_cancelled_job_is_settled_no_more(tmp_path):
    async def scenario(farm):
        job_id = await printed(farm, 1)
        await farm.operator.post(f"/api/jobs/{job_id}/cancel")
        assert (await settle(farm, job_id, "sand", good=1)).status_code == 409

    run(tmp_path, scenario)
