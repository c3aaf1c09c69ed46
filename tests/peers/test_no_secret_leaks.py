"""A farm lives through a bad day, and everything it says meanwhile is written down: every answer, every line of the log, every
output of a command, every webhook. Then no key and no secret may stand in any of it.

What gives a secret to its owner once, as it must (`farmd keys create`, POST /api/webhooks), is not written down.
"""

import json
import pprint
import signal
import sqlite3
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from farmd.config import PrinterSettings, Settings, StripeSettings
from tests.daemon_process import DaemonProcess, Receiver, wait_for
from tests.doubles.stripe_double import stripe_double
from tests.peers.contract_farm import running_farm
from tests.peers.paid_farm import HOOK, NO_SLICER, completed, paid_farm, payments, place, post, session, signed, until, view

pytestmark = pytest.mark.slow

LIVE = "sk_live_51EchoedInFull00000000000001"
OWN_HOOK = "whsec_OfTheEchoFarm0000000000000001"
PRINTER = "virtual-octoprint-01"
CHANNELS = ("answer", "log", "command", "webhook")


class Notebook:
    """What was said: (channel, where, words)."""

    def __init__(self):
        self.pages, self.secrets, self.orders = [], {}, []

    def note(self, channel, where, words):
        self.pages.append((channel, where, words))

    def ask(self, farm, method, path, body=None, role="admin", **more):
        answer = farm.ask(method, path, body, role, **more)
        self.note("answer", f"{method} {path}", f"{answer.status_code}\n{answer.headers}\n{answer.text}")
        return answer

    def cli(self, farm, *argv):
        done = farm.cli(*argv)
        self.note("command", " ".join(argv), done.stdout + done.stderr)
        return done

    def said(self, words, channel=None):
        return [where for kind, where, text in self.pages if words in text and channel in (None, kind)]


class EchoOfStripe:
    """Something in Stripe's place that refuses every key and repeats it in full, in every way such a thing could."""

    def __init__(self):
        echo = self
        self.repeated = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("content-length", "0")))
                key = self.headers["authorization"].removeprefix("Bearer ")
                words = f"Invalid API Key provided: {key}, '{key}', api_key={key}&v=1, key_{key}, ({key})"
                status, kind = 401, "application/json"
                body = json.dumps({"error": {"type": "invalid_request_error", "message": words}})
                if self.command == "POST":
                    status, kind, body = echo.turn(key, words, body)
                echo.repeated.append((self.command, status, key in body))
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self._turns = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def turn(self, key, words, refusal):
        """A 400 that is Stripe's last word, a page of some proxy's, then refusals of the key."""
        self._turns += 1
        if self._turns == 1:
            return 400, "application/json", json.dumps({"error": {"type": "invalid_request_error", "message": words}})
        if self._turns == 2:
            return 403, "text/html", f"<html>Forbidden: Authorization: Bearer {key}</html>"
        return 401, "application/json", refusal

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def without_table(farm, name):
    """A hand in the store: whatever needs this table breaks."""
    with sqlite3.connect(farm.daemon.folder / "farmd.db", timeout=10) as store:
        store.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
    try:
        yield
    finally:
        with sqlite3.connect(farm.daemon.folder / "farmd.db", timeout=10) as store:
            store.execute(f"ALTER TABLE {name}_away RENAME TO {name}")


def hang_up(farm, word):
    """SIGHUP, until the log has the word once more."""
    before = farm.daemon.log.read_text().count(word)
    farm.daemon._process.send_signal(signal.SIGHUP)
    wait_for(lambda: farm.daemon.log.read_text().count(word) > before, 20)


def look_at_everything(notes, farm, order):
    paths = ["/api/orders", "/api/jobs", "/api/printers", "/api/skus", "/api/webhooks", "/api/events", "/metrics", "/openapi.json",
             "/docs", "/", "/dashboard/live", "/readyz", "/healthz"]  # fmt: skip
    for path in [*paths, f"/api/orders/{order['id']}", f"/api/orders/{order['id']}/events", f"/api/orders/{order['id']}/refunds"]:
        assert notes.ask(farm, "GET", path).status_code == 200, path
    shown = (("orders", "show", order["id"], "--json"), ("orders", "show", order["id"]), ("orders", "list"))
    for argv in (*shown, ("printers", "list"), ("keys", "list"), ("webhooks", "list", "--json")):
        assert notes.cli(farm, *argv).returncode == 0, argv
    for argv in (("doctor",), ("doctor", "--json")):
        notes.cli(farm, *argv, "--config", str(farm.daemon.config))


