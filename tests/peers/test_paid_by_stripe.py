"""The whole life of a paid order, from outside: the real daemon, the real slicer, virtual printers, and a Stripe on a socket.

Stripe's own record is the judge of the money, the printer itself of what prints.
"""

import shutil
import tomllib

import httpx
import pytest

from tests.daemon_process import DaemonProcess, Receiver, wait_for
from tests.doubles.stripe_double import stripe_double
from tests.peers.paid_farm import intent, paid_farm, place, session, told, until, view
from tests.plain_http import NO_TLS
from tests.shop import Shop

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slicer,
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup"),
]

DAY = 86_400
QUIET = {"sweep_seconds": 86_400}  # whatever is found out is found out by a message


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_running():
    yield
    DaemonProcess.end_all()


@pytest.fixture(scope="module")
def stripe():
    with stripe_double(seed=1) as double:
        yield double


@pytest.fixture(scope="module")
def farm(tmp_path_factory, stripe):
    with paid_farm(tmp_path_factory.mktemp("farm"), stripe, printers=2, more="", mode="both", **QUIET) as running:
        running.sell("small", 6)
        running.sell("large", 60)
        running.sell("cube", None)
        yield running


def machines(farm):
    """What the virtual printers themselves say they do."""
    blocks = tomllib.loads(farm.printers.file.read_text())["printers"]
    return [
        httpx.get(f"{block['url']}/api/job", headers={"X-Api-Key": block["api_key"]}, trust_env=False, verify=NO_TLS).json()[
            "state"
        ]
        for block in blocks
    ]


def pay(farm, stripe, order):
    """The buyer opens the address in the 201 and pays; the farm finds out."""
    assert order["status"] == "pending_payment"
    assert order["checkoutUrl"] == session(stripe, order)["url"]
    stripe.pay(session(stripe, order)["id"])
    return until(farm, order, paymentStatus="paid")


def test_an_order_is_paid_printed_cancelled_while_it_prints_and_given_back(farm, stripe):
    shop, receiver = Shop(farm.daemon, farm.keys["admin"]), Receiver()
    receiver.secret = farm.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["order.*"]})["secret"]
    order = place(farm, "large")
    assert (session(stripe, order)["amount_total"], session(stripe, order)["currency"]) == (round(order["total"] * 100), "usd")
    paid = pay(farm, stripe, order)
    assert (paid["captured"], paid["checkoutUrl"], len(paid["jobs"])) == (order["total"], None, 1)
    shop.until(order["id"], "printing", 60)
    wait_for(lambda: sorted(machines(farm)) == ["Operational", "Printing"], 20)
    cancelled = farm.ok("POST", f"/api/orders/{order['id']}/cancel", {"reason": "changed their mind"})
    assert cancelled["status"] == "cancelled"
    wait_for(
        lambda: (
            (view(farm, order)["cancellation"]["printers"], view(farm, order)["cancellation"]["refund"]) == ("stopped", "succeeded")
        )
    )
    assert machines(farm) == ["Operational", "Operational"]
    wait_for(lambda: {(each["phase"], each["attempt"]) for each in farm.ok("GET", "/api/printers")["data"]} == {("idle", None)}, 20)
    steps = ["created", "paid", "processing", "printing", "cancelled"]
    assert told(farm, order) == [f"order.{step}" for step in steps]
    wait_for(lambda: "order.cancelled" in receiver.types(order["id"]), 20)
    assert receiver.types(order["id"]).count("order.cancelled") == 1
    receiver.close()
    assert (
        farm.ok("POST", f"/api/orders/{order['id']}/cancel", {"reason": "again"})["cancellation"]["reason"] == "changed their mind"
    )
    assert_given_back_once(farm, stripe, order)


def test_an_order_is_paid_printed_and_shipped_and_its_money_stays(farm, stripe):
    shop = Shop(farm.daemon, farm.keys["admin"])
    order = place(farm, "small", 2)
    pay(farm, stripe, order)
    shop.until(order["id"], "ready", 60)
    shipped = farm.ok("POST", f"/api/orders/{order['id']}/ship", {"carrier": "UPS", "trackingNumber": "1Z999"})
    assert (shipped["status"], shipped["paymentStatus"], shipped["refunded"]) == ("shipped", "paid", 0)
    timeline = told(farm, order)
    steps = ["created", "paid", "processing", "printing", "ready", "shipped"]
    assert [step for step in timeline if step != "order.post_processing"] == [f"order.{step}" for step in steps]
    assert [session(stripe, order)["status"], session(stripe, order)["payment_status"]] == ["complete", "paid"]
    payment = intent(stripe, order)
    assert (stripe.captured(payment), stripe.refunded(payment)) == (round(order["total"] * 100), 0)


# --- the money alone, in every weather ---


def assert_given_back_once(farm, stripe, order):
    """One session paid, one refund of all of it, each said once."""
    payment, total = intent(stripe, order), round(order["total"] * 100)
    assert (session(stripe, order)["status"], session(stripe, order)["payment_status"]) == ("complete", "paid")
    assert [refund["amount"] for refund in stripe.refunds.values() if refund["payment_intent"] == payment] == [total]
    assert stripe.captured(payment) == stripe.refunded(payment) == total
    shown = view(farm, order)
    assert (shown["status"], shown["paymentStatus"], shown["attention"]) == ("cancelled", "refunded", [])
    assert shown["captured"] == shown["refunded"] == order["total"]
    words = told(farm, order)
    assert [words.count(f"order.{word}") for word in ("created", "paid", "cancelled")] == [1, 1, 1]


