"""The daemon as init and an owner treat it: reloads good and broken, stops in the middle of everything, examinations, restarts."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import httpx
import pytest

from tests.daemon_process import FARMD, DaemonProcess, free_port, printer_block, wait_for
from tests.peers.contract_farm import running_farm
from tests.plain_http import NO_TLS

pytestmark = pytest.mark.slow

NO_SLICER = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'
needs_slicer = pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="PrusaSlicer is not installed; run make setup")


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with running_farm(tmp_path_factory.mktemp("farm"), printers=2, speed=50) as running:
        running.sell("small", 6)
        running.sell("large", 60)
        yield running


@pytest.fixture
def config(farm):
    """The configuration, as it was after the test."""
    text = farm.daemon.config.read_text()
    yield farm.daemon.config
    farm.daemon.config.write_text(text)
    hang_up(farm)
    wait_for(lambda: names(farm) == ["octoprint-01", "octoprint-02"], 20)


def process(farm):
    running = farm.daemon._process
    assert running is not None
    return running


def hang_up(farm):
    process(farm).send_signal(signal.SIGHUP)


def names(farm):
    return [printer["id"] for printer in farm.ok("GET", "/api/printers")["data"]]


def blocks(text):
    return ["[[printers]]" + block for block in text.split("[[printers]]")[1:]]


def log_after(farm, start):
    return farm.daemon.log.read_text()[start:]


# --- SIGHUP ---


def test_a_reload_adds_and_removes_printers(farm, config):
    text = config.read_text()
    config.write_text(text + printer_block("mk4-07", f"http://127.0.0.1:{free_port()}", "k" * 32))
    hang_up(farm)
    wait_for(lambda: names(farm) == ["octoprint-01", "octoprint-02", "mk4-07"], 20)
    assert farm.ask("GET", "/readyz").status_code == 200
    assert "mk4-07" in farm.cli("printers", "list").stdout
    config.write_text(text.replace(blocks(text)[1], ""))
    hang_up(farm)
    wait_for(lambda: names(farm) == ["octoprint-01"], 20)
    assert farm.ask("GET", "/api/printers/octoprint-02").status_code == 404
    assert farm.ask("POST", "/api/printers/mk4-07/clear-bed", {}).status_code == 404


@pytest.mark.parametrize(
    "broken",
    [
        "[[printers\n",
        '[[printers]]\nid = "x"\ndriver = "octoprint"\n',
        '[[printers]]\nid = "octoprint-01"\ndriver = "octoprint"\nurl = "http://127.0.0.1:1"\napi_key = "k"\n',
        '[[printers]]\nid = "x"\ndriver = "laser"\n',
        "[printing]\nfast = true\n",
        "\x00",
    ],
)
def test_a_broken_configuration_changes_nothing_and_is_said(farm, config, broken):
    start = len(farm.daemon.log.read_text())
    config.write_text(config.read_text() + broken)
    hang_up(farm)
    told = wait_for(
        lambda: [line for line in log_after(farm, start).splitlines() if '"level": "error"' in line or "refused" in line], 20
    )
    assert "Traceback" not in "".join(told)
    assert names(farm) == ["octoprint-01", "octoprint-02"]
    assert farm.ask("GET", "/readyz").status_code == 200


def test_a_configuration_that_is_gone_changes_nothing(farm, config):
    away = config.with_suffix(".away")
    config.rename(away)
    hang_up(farm)
    hang_up(farm)
    time.sleep(0.5)  # a reload that did something would have done it by now
    assert names(farm) == ["octoprint-01", "octoprint-02"]
    away.rename(config)


@pytest.mark.slicer
@needs_slicer
def test_a_reload_leaves_a_running_print_alone(farm, config):
    farm.ok("POST", "/api/printers/octoprint-02/disable", {})
    farm.ok("POST", "/api/printers/octoprint-01/clear-bed", {})
    order = farm.order("large", paid=True)
    attempt = wait_for(lambda: next((a for a in farm.job(order)["attempts"] if a["state"] == "PRINTING"), None), 30)
    config.write_text(config.read_text() + printer_block("mk4-08", f"http://127.0.0.1:{free_port()}", "k" * 32))
    hang_up(farm)
    wait_for(lambda: "mk4-08" in names(farm), 20)
    assert [(a["id"], a["state"]) for a in farm.job(order)["attempts"]] == [(attempt["id"], "PRINTING")]
    farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "end of the test"})
    wait_for(lambda: farm.ok("GET", f"/api/orders/{order}")["cancellation"]["printers"] == "stopped", 20)
    farm.ok("POST", "/api/printers/octoprint-02/enable", {})


# --- doctor ---


def doctor(farm):
    return farm.cli("doctor", "--config", str(farm.daemon.config))


@needs_slicer
def test_doctor_finds_a_sound_farm_sound(farm):
    done = doctor(farm)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("config", "store", "slicer", "octoprint-01", "octoprint-02"):
        assert word in done.stdout
    assert "virtual-octoprint" not in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[farm]", '[slicer]\ncommand = "/nowhere/prusa-slicer"\n[farm]', "/nowhere/prusa-slicer"),
        ('api_key = "virtual-octoprint-02"', 'api_key = "wrong"', "octoprint-02"),
        ("[farm]", "[fram]", "fram"),
        ('currency = "USD"', 'currency = "EURO"', "currency"),
        ('url = "sqlite:///farmd.db"', 'url = "sqlite:////dev/null/farmd.db"', "/dev/null"),
    ],
)
def test_doctor_names_what_is_ill(farm, tmp_path, old, new, named):
    text = farm.daemon.config.read_text()
    assert old in text
    ill = tmp_path / "ill.toml"
    ill.write_text(text.replace(old, new))
    done = farm.cli("doctor", "--config", str(ill))
    assert done.returncode == 1
    assert named in "".join((done.stdout + done.stderr).split("\n")).replace("  ", "")
    assert "Traceback" not in done.stdout + done.stderr


# --- stops and starts ---


@pytest.mark.slicer
@needs_slicer
def test_sigterm_with_open_streams_and_a_running_print_takes_less_than_five_seconds_and_the_print_goes_on(farm):
    farm.ok("POST", "/api/printers/octoprint-01/clear-bed", {})
    farm.ok("POST", "/api/printers/octoprint-02/disable", {})
    order = farm.order("large", paid=True)
    before = wait_for(lambda: next((a for a in farm.job(order)["attempts"] if a["state"] == "PRINTING"), None), 30)
    ended, opened = [], threading.Semaphore(0)

    def listen():
        key = {"X-API-Key": farm.keys["admin"]}
        stream = httpx.stream(
            "GET", f"{farm.daemon.url}/api/events/stream", headers=key, timeout=30, trust_env=False, verify=NO_TLS
        )
        with contextlib.suppress(httpx.TransportError), stream as answer:
            opened.release()
            for _ in answer.iter_bytes():
                pass
        ended.append(1)

    listeners = [threading.Thread(target=listen) for _ in range(5)]
    for listener in listeners:
        listener.start()
        assert opened.acquire(timeout=10)
    leaving = process(farm)
    assert farm.daemon.stop() < 5
    assert leaving.returncode == 0
    for listener in listeners:
        listener.join(5)
    assert len(ended) == 5
    farm.daemon.start()
    wait_for(lambda: farm.ok("GET", "/api/printers/octoprint-01")["phase"] == "printing", 20)
    assert [(a["id"], a["state"]) for a in farm.job(order)["attempts"]] == [(before["id"], "PRINTING")]
    farm.ok("POST", f"/api/orders/{order}/cancel", {"reason": "end of the test"})
    farm.ok("POST", "/api/printers/octoprint-02/enable", {})


def test_a_kill_forgets_nothing_that_was_answered(farm):
    placed = {farm.order("small") for _ in range(5)}
    headers = {"Idempotency-Key": "over a crash"}
    body = {"customerId": "c", "lineItems": [{"skuId": "small", "quantity": 1}]}
    first = farm.ask("POST", "/api/orders", body, headers=headers)
    farm.daemon.kill()
    farm.daemon.start()
    again = farm.ask("POST", "/api/orders", body, headers=headers)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert placed | {first.json()["id"]} <= {order["id"] for order in farm.ok("GET", "/api/orders?limit=100")["data"]}


def test_systemd_is_told_ready_alive_and_stopping(tmp_path):
    farm, address = DaemonProcess(tmp_path, more=NO_SLICER), tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox, farm.log.open("ab") as log:
        inbox.bind(str(address))
        inbox.settimeout(20)
        environment = os.environ | {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000"}
        heard = ""

        def hear(word):
            nonlocal heard
            while word not in heard:
                heard += inbox.recv(4096).decode() + "\n"

        with subprocess.Popen([FARMD, "run", "--config", farm.config], env=environment, stdout=log, stderr=log) as running:
            hear("READY=1")
            assert httpx.get(f"{farm.url}/readyz", trust_env=False, verify=NO_TLS).status_code == 200
            hear("WATCHDOG=1")
            running.send_signal(signal.SIGTERM)
            hear("STOPPING=1")
            assert running.wait(5) == 0
    assert "STATUS=" in heard


def test_every_line_of_the_log_is_json_without_a_key(farm):
    text = farm.daemon.log.read_text()
    for line in text.splitlines():
        json.loads(line)
    assert not any(key in text for key in (*farm.keys.values(), "virtual-octoprint-01"))
