"""kill -9 of the daemon at the worst moments, with a real OctoPrint as the witness: no unit printed twice, none lost.

A tripwire proxy between the two kills at the exact byte. UNKNOWN is allowed only where OctoPrint itself cannot tell.
"""

import shutil

import pytest

from tests.contract.real_octoprint import API_KEY, running_octoprint
from tests.daemon_process import DaemonProcess, printer_block, wait_for
from tests.peers.test_whole_order import prints
from tests.shop import SHAPES, Shop
from tests.tripwire import Tripwire

pytestmark = [pytest.mark.octoprint, pytest.mark.slicer, pytest.mark.slow, pytest.mark.timeout(600)]

UPLOAD = b"POST /api/files/local HTTP/1.1"
START = b'"select"'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")
    with running_octoprint(tmp_path_factory.mktemp("octoprint")) as octoprint:
        yield octoprint


@pytest.fixture
def octoprint(server):
    """The server at rest, and with it no history of what others printed."""
    server.rest()
    server.forget_files()
    return server


@pytest.fixture
def scene(tmp_path, octoprint):
    """A real OctoPrint behind a tripwire, a daemon on it, and a paid order for two parts that has not been started."""
    wire = Tripwire(octoprint.url)
    farm = DaemonProcess(tmp_path, printer_block("mk3-01", wire.url, API_KEY))
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.sell("nut", (SHAPES / "M3_hex_nut.stl").read_bytes())
    yield octoprint, wire, farm, shop
    farm.kill()
    wire.close()


def paid_order(shop: Shop) -> str:
    order = shop.order(nut=2)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    return order


@pytest.mark.parametrize(("words", "forward_first"), [(UPLOAD, True), (UPLOAD, False), (START, True)])
def test_killed_on_the_way_to_a_start(scene, words, forward_first):
    octoprint, wire, farm, shop = scene
    wire.arm(words, farm.kill, forward_first=forward_first)
    order = paid_order(shop)
    wait_for(lambda: _operate_until_dead(shop, wire), 60)
    farm.start()
    shop.until(order, "ready", 120)
    assert [attempt["state"] for attempt in shop.attempts(order) if attempt["state"] == "UNKNOWN"] == []
    assert sum(counts["success"] for counts in prints(octoprint).values()) == 1
    assert shop.view(order)["jobs"][0]["units"] == {"waiting": 0, "printing": 0, "printed": 0, "good": 2, "scrapped": 0}


def test_killed_between_the_row_and_the_command_waits_for_a_person(scene):
    octoprint, wire, farm, shop = scene
    wire.arm(START, farm.kill, forward_first=False)
    order = paid_order(shop)
    wait_for(lambda: _operate_until_dead(shop, wire), 60)
    farm.start()
    attempt = wait_for(lambda: next((a for a in shop.attempts(order) if a["state"] == "UNKNOWN"), None), 90)
    assert shop.view(order)["attention"][0]["code"] == "attempt_unknown"
    assert shop.ok("GET", "/api/printers/mk3-01")["bed"] == "unknown"
    assert prints(octoprint) == {}
    shop.ok("POST", f"/api/attempts/{attempt['id']}/resolve", {"outcome": "failed"})
    shop.until(order, "ready", 120)
    assert sum(counts["success"] for counts in prints(octoprint).values()) == 1


def test_killed_in_mid_print(scene):
    octoprint, _, farm, shop = scene
    order = paid_order(shop)
    shop.until(order, "printing")
    farm.kill()
    assert octoprint.state() in ("Printing", "Finishing", "Operational")
    farm.start()
    shop.until(order, "ready", 120)
    assert sum(counts["success"] for counts in prints(octoprint).values()) == 1
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}


def test_killed_right_after_the_end_of_the_print(scene):
    octoprint, _, farm, shop = scene
    order = paid_order(shop)
    shop.until(order, "printing")
    octoprint.wait(lambda: octoprint.state() == "Operational", 120)
    farm.kill()
    farm.start()
    shop.until(order, "ready", 120)
    assert sum(counts["success"] for counts in prints(octoprint).values()) == 1
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}


def _operate_until_dead(shop: Shop, wire: Tripwire) -> bool:
    """Play the operator until the wire was tripped and the daemon is gone."""
    if not wire.tripped:
        try:
            shop.operate()
        except Exception:  # the daemon may die under any of these calls
            return wire.tripped
    return wire.tripped
