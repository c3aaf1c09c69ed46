"""The shop floor from outside: pause, resume and cancel on the machine, filament, `why`, lost prints, post-processing, retries.

Virtual printers on real sockets and the real slicer; the order's status is watched all the way and may never go backwards.
"""

import shutil
import tomllib

import httpx
import pytest

from tests.daemon_process import wait_for
from tests.models import cube, stl
from tests.peers.contract_farm import refused, running_farm
from tests.plain_http import NO_TLS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slicer,
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup"),
]

ORDER_OF_WORDS = ["pending_payment", "paid", "processing", "printing", "post_processing", "ready", "shipped"]
SETTLED = {"SUCCEEDED", "FAILED", "CANCELLED"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with running_farm(tmp_path_factory.mktemp("farm"), printers=2, speed=100) as running:
        running.sell("small", 6)
        running.sell("large", 50)
        running.sell("finished", 6, postProcess=["remove supports", "sand"])
        yield running


@pytest.fixture(autouse=True)
def quiet(farm):
    """Between two tests nothing prints, both machines are enabled and hold black PLA, and both beds wait to be looked at."""
    yield
    for status in ("paid", "processing", "printing", "post_processing", "ready"):
        for order in farm.ok("GET", f"/api/orders?status={status}&limit=100")["data"]:
            farm.ok("POST", f"/api/orders/{order['id']}/cancel", {"reason": "end of the test"})
    for name in printers(farm):
        wait_for(lambda name=name: printer(farm, name)["attempt"] is None and printer(farm, name)["phase"] != "offline", 30)
        farm.ok("PATCH", f"/api/printers/{name}", {"material": "PLA", "color": "#1a1a1a"})
        farm.ok("POST", f"/api/printers/{name}/enable", {})


def printers(farm):
    return [each["id"] for each in farm.ok("GET", "/api/printers")["data"]]


def printer(farm, name):
    return farm.ok("GET", f"/api/printers/{name}")


def clear(farm, name):
    farm.ok("POST", f"/api/printers/{name}/clear-bed", {})


def only(farm, name="octoprint-01"):
    """Leave one printer in work; returns its name."""
    for other in printers(farm):
        farm.ok("POST", f"/api/printers/{other}/{'enable' if other == name else 'disable'}", {})
    return name


def queued(farm, order):
    return wait_for(lambda: (job := farm.job(order))["state"] == "QUEUED" and job, 30)


def printing(farm, order):
    """The attempt of an order that is seen printing."""
    return wait_for(lambda: next((a for a in farm.job(order)["attempts"] if a["state"] == "PRINTING"), None), 30)


def attempt(farm, order, attempt_id):
    return next(each for each in farm.job(order)["attempts"] if each["id"] == attempt_id)


def tend(farm, order, seen):
    """Clear the beds that wait for it; returns the order's status, which is put down in `seen` when it is a new one."""
    now = farm.ok("GET", f"/api/orders/{order}")["status"]
    if not seen or seen[-1] != now:
        seen.append(now)
    for each in farm.ok("GET", "/api/printers")["data"]:
        if each["enabled"] and each["bed"] != "clear" and each["phase"] in ("idle", "finished") and not each["attempt"]:
            farm.ask("POST", f"/api/printers/{each['id']}/clear-bed", {})
    return now


def reach(farm, order, status, seen, seconds=40):
    """Clear beds until the order has this status; every word on the way is put down in `seen`."""
    wait_for(lambda: tend(farm, order, seen) == status, seconds)


# --- a print in hand ---


def test_a_print_is_paused_resumed_and_finished(farm):
    name = only(farm)
    clear(farm, name)
    order = farm.order("large", paid=True)
    running = printing(farm, order)
    shown = wait_for(lambda: (p := printer(farm, name))["progress"] and p["temperatures"]["tool0"]["target"] > 150 and p, 20)
    assert shown["phase"] == "printing"
    assert shown["attempt"]["id"] == running["id"]
    assert shown["bed"] == "occupied"
    assert shown["lastSeen"].endswith("Z")
    view = farm.ok("GET", f"/api/orders/{order}")["jobs"][0]
    assert view["etaAt"].endswith("Z")
    assert view["units"] == {"waiting": 0, "printing": 1, "printed": 0, "good": 0, "scrapped": 0}
    assert farm.ask("POST", f"/api/printers/{name}/pause", {}).is_success
    wait_for(lambda: attempt(farm, order, running["id"])["state"] == "PAUSED", 20)
    assert printer(farm, name)["phase"] == "paused"
    assert farm.ok("GET", f"/api/orders/{order}")["status"] == "printing"
    refused(farm.ask("POST", f"/api/printers/{name}/clear-bed", {}), 409)
    assert farm.ask("POST", f"/api/printers/{name}/resume", {}).is_success
    wait_for(lambda: attempt(farm, order, running["id"])["state"] in ("PRINTING", "SUCCEEDED"), 20)


def test_a_cancelled_print_is_printed_again_and_the_order_does_not_go_back(farm):
    name = only(farm)
    clear(farm, name)
    order, seen = farm.order("large", paid=True), []
    first = printing(farm, order)
    reach(farm, order, "printing", seen)
    assert farm.ask("POST", f"/api/printers/{name}/cancel", {}).is_success
    wait_for(lambda: attempt(farm, order, first["id"])["state"] in SETTLED, 20)
    assert attempt(farm, order, first["id"])["state"] in ("CANCELLED", "FAILED")
    assert printer(farm, name)["bed"] == "occupied"
    wait_for(lambda: farm.job(order)["units"]["waiting"] == 1, 10)
    assert farm.ok("GET", f"/api/orders/{order}")["status"] == "printing"
    refused(farm.ask("POST", f"/api/printers/{name}/cancel", {}), 409)


@pytest.mark.parametrize("act", ["pause", "resume", "cancel"])
def test_with_nothing_running_there_is_nothing_to_hold(farm, act):
    refused(farm.ask("POST", f"/api/printers/octoprint-01/{act}", {}), 409)


def test_cancelling_an_order_stops_its_machine(farm):
    name = only(farm)
    clear(farm, name)
    order = farm.order("large", paid=True)
    running = printing(farm, order)
    cancelled = farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "Customer requested cancellation"})
    assert cancelled["cancellation"]["printers"] in ("stopping", "stopped")
    wait_for(lambda: farm.ok("GET", f"/api/orders/{order}")["cancellation"]["printers"] == "stopped", 20)
    assert attempt(farm, order, running["id"])["state"] == "CANCELLED"
    assert printer(farm, name)["phase"] in ("idle", "finished")
    assert farm.job(order)["state"] == "CANCELLED"


