"""A mixed farm, from outside: OctoPrint, a Bambu printer that feeds itself from several spools, and a board on a cable make one
order together. The real slicer, the real daemon; the judge is the Bambu printer's own record of what it printed, and from what.
"""

import asyncio
import shutil

import pytest

from drivers.gcode.once import dismiss
from drivers.virtual.bambu import Spool
from tests.daemon_process import DaemonProcess, wait_for
from tests.peers.contract_farm import CUSTOMER, Farm, refused
from tests.peers.mixed_floor import BLACK, GREEN, ORANGE, SPOOLS, WHITE, Floor, running_floor
from tests.shop import ADDRESS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slicer,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup"),
]

DONE = ("ready", "shipped", "cancelled")
FILAMENTS = {"black": ("PLA", BLACK), "orange": ("PETG", ORANGE), "white": ("PLA", WHITE), "green": ("PLA", GREEN)}
SPOOL_OF = {"black": 0, "orange": 1, "white": 2}


@pytest.fixture(scope="module")
def floor(tmp_path_factory):
    with running_floor(tmp_path_factory.mktemp("floor")) as machines:
        yield machines


@pytest.fixture(scope="module")
def farm(tmp_path_factory, floor):
    daemon = DaemonProcess(tmp_path_factory.mktemp("farm"), floor.blocks)
    try:
        key = daemon.make_key("shop", "admin")
        daemon.start()
        running = Farm(daemon, {"admin": key})
        for name, (material, color) in FILAMENTS.items():
            running.sell(name, 10, material=material, color=color)
        running.sell("brick", 28, material="PETG", color=ORANGE)
        yield running
        assert daemon.stop() < 5
    finally:
        daemon.kill()
        asyncio.run(dismiss(daemon.folder / "files" / "machines" / "ender-01"))  # a streamer outlives its daemon


@pytest.fixture(autouse=True)
def quiet(farm, floor):
    """Between two tests nothing is ordered and nothing prints; every print that was made is known to be one of ours."""
    for place, spool in enumerate(SPOOLS):
        floor.do(lambda place=place, spool=spool: floor.bambu.refill(place, spool))
    yield
    for each in farm.ok("GET", "/api/orders?limit=100")["data"]:
        if each["status"] not in DONE:
            farm.ok("POST", f"/api/orders/{each['id']}/cancel", {"reason": "end of the test"})
    wait_for(lambda: all(each["attempt"] is None for each in printers(farm).values()), 60)
    assert floor.bambu.record.complaints == []
    assert not any(made.on_occupied_bed for made in floor.bambu.record.prints)


def printers(farm: Farm):
    return {each["id"]: each for each in farm.ok("GET", "/api/printers")["data"]}


def bambu(farm: Farm):
    return printers(farm)["p1s-01"]


def order(farm: Farm, **lines: int) -> str:
    """A paid order of these SKUs."""
    items = [{"skuId": sku, "quantity": quantity, "options": {"quality": "draft", "infill": 0}} for sku, quantity in lines.items()]
    body = {"customerId": CUSTOMER, "lineItems": items, "shippingAddress": ADDRESS}
    made = str(farm.ok("POST", "/api/orders", body)["id"])
    farm.ok("POST", f"/api/orders/{made}/pay", {"reference": "till"})
    return made


def jobs(farm: Farm, order_id: str):
    """Its jobs in full, by SKU."""
    view = farm.ok("GET", f"/api/orders/{order_id}")
    names = {line["id"]: line["skuId"] for line in view["lineItems"]}
    return {names[job["lineItemId"]]: farm.ok("GET", f"/api/jobs/{job['id']}") for job in view["jobs"]}


def tend(farm: Farm, floor: Floor, order_id: str) -> str:
    """Take finished parts off and say so; the order's status."""
    for name, each in printers(farm).items():
        if each["bed"] != "clear" and each["phase"] in ("idle", "finished") and not each["attempt"]:
            floor.take_off(name)
            farm.ok("POST", f"/api/printers/{name}/clear-bed", {})
    return str(farm.ok("GET", f"/api/orders/{order_id}")["status"])