def a_day(notes, farm, stripe):
    """Orders, money, forgers, reloads, crashes."""
    farm.sell("cube", None)
    receiver = Receiver()
    hook = farm.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["*"]})
    receiver.secret = notes.secrets["our webhook secret"] = hook["secret"]
    order = place(farm, "cube", 2)
    stripe.pay(session(stripe, order)["id"])
    until(farm, order, paymentStatus="paid")
    assert notes.ask(farm, "POST", f"/api/orders/{order['id']}/refunds", {"amount": 1.0, "reason": "scratched"}).is_success
    assert notes.ask(farm, "POST", f"/api/orders/{order['id']}/cancel", {"reason": "no"}).is_success
    wait_for(lambda: view(farm, order)["cancellation"]["refund"] == "succeeded", 20)
    body = completed(stripe, order)
    for header in (
        signed(body, "whsec_forged"),
        stripe.secret,
        signed(body, stripe.secret, age=9000),
        f"t=1,v1={stripe.secret}",
        None,
    ):
        answer = post(farm, body, header)
        assert answer.status_code == 400
        notes.note("answer", f"POST {HOOK}", answer.text)
    stripe.restrict("/v1/checkout")
    stuck = place(farm, "cube")
    assert stuck["checkoutUrl"] is None
    stripe.restrict()
    wrong = farm.keys["admin"][:-1] + ("a" if farm.keys["admin"][-1] != "a" else "b")
    for headers in ({"X-API-Key": wrong}, {"Authorization": f"Bearer {wrong}"}, {}):
        assert notes.ask(farm, "GET", "/api/orders", role=None, headers=headers).status_code == 401
    for value in (stripe.key, farm.keys["admin"], stripe.secret):
        assert notes.ask(farm, "POST", "/api/orders", {"customerId": {"a": value}, "lineItems": value, value: 1}).status_code == 422
        assert notes.ask(farm, "GET", "/api/orders", params={"status": "paid", "limit": value}).status_code == 422

    text = farm.daemon.config.read_text()
    hang_up(farm, "farmd.reloaded")
    for spoilt in (
        text.replace(f'"{stripe.key}"', f'"{stripe.key}'),
        text.replace(f'api_key = "{stripe.key}"', f'api_key = ["{stripe.key}"]'),
        text.replace(f'["{stripe.secret}"]', f'"{stripe.secret}"'),
        text.replace(f'"{PRINTER}"', f'["{PRINTER}"]'),
        text.replace(f'"{PRINTER}"', f'"{PRINTER}'),
    ):
        assert spoilt != text
        farm.daemon.config.write_text(spoilt)
        hang_up(farm, "farmd.reload_refused")
        assert notes.cli(farm, "doctor", "--config", str(farm.daemon.config)).returncode == 1
        assert notes.cli(farm, "run", "--config", str(farm.daemon.config)).returncode == 1
    farm.daemon.config.write_text(text)

    with without_table(farm, "webhooks"):
        assert notes.ask(farm, "POST", "/api/webhooks", {"url": receiver.url, "events": ["*"]}).status_code in (500, 503)
        assert notes.ask(farm, "PATCH", f"/api/webhooks/{hook['id']}", {"active": True}).status_code in (405, 500, 503)
    with without_table(farm, "api_keys"):
        assert notes.ask(farm, "GET", "/api/orders", headers={"X-API-Key": wrong}, role=None).status_code in (401, 500, 503)
        assert notes.cli(farm, "keys", "create", "another", "--role", "admin").returncode == 1
        assert notes.cli(farm, "keys", "list").returncode == 1
    look_at_everything(notes, farm, order)
    notes.orders.append(order["id"])
    wait_for(lambda: "order.cancelled" in receiver.types(order["id"]), 20)
    receiver.close()
    for event in receiver.received:
        notes.note("webhook", event["type"], json.dumps(event))


