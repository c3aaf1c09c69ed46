"""The nouns against a real daemon: `farmd run` in a process of its own, spoken to as a person would."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from farmd.cli import run
from tests.plain_http import NO_TLS

pytestmark = pytest.mark.slow  # processes of their own

CATALOG = Path(__file__).parents[2] / "config" / "catalog"
CUBE = "sku-pla-black-20mm-cube"
ADDRESS = ["--name", "Jane", "--line1", "Street", "--city", "Portland", "--state", "OR", "--zip", "97201", "--country", "US"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("farm")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    config = folder / "farmd.toml"
    printer = '[[printers]]\nid = "mk3-01"\ndriver = "octoprint"\nurl = "http://127.0.0.1:9"\napi_key = "k"\n'
    config.write_text(f'[server]\nport = {port}\n[slicer]\ncommand = "no-such-slicer"\n{printer}')
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARMD")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "farmd.cli", "run", "--config", str(config)], stdout=log, stderr=log, env=environment
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), process, folder / "log")
        yield url, config, process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (folder / "log").read_text()


def wait_until(condition, process, log, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def answers(url):
    try:
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False, verify=NO_TLS).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def admin_key(daemon):
    """Made while the daemon runs."""
    command = [sys.executable, "-m", "farmd.cli", "keys", "create", "tests", "--role", "admin", "--config", str(daemon[1])]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def farmd(daemon, admin_key, monkeypatch, capsys):
    monkeypatch.setenv("FARMD_URL", daemon[0])
    monkeypatch.setenv("FARMD_API_KEY", admin_key)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words, code=0):
        found = run(words)
        out, err = capsys.readouterr()
        assert found == code, out + err
        return out if code == 0 else err

    return call


@pytest.fixture
def sku(farmd):
    if CUBE not in farmd("skus", "list"):
        assert farmd("skus", "create", str(CATALOG / "cube.toml")) == f"{CUBE} is in the catalog\n"
    return CUBE


@pytest.fixture
def order(farmd, sku):
    return farmd("orders", "create", "--customer", "cust-1", "--item", f"{sku}=3", "--option", "infill=20", *ADDRESS).strip()


def test_an_order_placed_shown_paid_and_cancelled(farmd, order):
    assert order in farmd("orders", "list", "--status", "pending_payment")
    shown = farmd("orders", "show", order)
    assert "pending_payment" in shown
    assert "37.50" in shown
    assert '"subtotal":37.50' in farmd("orders", "show", order, "--json").replace(" ", "")
    assert farmd("orders", "pay", order, "--reference", "cash") == f"{order} is paid\n"
    assert "order.paid" in farmd("orders", "events", order)
    assert farmd("orders", "cancel", order, "--reason", "test").startswith(f"{order} is cancelled; printers: ")
    assert "cancelled" in farmd("orders", "list", "--customer", "cust-1")


def test_the_same_idempotency_key_places_one_order(farmd, sku, tmp_path):
    words = ["orders", "create", "--customer", "cust-2", "--item", f"{sku}=1", *ADDRESS, "--idempotency-key", "once"]
    assert farmd(*words) == farmd(*words)
    assert len(json.loads(farmd("orders", "list", "--customer", "cust-2", "--json"))["data"]) == 1


def test_refusals_are_the_daemons_own_words_in_one_line(farmd, sku, order):
    err = farmd("orders", "create", "--customer", "c", "--item", "nothing=0", *ADDRESS, code=1)
    assert "quantity" in err
    assert err.count("\n") == 1
    assert farmd("orders", "ship", order, "--carrier", "UPS", "--tracking", "1", code=1).count("\n") == 1
    assert "ord-nowhere" in farmd("orders", "show", "ord-nowhere", code=1)
    assert farmd("orders", "refund", order, "--reason", "r", "--amount", "1.00", code=1).count("\n") == 1


def test_jobs_of_a_paid_order(farmd, order):
    farmd("orders", "pay", order)
    [job] = json.loads(farmd("jobs", "list", "--order", order, "--json"))["data"]
    assert job["id"] in farmd("jobs", "list")
    assert job["skuId"] in farmd("jobs", "show", job["id"])
    assert farmd("jobs", "why", job["id"]).strip()
    assert farmd("jobs", "retry", job["id"], code=1).count("\n") == 1
    assert farmd("jobs", "post-process", job["id"], "--step", "inspect", "--good", "1", code=1).count("\n") == 1
    assert "CANCELLED" in farmd("jobs", "cancel", job["id"], "--reason", "test")


def test_printers(farmd):
    assert "mk3-01" in farmd("printers", "list")
    assert "offline" in farmd("printers", "show", "mk3-01")
    assert "bed clear" in farmd("printers", "clear-bed", "mk3-01")
    assert "disabled" in farmd("printers", "disable", "mk3-01")
    assert "disabled" not in farmd("printers", "enable", "mk3-01")
    assert farmd("printers", "load", "mk3-01", "--material", "PETG", "--color", "#ffffff") == "mk3-01 holds PETG #ffffff\n"
    for verb in ("pause", "resume", "cancel"):
        assert farmd("printers", verb, "mk3-01", code=1).count("\n") == 1
    assert "nowhere" in farmd("printers", "show", "nowhere", code=1)


def test_skus(farmd, sku, tmp_path):
    assert "12.5" in farmd("skus", "show", sku)
    assert "12 triangles" in farmd("skus", "model", sku, str(CATALOG / "cube-20mm.stl"))
    (tmp_path / "bad.stl").write_bytes(b"not a model")
    err = farmd("skus", "model", sku, str(tmp_path / "bad.stl"), code=1)
    assert err.count("\n") == 1
    assert "already" in farmd("skus", "create", str(CATALOG / "cube.toml"), code=1)
    words = ["--id", "sku-tag", "--name", "Tag", "--price", "4.5", "--material", "PLA", "--color", "#1a1a1a"]
    assert "give it a model" in farmd("skus", "create", *words, "--post-process", "inspect")


def test_webhooks(farmd):
    made = farmd("webhooks", "create", "http://127.0.0.1:9/hook", "--event", "order.paid").split()
    assert made[1].startswith("whsec_")
    assert made[0] in farmd("webhooks", "list")
    assert "on its way" in farmd("webhooks", "test", made[0])
    assert farmd("webhooks", "deliveries", made[0]).strip()
    assert "after 0" in farmd("webhooks", "replay", made[0], "--after", "0")
    assert farmd("webhooks", "delete", made[0]) == f"{made[0]} is deleted\n"
    assert "10.1.2.3" in farmd("webhooks", "create", "http://10.1.2.3/", code=1)


def test_a_wrong_key_is_named(farmd, monkeypatch):
    monkeypatch.setenv("FARMD_API_KEY", "fk_wrong_wrong")
    assert "the key was not accepted" in farmd("orders", "list", code=1)


def test_a_second_daemon_on_the_same_folder_says_so(daemon):
    finished = subprocess.run(
        [sys.executable, "-m", "farmd.cli", "run", "--config", str(daemon[1])],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 1
    assert f"another farmd (process {daemon[2].pid}) already runs" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_the_doctor_knows_a_running_farmd_and_names_what_fails(farmd, daemon):
    out = run_doctor(farmd, daemon[1])
    failed = {(finding["area"], finding["step"]) for finding in out if not finding["ok"]}
    assert failed == {("slicer", "version"), ("mk3-01", "connection")}
    [listen] = [finding for finding in out if finding["step"] == "listen"]
    assert "farmd runs at" in listen["detail"]


def run_doctor(farmd, config):
    finished = subprocess.run(
        [sys.executable, "-m", "farmd.cli", "doctor", "--json", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1, finished.stderr
    return json.loads(finished.stdout)["data"]