def reach(farm: Farm, floor: Floor, order_id: str, status: str, seconds: float = 90) -> None:
    wait_for(lambda: tend(farm, floor, order_id) == status, seconds)


def printing(farm: Farm, floor: Floor, order_id: str):
    """The attempt of an order that the Bambu printer lays plastic for, with its bed cleared for it."""

    def look():
        tend(farm, floor, order_id)
        attempt, running = bambu(farm)["attempt"], floor.bambu.record.running
        ours = attempt and attempt["orderId"] == order_id and attempt["state"] == "PRINTING"
        return attempt if ours and running is not None and running.fed else None

    return wait_for(look, 60)


def made_of(floor: Floor, attempt: str):
    """What the machine itself knows of the print of this attempt."""
    (found,) = [each for each in floor.bambu.record.prints if attempt in each.file]
    return found


def test_one_order_is_made_by_three_kinds_of_machines_each_line_from_its_own_filament(farm, floor):
    before = len(floor.bambu.record.prints)
    made = order(farm, black=3, orange=1, white=1)
    reach(farm, floor, made, "ready", 180)
    fed = {}
    for sku, job in jobs(farm, made).items():
        assert job["units"]["good"] == job["quantity"]
        for attempt in job["attempts"]:
            assert attempt["state"] == "SUCCEEDED"
            assert (attempt["slot"] is not None) is (attempt["printerId"] == "p1s-01")
            if attempt["printerId"] == "p1s-01":
                record = made_of(floor, attempt["id"])
                assert (record.fed, record.filaments) == ((SPOOL_OF[sku],), (FILAMENTS[sku][0],))
                assert attempt["slot"] == f"ams-0-{SPOOL_OF[sku]}"
                fed.setdefault(sku, 0)
                fed[sku] += 1
    assert fed["orange"] == fed["white"] == 1  # nobody else has them loaded
    assert len(floor.bambu.record.prints) == before + sum(fed.values())
    shipped = farm.ok("POST", f"/api/orders/{made}/ship", {"carrier": "UPS", "trackingNumber": "1Z999"})
    assert shipped["status"] == "shipped"


def test_what_is_loaded_is_shown_and_not_contradicted(farm):
    shown = wait_for(lambda: (each := bambu(farm))["spools"] and each)
    assert [(spool["slot"], spool["material"], spool["color"]) for spool in shown["spools"]][:3] == [
        ("ams-0-0", "PLA", BLACK), ("ams-0-1", "PETG", ORANGE), ("ams-0-2", "PLA", WHITE),
    ]  # fmt: skip
    assert (shown["buildVolume"], shown["profile"]) == ([256, 256, 250], "bambu-p1s-0.4")
    assert printers(farm)["octoprint-01"]["spools"] is printers(farm)["ender-01"]["spools"] is None
    refused(farm.ask("PATCH", "/api/printers/p1s-01", {"material": "ABS"}), 409, "machine_tells")
    table = farm.cli("printers", "show", "p1s-01").stdout
    assert "ams-0-1" in table
    assert ORANGE in table


def test_a_print_is_held_and_goes_on(farm, floor):
    made = order(farm, brick=1)
    attempt = printing(farm, floor, made)
    farm.ok("POST", "/api/printers/p1s-01/pause", {})
    wait_for(lambda: bambu(farm)["attempt"]["state"] == "PAUSED" and floor.bambu.state == "PAUSE")
    farm.ok("POST", "/api/printers/p1s-01/resume", {})
    wait_for(lambda: bambu(farm)["attempt"]["state"] == "PRINTING" and floor.bambu.state == "RUNNING")
    reach(farm, floor, made, "ready")
    record = made_of(floor, attempt["id"])
    assert (record.fed, record.pauses, record.outcome.name) == ((1,), 1, "SUCCEEDED")


def test_a_spool_that_ends_holds_the_print_until_another_is_in(farm, floor):
    made = order(farm, brick=1)
    attempt = printing(farm, floor, made)
    floor.do(floor.bambu.run_out)
    held = wait_for(lambda: (shown := bambu(farm))["attempt"]["state"] == "PAUSED" and shown)
    assert [call["code"] for call in held["attention"]] == ["held"]
    assert held["attention"][0]["detail"] in farm.cli("printers", "show", "p1s-01").stdout
    floor.do(lambda: floor.bambu.refill(1, SPOOLS[1]))
    farm.ok("POST", "/api/printers/p1s-01/resume", {})
    reach(farm, floor, made, "ready")
    assert made_of(floor, attempt["id"]).outcome.name == "SUCCEEDED"