def a_day_with_the_echo(notes, farm, echo):
    """Whoever answers in Stripe's place repeats the key in full."""
    farm.sell("cube", None)
    refused = place(farm, "cube")
    detail = wait_for(lambda: view(farm, refused)["attention"], 20)[0]["detail"]
    assert "Invalid API Key provided: sk_live_***" in detail
    for status in (403, 401):
        place(farm, "cube")
        wait_for(lambda status=status: ("POST", status, True) in echo.repeated, 20)
    wait_for(lambda: "till.shut" in farm.daemon.log.read_text(), 20)
    look_at_everything(notes, farm, refused)
    notes.orders.append(refused["id"])


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """Two days, written down."""
    notebook, echo = Notebook(), EchoOfStripe()
    try:
        with stripe_double() as stripe:
            notebook.secrets |= {"Stripe key": stripe.key, "Stripe webhook secret": stripe.secret, "printer key": PRINTER}
            folder = tmp_path_factory.mktemp("farm")
            with paid_farm(folder, stripe, printers=1, roles=("admin", "customer"), mode="webhook", sweep_seconds=86_400) as farm:
                notebook.secrets |= {f"{role} key": key.rpartition("_")[2] for role, key in farm.keys.items()}
                a_day(notebook, farm, stripe)
            notebook.note("log", "farm", farm.daemon.log.read_text())
            sections = payments(stripe, OWN_HOOK, api_key=LIVE, api_base=echo.url)
        notebook.secrets |= {"live Stripe key": LIVE, "live webhook secret": OWN_HOOK}
        with running_farm(tmp_path_factory.mktemp("echo"), more=sections + NO_SLICER) as farm:
            notebook.secrets["key of the echo farm"] = farm.keys["admin"].rpartition("_")[2]
            a_day_with_the_echo(notebook, farm, echo)
        notebook.note("log", "echo", farm.daemon.log.read_text())
    finally:
        DaemonProcess.end_all()
        echo.close()
    assert {answered for _, _, answered in echo.repeated} == {True}
    return notebook


SECRETS = ["Stripe key", "Stripe webhook secret", "our webhook secret", "printer key", "admin key", "customer key",
           "live Stripe key", "live webhook secret", "key of the echo farm"]  # fmt: skip


def test_the_notebook_heard_everything(notes):
    """What a leak is looked for in, is not empty, and what it is looked for by, is long enough to be found by nothing else."""
    assert sorted(notes.secrets) == sorted(SECRETS)
    assert all(len(secret) >= len(PRINTER) for secret in notes.secrets.values())
    first, second = notes.orders
    for channel in CHANNELS:
        assert notes.said(first, channel), channel
    for channel in ("answer", "log", "command"):
        assert notes.said(second, channel), channel
    for word in ("farmd.reload_refused", "till.shut", "till.refused", "till.unavailable", "***"):
        assert notes.said(word, "log"), word
    assert notes.said("500\n", "answer") or notes.said("503\n", "answer")


@pytest.mark.parametrize("name", SECRETS)
def test_no_secret_was_said_anywhere(notes, name):
    assert notes.said(notes.secrets[name]) == []


@pytest.mark.parametrize("name", ["Stripe key", "live Stripe key"])
def test_not_even_most_of_a_stripe_key_was_said(notes, name):
    assert notes.said(notes.secrets[name][12:]) == []


def test_no_line_of_the_log_is_anything_but_json(notes):
    for _, where, words in [page for page in notes.pages if page[0] == "log"]:
        assert all(isinstance(json.loads(line), dict) for line in words.splitlines()), where


def test_settings_do_not_show_their_secrets():
    stripe = StripeSettings(LIVE, (OWN_HOOK,))
    printer = PrinterSettings("mk3-01", "octoprint", {"url": "http://127.0.0.1:1", "api_key": PRINTER})
    settings = Settings(Path("/farm"), payment_provider="stripe", stripe=stripe, printers=(printer,))
    for words in (
        repr(settings),
        str(settings),
        f"{settings}",
        pprint.pformat(settings),
        repr([settings.stripe, settings.printers]),
    ):
        assert "mk3-01" in words
        for secret in (LIVE, OWN_HOOK, PRINTER):
            assert secret not in words
