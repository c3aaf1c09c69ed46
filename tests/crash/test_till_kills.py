"""kill -9 at every commit and on both sides of every call of Stripe, over whole lives of orders; generated, none left out.

However the daemon dies: exactly one session is paid, exactly one refund stands for each refund wanted, what was captured is what
was kept and what was given back, every event is told once, and no order is stuck.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.crash.mortal_shop import Death, MortalShop, Zygote
from tests.daemon_process import DaemonProcess, wait_for
from tests.doubles.stripe_double import stripe_double
from tests.models import cube, stl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
AT_ONCE = 3
PRINTER = """
[[printers]]
id = "away"
driver = "octoprint"
url = "http://127.0.0.1:9"
api_key = "nobody"
material = "PLA"
color = "#1a1a1a"
"""
CUBE = {"id": "cube", "name": "Cube", "unitPrice": 12.5, "material": "PLA", "color": "#1a1a1a"}
ORDER = {"customerId": "cust", "lineItems": [{"skuId": "cube", "quantity": 3, "options": {"quality": "draft"}}]}


@pytest.fixture(scope="session")  # a worker of the suite has other tests between two of these
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data directory with a cube for sale that was sliced before, and the key to it."""
    folder = tmp_path_factory.mktemp("template")
    daemon = DaemonProcess(folder, PRINTER)
    key = daemon.make_key("shop", "admin")
    daemon.start()
    try:
        ask = {"headers": {"X-API-Key": key}}
        assert daemon.http.post("/api/skus", json=CUBE, **ask).status_code == 201
        if shutil.which("prusa-slicer"):
            assert daemon.http.put("/api/skus/cube/model", content=stl(cube(20)), **ask).is_success
            order = daemon.http.post("/api/orders", json=ORDER, **ask).json()["id"]
            daemon.http.post(f"/api/orders/{order}/pay", json={}, **ask)
            _until_queued(daemon, order, ask)
        assert daemon.stop() < 5
    finally:
        daemon.kill()
    return folder, key


def _until_queued(daemon: DaemonProcess, order: str, ask: dict[str, Any]) -> None:
    wait_for(lambda: daemon.http.get(f"/api/orders/{order}", **ask).json()["jobs"][0]["state"] == "QUEUED", 60)


# lives


def _paid(shop: MortalShop) -> str:
    order = str(shop.ask("POST", "/api/orders", ORDER, key="place")["id"])
    shop.until(lambda: shop.view(order)["checkoutUrl"])
    session = shop.session(order)
    assert session is not None
    shop.stripe.pay(session["id"])
    shop.until(lambda: shop.view(order)["paymentStatus"] in ("paid", "authorized"))
    return order


def cancelled_when_paid(shop: MortalShop) -> str:
    order = _paid(shop)
    shop.ask("POST", f"/api/orders/{order}/cancel", {"reason": "no"}, key="cancel")
    shop.until(lambda: shop.view(order)["cancellation"]["refund"] == "succeeded")
    return order


def refunded_in_parts(shop: MortalShop) -> str:
    order = _paid(shop)
    line = shop.view(order)["lineItems"][0]["id"]
    shop.ask("POST", f"/api/orders/{order}/refunds", {"lineItemId": line, "quantity": 1}, key="part")
    shop.until(lambda: shop.view(order)["refunded"] > 0)
    shop.ask("POST", f"/api/orders/{order}/refunds", {}, key="rest")
    shop.until(lambda: shop.view(order)["status"] == "refunded")
    return order


def cancelled_unpaid(shop: MortalShop) -> str:
    order = str(shop.ask("POST", "/api/orders", ORDER, key="place")["id"])
    shop.ask("POST", f"/api/orders/{order}/cancel", {}, key="cancel")
    shop.until(lambda: shop.view(order)["status"] == "cancelled")
    return order


def captured_when_sliced(shop: MortalShop) -> str:
    order = _paid(shop)
    shop.until(lambda: shop.view(order)["captured"] > 0)
    shop.ask("POST", f"/api/orders/{order}/cancel", {"reason": "no"}, key="cancel")
    shop.until(lambda: shop.view(order)["cancellation"]["refund"] == "succeeded")
    return order