def test_an_order_cancelled_in_mid_print_stops_the_machine_and_is_cancelled_once(farm, floor):
    made = order(farm, brick=1)
    attempt = printing(farm, floor, made)
    for _ in range(2):
        answer = farm.ok("POST", f"/api/orders/{made}/cancel", {"reason": "changed my mind"})
        assert answer["status"] == "cancelled"
    wait_for(lambda: farm.ok("GET", f"/api/orders/{made}")["cancellation"]["printers"] == "stopped")
    assert floor.bambu.state not in ("PREPARE", "RUNNING", "PAUSE")
    assert made_of(floor, attempt["id"]).outcome.name == "CANCELLED"
    assert bambu(farm)["bed"] != "clear"
    events = [each["type"] for each in farm.ok("GET", f"/api/orders/{made}/events")["data"]]
    assert events.count("order.cancelled") == 1
    (job,) = jobs(farm, made).values()
    assert [each["state"] for each in job["attempts"]] == ["CANCELLED"]


def test_a_daemon_that_was_killed_takes_the_print_up_again(farm, floor):
    made = order(farm, brick=1)
    attempt = printing(farm, floor, made)
    farm.daemon.kill()
    farm.daemon.start()
    reach(farm, floor, made, "ready")
    (job,) = jobs(farm, made).values()
    assert [(each["id"], each["state"]) for each in job["attempts"]] == [(attempt["id"], "SUCCEEDED")]
    assert made_of(floor, attempt["id"]).outcome.name == "SUCCEEDED"


def test_a_power_cut_in_mid_print_is_a_question_for_a_person_and_no_second_print(farm, floor):
    made = order(farm, brick=1)
    attempt = printing(farm, floor, made)
    floor.happen(floor.bambu.lose_power())
    wait_for(lambda: bambu(farm)["phase"] == "offline")
    floor.happen(floor.bambu.restore_power())
    calls = wait_for(lambda: farm.ok("GET", f"/api/orders/{made}")["attention"])
    assert [(call["code"], call["attemptId"]) for call in calls] == [("attempt_unknown", attempt["id"])]
    assert (bambu(farm)["phase"], bambu(farm)["bed"]) == ("idle", "unknown")
    floor.take_off("p1s-01")
    farm.ok("POST", "/api/printers/p1s-01/clear-bed", {})
    assert made_of(floor, attempt["id"]).outcome.name == "LOST"
    assert floor.bambu.record.running is None
    farm.ok("POST", f"/api/attempts/{attempt['id']}/resolve", {"outcome": "failed"})
    reach(farm, floor, made, "ready")
    (job,) = jobs(farm, made).values()
    assert [each["state"] for each in job["attempts"]] == ["FAILED", "SUCCEEDED"]


def test_why_names_what_is_loaded_and_the_job_starts_once_its_spool_is_in(farm, floor):
    made = order(farm, green=1)
    (job,) = wait_for(lambda: (found := list(jobs(farm, made).values()))[0]["state"] == "QUEUED" and found)
    told = farm.ok("GET", f"/api/jobs/{job['id']}/why")
    loaded = f"slot ams-0-0 PLA {BLACK}, slot ams-0-1 PETG {ORANGE}, slot ams-0-2 PLA {WHITE}"
    (verdict,) = [each for each in told["printers"] if each["printerId"] == "p1s-01"]
    assert f"needs PLA {GREEN}; loaded: {loaded}" in [rule["detail"] for rule in verdict["rules"]]
    assert "position" not in verdict
    assert told["waitsFor"]["code"] == "filament"
    floor.do(lambda: floor.bambu.refill(3, Spool("PLA", GREEN)))
    reach(farm, floor, made, "ready")
    (attempt,) = next(iter(jobs(farm, made).values()))["attempts"]
    assert (attempt["slot"], made_of(floor, attempt["id"]).fed) == ("ams-0-3", (3,))
