"""Bad days of a farm owner, seen from outside: each names what the owner reads, and shows that the rest goes on."""

import socket
import subprocess
import time

import httpx
import pytest

from tests.daemon_process import FARMD, DaemonProcess, printer_block, wait_for
from tests.models import cube, stl
from tests.plain_http import NO_TLS
from tests.shop import ADDRESS, Shop

pytestmark = pytest.mark.slow


@pytest.fixture
def virtual(tmp_path):
    """One virtual OctoPrint in a process of its own, and its block of configuration."""
    file = tmp_path / "printers.toml"
    process = subprocess.Popen([FARMD, "virtual", "--octoprint", "1", "--speed", "60", "--write", file], stdout=subprocess.DEVNULL)
    wait_for(lambda: file.exists() and "[[printers]]" in file.read_text(), 20)
    yield file.read_text()
    process.terminate()
    process.wait(10)


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    DaemonProcess.end_all()


def paid(shop: Shop, **quantities: int) -> str:
    order = shop.order(**quantities)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    return order


def test_a_second_daemon_says_who_is_there_and_changes_nothing(tmp_path):
    farm = DaemonProcess(tmp_path, installed=True)
    farm.start()
    second = subprocess.run([FARMD, "run", "--config", farm.config], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "already runs on" in second.stderr
    assert "Traceback" not in second.stderr
    assert farm.http.get("/healthz").status_code == 200
    assert farm.stop() < 5


def test_a_taken_port_is_named(tmp_path):
    farm = DaemonProcess(tmp_path, installed=True)
    with socket.create_server(("127.0.0.1", farm.port)):
        done = subprocess.run([FARMD, "run", "--config", farm.config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{farm.port}" in done.stderr


def test_a_misspelt_key_is_refused_with_its_line(tmp_path):
    farm = DaemonProcess(tmp_path, more='[slicer]\ncomand = "prusa-slicer"\n', installed=True)
    done = subprocess.run([FARMD, "run", "--config", farm.config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "comand" in done.stderr
    assert "command" in done.stderr
    line = farm.config.read_text().splitlines().index('comand = "prusa-slicer"') + 1
    assert f":{line}" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("sqlite:///farmd.db", "postgresql+psycopg://127.0.0.1/farm", "farmd[postgresql]"),
    ],
)
def test_what_this_farmd_has_not_got_is_said_in_one_line(tmp_path, before, after, words):
    farm = DaemonProcess(tmp_path, installed=True)
    farm.config.write_text(farm.config.read_text().replace(before, after))
    done = subprocess.run([FARMD, "run", "--config", farm.config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_slicer_the_farm_runs_and_says_what_waits(tmp_path, virtual):
    farm = DaemonProcess(tmp_path, virtual, more='[slicer]\ncommand = "/nowhere/prusa-slicer"\n', installed=True)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.sell("cube", stl(cube(20)))
    order = paid(shop, cube=1)
    wait_for(lambda: any(entry["code"] == "no_slicer" for entry in shop.view(order)["attention"]), 20)
    job = shop.view(order)["jobs"][0]["id"]
    assert shop.ok("GET", f"/api/jobs/{job}")["waitsFor"]["code"] == "no_slicer"
    assert shop.view(order)["status"] == "processing"
    assert "slicer" in str(shop.ok("GET", f"/api/jobs/{job}/why"))
    assert farm.stop() < 5


def test_an_order_without_a_model_waits_for_it(tmp_path, virtual):
    farm = DaemonProcess(tmp_path, virtual, more='[slicer]\ncommand = "/nowhere/prusa-slicer"\n', installed=True)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    body = {"id": "cube", "name": "Cube", "unitPrice": 12.50, "material": "PLA", "color": "#1a1a1a"}
    shop.ok("POST", "/api/skus", body)
    order = paid(shop, cube=1)
    wait_for(lambda: [entry["code"] for entry in shop.view(order)["attention"]] == ["model_missing"], 20)
    shop.ok("PUT", "/api/skus/cube/model", content=stl(cube(20)))
    wait_for(lambda: [entry["code"] for entry in shop.view(order)["attention"]] == ["no_slicer"], 20)
    farm.kill()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('api_key = "', 'api_key = "wrong'), "key"),
        (("http://127.0.0.1:", "http://127.0.0.1:1"), ""),
        (("http://127.0.0.1:", "http://no-such-host.invalid:"), "no-such-host.invalid"),
    ],
)
def test_a_printer_that_cannot_be_reached_is_named_and_the_daemon_runs(tmp_path, virtual, change, words):
    block = virtual.replace(*change)
    if change[1].endswith(":1"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            dead = probe.getsockname()[1]
        block = "\n".join(f'url = "http://127.0.0.1:{dead}"' if line.startswith("url") else line for line in virtual.splitlines())
    farm = DaemonProcess(tmp_path, block, installed=True)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    printer = wait_for(lambda: next((p for p in shop.ok("GET", "/api/printers")["data"] if p["attention"]), None), 20)
    assert printer["phase"] == "offline"
    assert words in str(printer["attention"])
    assert "virtual-octoprint" not in str(printer), "a key must not be shown, not even a wrong one"
    doctor = farm.cli("doctor", "--config", str(farm.config))
    assert doctor.returncode == 1
    assert printer["id"] in doctor.stdout
    assert farm.stop() < 5


def test_sigterm_takes_less_than_five_seconds_with_a_hanging_printer(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        farm = DaemonProcess(
            tmp_path, printer_block("silent", f"http://127.0.0.1:{silent.getsockname()[1]}", "k" * 32), installed=True
        )
        farm.start()
        time.sleep(1)  # let it hang in a request
        assert farm.stop() < 5


def test_a_full_disk_is_said_and_nothing_is_half_done(tmp_path, virtual):
    """A quota stands in for the disk: the store's file may not grow any further."""
    farm = DaemonProcess(tmp_path, virtual, installed=True)
    key = farm.make_key("shop", "admin")
    process = ["/bin/sh", "-c", f"ulimit -f 400; exec {FARMD} run --config {farm.config}"]
    with farm.log.open("ab") as log:
        running = subprocess.Popen(process, stdout=log, stderr=log)
    with httpx.Client(base_url=farm.url, timeout=10, trust_env=False, headers={"X-API-Key": key}, verify=NO_TLS) as client:

        def up() -> bool:
            try:
                return client.get("/readyz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(up, 20)
        body = {"id": "cube", "name": "Cube", "unitPrice": 1, "material": "PLA", "color": "#1a1a1a"}
        assert client.post("/api/skus", json=body).status_code == 201
        order = {"customerId": "c", "lineItems": [{"skuId": "cube", "quantity": 1}], "shippingAddress": ADDRESS}
        placed = 0
        for _ in range(3000):
            answer = client.post("/api/orders", json=order)
            if answer.status_code != 201:
                break
            placed += 1
        assert answer.status_code == 503, answer.text
        assert "full, over its quota" in answer.json()["detail"]
        assert client.get("/api/orders").json()["total"] == placed
        assert client.get("/healthz").status_code == 200
    running.terminate()
    assert running.wait(10) == 0