def test_cancelling_one_job_leaves_the_order_to_its_people(farm):
    order = farm.order("small", paid=True)
    job = queued(farm, order)["id"]
    assert farm.ok("POST", f"/api/jobs/{job}/cancel", {"reason": "the model is wrong"})["state"] == "CANCELLED"
    view = farm.ok("GET", f"/api/orders/{order}")
    assert view["status"] != "cancelled"
    assert view["attention"]
    refused(farm.ask("POST", f"/api/jobs/{job}/retry", {}), 409)


# --- why ---


def rules(farm, order):
    answer = farm.ok("GET", f"/api/jobs/{farm.job(order)['id']}/why")
    assert answer["summary"]
    return {each["printerId"]: {rule["rule"] for rule in each["rules"]} for each in answer["printers"]}


def test_why_names_the_rule_that_keeps_a_job_off_each_printer(farm):
    first, second = printers(farm)
    order = farm.order("small", paid=True)
    queued(farm, order)
    farm.ok("PATCH", f"/api/printers/{first}", {"material": "PETG"})
    farm.ok("POST", f"/api/printers/{second}/disable", {})
    assert "material" in rules(farm, order)[first]
    assert "disabled" in rules(farm, order)[second]
    farm.ok("PATCH", f"/api/printers/{first}", {"material": "PLA", "color": "#ff0000"})
    assert "color" in rules(farm, order)[first]
    farm.ok("PATCH", f"/api/printers/{first}", {"color": "#1a1a1a"})
    assert rules(farm, order)[first] <= {"bed"}


def test_why_tells_the_place_behind_an_earlier_job(farm):
    name = only(farm)
    clear(farm, name)
    running, waiting = farm.order("large", paid=True), farm.order("small", paid=True)
    busy = wait_for(lambda: next((o for o in (running, waiting) if farm.job(o)["state"] == "PRINTING"), None), 30)
    other = waiting if busy == running else running
    answer = farm.ok("GET", f"/api/jobs/{queued(farm, other)['id']}/why")
    verdict = next(each for each in answer["printers"] if each["printerId"] == name)
    assert "busy" in {rule["rule"] for rule in verdict["rules"]}
    assert verdict["position"] == 1
    assert name in farm.ok("GET", f"/api/jobs/{farm.job(busy)['id']}/why")["summary"]


def test_the_places_in_the_queue_are_those_the_printer_takes_them_in(farm):
    name = only(farm)
    waiting = [farm.order(sku, paid=True) for sku in ("small", "large", "small", "large")]
    for order in waiting:
        queued(farm, order)

    def place(order):
        answer = farm.ok("GET", f"/api/jobs/{farm.job(order)['id']}/why")
        return next(each["position"] for each in answer["printers"] if each["printerId"] == name)

    places = {place(order): order for order in waiting}
    assert sorted(places) == [1, 2, 3, 4]
    clear(farm, name)
    begun = wait_for(lambda: [order for order in waiting if farm.job(order)["attempts"]], 20)
    assert begun == [places[1]]


