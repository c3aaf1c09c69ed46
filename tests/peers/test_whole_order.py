"""The main job, from outside: a paid order becomes shipped parts on a real OctoPrint, with the real slicer.

The shop speaks HTTP and the command line, somebody else's package verifies the webhooks, OctoPrint's own history is the judge.
"""

import shutil

import pytest

from tests.contract.real_octoprint import API_KEY, RealOctoPrint, running_octoprint
from tests.daemon_process import DaemonProcess, Receiver, printer_block, wait_for
from tests.shop import SHAPES, Shop

pytestmark = [pytest.mark.octoprint, pytest.mark.slicer, pytest.mark.slow, pytest.mark.timeout(600)]

SEED_EVENTS = ["order.created", "order.paid", "order.printing", "order.ready", "order.shipped", "order.cancelled"]


@pytest.fixture
def octoprint(tmp_path):
    if shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")
    with running_octoprint(tmp_path / "octoprint") as server:
        yield server


@pytest.fixture
def farm(tmp_path, octoprint):
    daemon = DaemonProcess(tmp_path, printer_block("mk3-01", octoprint.url, API_KEY), installed=True)
    yield daemon
    daemon.kill()


def prints(octoprint: RealOctoPrint) -> dict[str, dict[str, int]]:
    """What OctoPrint's own history says of every file."""
    entries = octoprint.call("GET", "/api/files?recursive=true").json()["files"]
    found: dict[str, dict[str, int]] = {}
    while entries:
        entry = entries.pop()
        if entry["type"] == "folder":
            entries += entry["children"]
        elif "prints" in entry:
            found[entry["path"]] = {kind: entry["prints"][kind] for kind in ("success", "failure")}
    return found


def test_an_order_goes_from_post_to_shipped(farm, octoprint):
    key = farm.make_key("shop", "admin")
    farm.start()
    shop, receiver = Shop(farm, key), Receiver()
    hook = shop.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["order.*"]})
    receiver.secret = hook["secret"]
    shop.sell("nut", (SHAPES / "M3_hex_nut.stl").read_bytes())
    shop.sell("box", (SHAPES / "M3x10_screw.stl").read_bytes(), postProcess=["remove supports"])

    order = shop.order(nut=3, box=1)
    shop.view(order)
    paid = farm.cli("orders", "pay", order, "--reference", "till 7", "--json", key=key)
    assert paid.returncode == 0, paid.stderr
    shop.until(order, "ready", 300)
    shipped = farm.cli("orders", "ship", order, "--carrier", "UPS", "--tracking", "1Z999", key=key)
    assert shipped.returncode == 0, shipped.stderr
    view = shop.view(order)
    assert view["status"] == "shipped"
    assert [status for status in shop.seen if status not in ("paid", "processing", "post_processing")] == [
        "pending_payment", "printing", "ready", "shipped",
    ]  # fmt: skip
    timeline = [
        event["type"] for event in shop.ok("GET", f"/api/orders/{order}/events")["data"] if event["type"].startswith("order.")
    ]
    steps = ["created", "paid", "processing", "printing", "post_processing", "ready", "shipped"]
    assert timeline == [f"order.{step}" for step in steps]
    wait_for(lambda: "order.shipped" in receiver.types(order), 30)
    assert not receiver.refused
    assert [kind for kind in receiver.types(order) if kind in SEED_EVENTS] == SEED_EVENTS[:-1]
    attempts = shop.attempts(order)
    assert {attempt["state"] for attempt in attempts} == {"SUCCEEDED"}
    history = prints(octoprint)
    assert len(history) == len(attempts) == 2
    assert all(counts == {"success": 1, "failure": 0} for counts in history.values())
    assert all(any(attempt["id"] in path for path in history) for attempt in attempts)
    receiver.close()
    assert farm.stop() < 5


def test_cancelling_while_it_prints_leaves_octoprint_idle(farm, octoprint):
    key = farm.make_key("shop", "admin")
    farm.start()
    shop, receiver = Shop(farm, key), Receiver()
    receiver.secret = shop.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["order.cancelled"]})["secret"]
    shop.sell("bunny", (SHAPES / "M3x10_screw.stl").read_bytes())
    order = shop.order(bunny=30)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    shop.until(order, "printing")
    wait_for(lambda: octoprint.state() == "Printing")
    cancelled = shop.ok("POST", f"/api/orders/{order}/cancel", {"reason": "Customer requested cancellation"})
    assert cancelled["status"] == "cancelled"
    wait_for(lambda: shop.view(order)["cancellation"]["printers"] == "stopped", 30)
    assert octoprint.state() == "Operational"
    wait_for(lambda: receiver.types(order) == ["order.cancelled"])
    again = shop.ok("POST", f"/api/orders/{order}/cancel", {"reason": "again"})
    assert again["cancellation"]["reason"] == "Customer requested cancellation"
    assert shop.view(order)["jobs"][0]["state"] == "CANCELLED"
    assert receiver.types(order) == ["order.cancelled"]
    receiver.close()