def give_back(farm, order):
    farm.ok("POST", f"/api/orders/{order['id']}/cancel", {"reason": "changed their mind"})
    return wait_for(lambda: view(farm, order)["cancellation"]["refund"] == "succeeded", 20)


@pytest.fixture
def webhooks(farm, stripe):
    """The messages, for a test to spoil; in order again after it."""
    yield stripe.webhooks
    stripe.webhooks.deliver()
    wait_for(lambda: stripe.webhooks.idle, 20)


def every_message_was_dealt_with(farm, stripe):
    """All were taken; and as messages are dealt with in the order they came, one more order that is paid by one proves the rest."""
    wait_for(lambda: stripe.webhooks.idle, 20)
    assert {sent.status for sent in stripe.webhooks.sent} == {200}
    pay(farm, stripe, place(farm, "cube"))


def test_messages_that_come_three_times_pay_and_give_back_once(farm, stripe, webhooks):
    webhooks.duplicate(3)
    order = place(farm, "cube")
    pay(farm, stripe, order)
    give_back(farm, order)
    every_message_was_dealt_with(farm, stripe)
    payment = intent(stripe, order)
    mine = [
        key
        for key, each in stripe.events.items()
        if payment in (each["data"]["object"].get("payment_intent"), each["data"]["object"]["id"])
    ]
    assert len(mine) > 3
    assert {[sent.event for sent in webhooks.sent].count(event) for event in mine} == {3}
    assert_given_back_once(farm, stripe, order)


def test_messages_that_come_backwards_pay_and_give_back_once(farm, stripe, webhooks):
    webhooks.hold()
    order = place(farm, "cube")
    stripe.pay(session(stripe, order)["id"])
    assert view(farm, order)["status"] == "pending_payment"
    held = webhooks.waiting
    assert held.index("checkout.session.completed") > 0
    begin = len(webhooks.sent)
    webhooks.release("reverse")
    until(farm, order, paymentStatus="paid")
    wait_for(lambda: webhooks.idle, 20)
    assert [sent.type for sent in webhooks.sent[begin:]] == held[::-1]
    webhooks.hold()
    give_back(farm, order)
    webhooks.release("reverse")
    every_message_was_dealt_with(farm, stripe)
    assert_given_back_once(farm, stripe, order)


def test_a_farm_that_no_message_reaches_asks_pays_and_gives_back_once(tmp_path):
    with stripe_double(seed=2) as stripe, paid_farm(tmp_path, stripe, mode="poll", sweep_seconds=5) as farm:
        farm.sell("cube", None)
        stripe.webhooks.drop()
        order, unpaid = place(farm, "cube"), place(farm, "cube")
        pay(farm, stripe, order)
        give_back(farm, order)
        later = place(farm, "cube")
        pay(farm, stripe, later)  # by the next round, so that this one is over
        assert_given_back_once(farm, stripe, order)
        assert view(farm, unpaid)["status"] == "pending_payment"
        assert stripe.webhooks.sent == []


def test_messages_three_days_late_pay_and_give_back_once_and_a_clock_that_is_wrong_is_told(tmp_path):
    """Only Stripe's clock moves. So its messages are signed by the farm's clock; and that one is days behind when all is over: what
    the farm asks for then would end in Stripe's past."""
    with stripe_double(seed=3) as stripe, paid_farm(tmp_path, stripe, mode="webhook", **QUIET) as farm:
        farm.sell("cube", None)
        stripe.webhooks.delay(3 * DAY)
        order, unpaid = place(farm, "cube"), place(farm, "cube")
        stripe.pay(session(stripe, order)["id"])
        assert view(farm, order)["status"] == "pending_payment"
        stripe.forward(3 * DAY + 1)
        until(farm, order, paymentStatus="paid")
        give_back(farm, order)
        stripe.forward(3 * DAY + 1)
        wait_for(lambda: stripe.webhooks.idle, 20)
        assert {sent.status for sent in stripe.webhooks.sent} == {200}
        assert "charge.refunded" in {sent.type for sent in stripe.webhooks.sent}
        until(farm, unpaid, checkoutUrl=None)  # told by the last message: its checkout ended two days ago
        assert_given_back_once(farm, stripe, order)
        late = place(farm, "cube")
        shown = wait_for(lambda: (found := view(farm, late))["attention"] and found, 20)
        assert (shown["status"], shown["checkoutUrl"]) == ("pending_payment", None)
        assert [entry["code"] for entry in shown["attention"]] == ["checkout_failed"]
        assert "expires_at" in shown["attention"][0]["detail"]
        assert "farmd doctor" in shown["attention"][0]["detail"]
        doctor = farm.cli("doctor", "--config", str(farm.daemon.config), "--json")
        assert doctor.returncode == 1
        assert f"{6 * DAY + 2} s behind" in doctor.stdout or f"{6 * DAY + 1} s behind" in doctor.stdout