def promise_returned(shop: MortalShop) -> str:
    """A SKU without a model is never sliced, so the promise is never collected."""
    order = _paid(shop)
    shop.ask("POST", f"/api/orders/{order}/cancel", {"reason": "no"}, key="cancel")
    shop.until(lambda: shop.view(order)["authorized"] == 0)
    return order


LIVES: dict[str, tuple[Callable[[MortalShop], str], str, bool]] = {
    "cancelled when paid": (cancelled_when_paid, "automatic", False),
    "refunded in parts": (refunded_in_parts, "automatic", False),
    "cancelled unpaid": (cancelled_unpaid, "automatic", False),
    "promise returned": (promise_returned, "when_sliced", False),
    "captured when sliced": (captured_when_sliced, "when_sliced", True),
}


def live(name: str, death: Death, folder: Path, template: tuple[Path, str], zygote: Zygote) -> tuple[int, list[str], int]:
    """One life to its end; returns how many commits and calls it had, and how often the daemon died."""
    story, capture, sliced = LIVES[name]
    data, key = template
    shutil.copytree(data, folder)
    with stripe_double(seed=7) as stripe:
        shop = MortalShop(folder, zygote, stripe, death, capture, PRINTER if sliced else "", key)
        try:
            if not sliced:
                forget_the_model(shop)
            shop.start()
            order = story(shop)
            shop.until(shop.settled)
            judge(shop, order)
            return len((folder / "commits").read_bytes()), shop.calls, shop.deaths
        finally:
            shop.close()
            shutil.rmtree(folder, ignore_errors=True)


def forget_the_model(shop: MortalShop) -> None:
    with sqlite3.connect(shop.folder / "farmd.db") as books:
        books.execute("UPDATE skus SET model_sha = NULL")
    books.close()


def judge(shop: MortalShop, order: str) -> None:
    view, stripe = shop.view(order), shop.stripe
    where = f"{shop.death}: {view}"
    complete = [each for each in stripe.sessions.values() if each["status"] == "complete"]
    assert len(complete) == (0 if view["captured"] == 0 and not stripe.intents else 1), where
    assert [each for each in stripe.sessions.values() if each["status"] == "open"] == [], where
    captured = sum(stripe.captured(intent) for intent in stripe.intents)
    refunded = sum(each["amount"] for each in stripe.refunds.values() if each["status"] == "succeeded")
    assert (round(view["captured"] * 100), round(view["refunded"] * 100)) == (captured, refunded), where
    assert captured == refunded, where  # every life ends with the money given back
    wanted = Counter(row[0] for row in shop.query("SELECT id FROM refunds WHERE order_id = ?", order))
    made = Counter(each["metadata"].get("refund_id") for each in stripe.refunds.values())
    assert made == wanted, where
    told = Counter(row[0] for row in shop.query("SELECT type FROM events WHERE order_id = ? AND type LIKE 'order.%'", order))
    assert all(count == 1 for kind, count in told.items() if kind != "order.attention"), where
    assert len(shop.query("SELECT id FROM jobs WHERE order_id = ?", order)) == (1 if complete else 0), where
    assert {entry["code"] for entry in view["attention"]} <= {"model_missing"}, where  # of a cube that was never to be sliced


def every_death(commits: int, calls: list[str]) -> list[Death]:
    """After each commit, and around each call. To die before a commit is to have died after the commit or the call before it; and a
    question changes nothing at Stripe, so that both its sides are the same."""
    plan = [Death(commit=1), *(Death(commit=number, after=True) for number in range(1, commits + 1))]
    for number, call in enumerate(calls, 1):
        plan += [Death(call=number, after=after) for after in ((False, True) if call.startswith("POST") else (True,))]
    return plan


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slicer] if LIVES[name][2] else []) for name in LIVES])
def test_no_death_loses_or_doubles_money(name, tmp_path, template, zygote, capsys):
    if LIVES[name][2] and shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")
    commits, calls, _ = live(name, Death(), tmp_path / "clean", template, zygote)
    plan = every_death(commits, calls)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda pair: live(name, pair[1], tmp_path / str(pair[0]), template, zygote), enumerate(plan)))
    died = sum(deaths for _, _, deaths in ends)
    with capsys.disabled():
        print(f"\n{name}: {commits} commits, {len(calls)} calls, {len(plan)} lives, {died} deaths")
    assert died >= 0.8 * len(plan), "most of the planned deaths must come about"