def test_why_says_that_no_printer_is_big_enough(farm):
    farm.ok("POST", "/api/skus", {"id": "slab", "name": "Slab", "unitPrice": 1, "material": "PLA", "color": "#1a1a1a"})
    answer = farm.ask("PUT", "/api/skus/slab/model", content=stl(cube(240)))
    refused(answer, 422, "model_rejected")


def test_dispatch_follows_the_filament(farm):
    name = only(farm)
    farm.ok("PATCH", f"/api/printers/{name}", {"material": "PETG"})
    clear(farm, name)
    order = farm.order("small", paid=True)
    queued(farm, order)
    assert "material" in rules(farm, order)[name]
    assert farm.job(order)["attempts"] == []
    farm.ok("PATCH", f"/api/printers/{name}", {"material": "PLA"})
    wait_for(lambda: farm.job(order)["attempts"], 20)


@pytest.mark.parametrize(
    "body", [{"material": ""}, {"material": 7}, {"color": "black"}, {"color": 1}, {"bed": "clear"}, {"material": "../x"}]
)
def test_a_wrong_filament_is_refused(farm, body):
    refused(farm.ask("PATCH", "/api/printers/octoprint-01", body), 422)
    assert (printer(farm, "octoprint-01")["material"], printer(farm, "octoprint-01")["color"]) == ("PLA", "#1a1a1a")


def test_a_disabled_printer_gets_nothing_and_an_enabled_one_does(farm):
    name = only(farm)
    clear(farm, name)
    farm.ok("POST", f"/api/printers/{name}/disable", {})
    order = farm.order("small", paid=True)
    queued(farm, order)
    assert farm.job(order)["attempts"] == []
    farm.ok("POST", f"/api/printers/{name}/enable", {})
    wait_for(lambda: farm.job(order)["attempts"], 20)


# --- post-processing ---


def test_scrapped_units_are_printed_again_and_the_order_never_goes_back(farm):
    only(farm)
    order, seen = farm.order("finished", 2, paid=True), []
    reach(farm, order, "post_processing", seen)
    job = farm.job(order)["id"]
    act = f"/api/jobs/{job}/post-process"
    assert farm.job(order)["postProcess"] == [{"step": "remove supports", "waiting": 2}, {"step": "sand", "waiting": 0}]
    refused(farm.ask("POST", act, {"step": "remove supports", "good": 3, "scrapped": 0}), 409)
    refused(farm.ask("POST", act, {"step": "polish", "good": 1, "scrapped": 0}), 422)
    refused(farm.ask("POST", act, {"step": "sand", "good": 1, "scrapped": 0}), 409)
    refused(farm.ask("POST", act, {"step": "sand", "good": -1, "scrapped": 0}), 422)
    assert farm.job(order)["units"]["printed"] == 2
    after = farm.ok("POST", act, {"step": "remove supports", "good": 1, "scrapped": 1})
    assert after["units"]["scrapped"] == 1
    assert after["units"]["waiting"] == 1
    farm.ok("POST", act, {"step": "sand", "good": 1, "scrapped": 0})

    def next_part():
        reach(farm, order, farm.ok("GET", f"/api/orders/{order}")["status"], seen)
        return farm.job(order)["postProcess"][0]["waiting"] == 1

    wait_for(next_part, 120)
    farm.ok("POST", act, {"step": "remove supports", "good": 1, "scrapped": 0})
    farm.ok("POST", act, {"step": "sand", "good": 1, "scrapped": 0})
    reach(farm, order, "ready", seen)
    units = farm.job(order)["units"]
    assert (units["good"], units["scrapped"], units["waiting"]) == (2, 1, 0)
    places = [ORDER_OF_WORDS.index(word) for word in seen]
    assert places == sorted(places), seen
    shipped = farm.ok("POST", f"/api/orders/{order}/ship", {"carrier": "UPS", "trackingNumber": "1Z999"})
    assert (shipped["status"], shipped["fulfillmentStatus"]) == ("shipped", "shipped")
    refused(farm.ask("POST", f"/api/orders/{order}/cancel", {"reason": "late"}), 409)
    refused(farm.ask("POST", f"/api/orders/{order}/ship", {"carrier": "UPS", "trackingNumber": "2"}), 409)
    told = [event["type"] for event in farm.ok("GET", f"/api/orders/{order}/events")["data"]]
    for word in ORDER_OF_WORDS[1:]:
        assert told.count(f"order.{word}") == 1
    assert len(farm.job(order)["attempts"]) == 2


