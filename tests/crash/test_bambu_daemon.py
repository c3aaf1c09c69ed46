"""kill -9 of the daemon at the worst moments of a Bambu print: nothing is printed twice, nothing is lost.

The printer is a virtual P1S on real TLS sockets in a loop of its own; it is the witness, and kills the daemon itself when the
armed words arrive. Every time the judge is its own record of what it put on its bed.
"""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from drivers.virtual.bambu import Spool, VirtualBambu
from drivers.virtual.history import Outcome
from tests.daemon_process import DaemonProcess, wait_for
from tests.shop import SHAPES, Shop

pytestmark = [
    pytest.mark.slicer,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup"),
]
START = b'"project_file"'
BLACK = Spool("PLA", "#1A1A1A")


class Witness(VirtualBambu):
    """A printer at which the story can be cut: `act` is called when `words` arrive, before they are heard or after."""

    words, act, hears_first = b"", staticmethod(lambda: None), True

    def arm(self, words: bytes, act: Callable[[], Any], *, hears_first: bool) -> None:
        self.words, self.act, self.hears_first = words, act, hears_first

    def _received(self, payload: bytes) -> None:
        if not self.words or self.words not in payload:
            super()._received(payload)
            return
        self.words = b""
        if self.hears_first:
            super()._received(payload)
        self.act()

    @property
    def successes(self) -> int:
        return sum(each.outcome is Outcome.SUCCEEDED for each in self.record.prints)


@contextmanager
def witness() -> Iterator[Witness]:
    """A printer that serves for as long as the context lasts; the end of each print clears its bed."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="bambu")
    thread.start()
    machine = Witness("P1S", speed=120.0, ejects=True, spools=(BLACK,))
    try:
        asyncio.run_coroutine_threadsafe(machine.start(), loop).result(30)
        yield machine
    finally:
        asyncio.run_coroutine_threadsafe(machine.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@pytest.fixture
def scene(tmp_path) -> Iterator[tuple[Witness, DaemonProcess, Shop]]:
    with witness() as machine:
        options = {
            "host": machine.host,
            "serial": machine.serial,
            "access_code": machine.access_code,
            "model": machine.model,
            "mqtt_port": machine.mqtt_port,
            "ftps_port": machine.ftps_port,
            "profile": "bambu-p1s-0.4",
        }
        block = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
        farm = DaemonProcess(tmp_path, f'\n[[printers]]\nid = "p1s-01"\ndriver = "bambu"\nbed = [256, 256, 256]\n{block}')
        shop = Shop(farm, farm.make_key("shop", "admin"))
        farm.start()
        shop.sell("nut", (SHAPES / "M3_hex_nut.stl").read_bytes())
        yield machine, farm, shop
        farm.kill()


def paid_order(shop: Shop) -> str:
    order = shop.order(nut=2)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    return order


def operate_until(shop: Shop, dead: Callable[[], bool]) -> None:
    """Play the operator until the daemon is gone."""

    def look() -> bool:
        try:
            shop.operate()
        except Exception:  # the daemon may die under any of these calls
            return dead()
        return dead()

    wait_for(look, 90)


def killed(farm: DaemonProcess) -> tuple[Callable[[], None], Callable[[], bool]]:
    """What kills the daemon, and whether it was done."""
    done: list[bool] = []

    def kill() -> None:
        farm.kill()
        done.append(True)

    return kill, lambda: bool(done)


def printed_once(machine: Witness, shop: Shop, order: str) -> None:
    shop.until(order, "ready", 120)
    assert machine.successes == 1
    assert not any(each.on_occupied_bed for each in machine.record.prints)
    assert machine.record.complaints == []
    assert shop.view(order)["jobs"][0]["units"] == {"waiting": 0, "printing": 0, "printed": 0, "good": 2, "scrapped": 0}


def test_killed_while_the_file_goes_up(scene):
    machine, farm, shop = scene
    machine.faults.upload.rate = 20_000
    order = paid_order(shop)
    kill, dead = killed(farm)

    def half_way() -> bool:
        if any(file.stat().st_size > 0 for file in machine.card.root.rglob("*") if file.is_file()):
            kill()
        return dead()

    operate_until(shop, half_way)
    machine.faults.upload.rate = None
    assert machine.record.starts == []
    farm.start()
    printed_once(machine, shop, order)
    assert [attempt["state"] for attempt in shop.attempts(order) if attempt["state"] == "UNKNOWN"] == []


def test_killed_when_the_start_has_arrived(scene):
    machine, farm, shop = scene
    kill, dead = killed(farm)
    machine.arm(START, kill, hears_first=True)
    order = paid_order(shop)
    operate_until(shop, dead)
    farm.start()
    printed_once(machine, shop, order)
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}
    assert len(machine.record.starts) == 1


def test_a_start_that_never_arrived_waits_for_a_person(scene):
    machine, farm, shop = scene
    kill, dead = killed(farm)
    machine.arm(START, kill, hears_first=False)
    order = paid_order(shop)
    operate_until(shop, dead)
    farm.start()
    attempt = wait_for(
        lambda: next((a for a in shop.attempts(order) if a["state"] == "UNKNOWN"), None), 150
    )  # a start may take 90 s to show
    assert shop.view(order)["attention"][0]["code"] == "attempt_unknown"
    assert shop.ok("GET", "/api/printers/p1s-01")["bed"] == "unknown"
    assert (machine.record.prints, machine.record.starts) == ([], [])
    shop.ok("POST", f"/api/attempts/{attempt['id']}/resolve", {"outcome": "failed"})
    printed_once(machine, shop, order)


def test_killed_in_mid_print(scene):
    machine, farm, shop = scene
    order = paid_order(shop)
    shop.until(order, "printing")
    wait_for(lambda: machine.state == "RUNNING", 30)
    farm.kill()
    farm.start()
    printed_once(machine, shop, order)
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}
    assert len(machine.record.starts) == 1


def test_killed_right_after_the_end_of_the_print(scene):
    machine, farm, shop = scene
    order = paid_order(shop)
    shop.until(order, "printing")
    wait_for(lambda: machine.successes == 1, 120)
    farm.kill()
    farm.start()
    printed_once(machine, shop, order)
    assert {attempt["state"] for attempt in shop.attempts(order)} == {"SUCCEEDED"}
    assert len(machine.record.starts) == 1