# --- failures ---


def test_a_lost_print_waits_for_a_person_who_settles_it(farm):
    """The print server loses its power, and with it everything it knew: nobody can tell how the print ended."""
    name = only(farm)
    clear(farm, name)
    order = farm.order("large", paid=True)
    running = printing(farm, order)
    act = f"/api/attempts/{running['id']}/resolve"
    refused(farm.ask("POST", act, {"outcome": "succeeded"}), 409)
    farm.printers.kill()
    wait_for(lambda: printer(farm, name)["phase"] == "offline", 30)
    assert attempt(farm, order, running["id"])["state"] == "PRINTING", "a lost link is no failed print"
    farm.printers.start()
    state = wait_for(lambda: (s := attempt(farm, order, running["id"])["state"]) in {"UNKNOWN", *SETTLED} and s, 60)
    assert state == "UNKNOWN", "nobody saw it end"
    assert printer(farm, name)["bed"] != "clear"
    assert farm.ok("GET", f"/api/jobs/{farm.job(order)['id']}/why")["waitsFor"]["code"] == "attempt_unknown"
    assert any(entry.get("code") == "attempt_unknown" for entry in printer(farm, name)["attention"])
    for body in ({}, {"outcome": "maybe"}, {"outcome": None}, {"outcome": "failed", "x": 1}):
        refused(farm.ask("POST", act, body), 422)
    assert farm.ok("POST", act, {"outcome": "succeeded"})["state"] == "SUCCEEDED"
    wait_for(lambda: farm.ok("GET", f"/api/orders/{order}")["status"] == "ready", 10)
    refused(farm.ask("POST", act, {"outcome": "failed"}), 409)
    assert printer(farm, name)["bed"] != "clear", "how a print ended says nothing about the bed"


def test_a_plate_that_is_stopped_at_the_machine_again_and_again_is_given_up_until_somebody_retries(farm):
    only(farm)
    order, seen = farm.order("large", paid=True), []
    refused(farm.ask("POST", f"/api/jobs/{queued(farm, order)['id']}/retry", {}), 409, "job_not_failed")
    machines = {block["id"]: block for block in tomllib.loads(farm.printers.file.read_text())["printers"]}

    def given_up():
        tend(farm, order, seen)
        job = farm.job(order)
        for each in job["attempts"]:
            if each["state"] == "PRINTING":
                machine = machines[each["printerId"]]
                key = {"X-Api-Key": machine["api_key"]}
                httpx.post(f"{machine['url']}/api/job", json={"command": "cancel"}, headers=key, trust_env=False, verify=NO_TLS)
                wait_for(lambda each=each: attempt(farm, order, each["id"])["state"] in SETTLED, 20)
        for name in machines:
            farm.ask("POST", f"/api/printers/{name}/enable", {})
        return job["state"] == "FAILED" and job

    job = wait_for(given_up, 120)
    assert job["failure"]["detail"]
    assert farm.ok("GET", f"/api/orders/{order}")["attention"]
    assert farm.ok("GET", f"/api/jobs/{job['id']}/why")["waitsFor"]["code"] == "operator"
    assert farm.ok("POST", f"/api/jobs/{job['id']}/retry", {})["state"] != "FAILED"
    assert farm.ok("GET", f"/api/orders/{order}")["attention"] == []
    places = [ORDER_OF_WORDS.index(word) for word in seen]
    assert places == sorted(places), seen


def test_a_job_is_listed_by_its_state_and_order(farm):
    only(farm)
    order = farm.order("small", paid=True)
    job = queued(farm, order)
    assert job["id"] in [each["id"] for each in farm.ok("GET", "/api/jobs?state=QUEUED&limit=100")["data"]]
    assert [each["id"] for each in farm.ok("GET", f"/api/jobs?orderId={order}")["data"]] == [job["id"]]
    assert farm.ok("GET", f"/api/jobs?orderId={order}&state=PRINTING,READY")["data"] == []
    refused(farm.ask("GET", "/api/jobs?state=LOST"), 422)
    promised = {"state", "orderId", "lineItemId", "units", "plates", "attempts", "estimates", "history"}
    assert promised <= set(job)
    assert job["estimates"]["seconds"] > 0
    assert [move["to"] for move in job["history"]][:3] == ["VALIDATING", "SLICING", "QUEUED"]


def test_no_answer_about_a_printer_holds_its_key(farm):
    for path in ("/api/printers", "/api/printers/octoprint-01", "/openapi.json", "/metrics", "/api/events?limit=1000"):
        assert "virtual-octoprint" not in farm.ask("GET", path).text
    assert "virtual-octoprint-01" not in farm.daemon.log.read_text()
