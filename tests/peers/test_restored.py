"""The worst days of a farm owner, seen from outside: what farmd says, what the owner does next, and what is true afterwards."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from farmd.backups.take import back_up
from tests.daemon_process import FARMD, DaemonProcess, Receiver, wait_for
from tests.kept_farm import add_model, kept_settings, open_kept
from tests.models import cube, stl
from tests.shop import ADDRESS, Shop

pytestmark = [pytest.mark.slow, pytest.mark.slicer]
NO_SLICER = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'


@pytest.fixture(scope="module", autouse=True)
def _slicer():
    if shutil.which("prusa-slicer") is None:
        pytest.skip("PrusaSlicer is not installed; run make setup")


@pytest.fixture(autouse=True)
def _nothing_left_running():
    yield
    DaemonProcess.end_all()


@pytest.fixture
def virtual(tmp_path):
    """One virtual OctoPrint in a process of its own, and its block of configuration."""
    file = tmp_path / "printers.toml"
    process = subprocess.Popen([FARMD, "virtual", "--octoprint", "1", "--speed", "100", "--write", file], stdout=subprocess.DEVNULL)
    wait_for(lambda: file.exists() and "[[printers]]" in file.read_text(), 20)
    yield file.read_text()
    process.terminate()
    process.wait(10)


def lose(folder: Path) -> None:
    """The disk is gone; the configuration was written down."""
    for path in folder.glob("farmd.db*"):
        path.unlink()
    shutil.rmtree(folder / "files")


def paid(shop: Shop, **quantities: int) -> str:
    order = shop.order(**quantities)
    shop.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
    return order


def integrity(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "farmd.db")) as store:
        return str(store.execute("PRAGMA integrity_check").fetchone()[0])


def says(farm: DaemonProcess, *words: str) -> str:
    """The daemon does not start and says why, in one line, without a traceback."""
    done = farm.cli("run", "--config", str(farm.config))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("farmd: ")]
    for word in words:
        assert word in line
    return line


def test_the_whole_bad_day(tmp_path, virtual):
    """A backup in mid-print, an hour more of life, the disk dies; then the restore, as the README tells it."""
    farm = DaemonProcess(tmp_path, virtual)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    receiver = Receiver()
    farm.start()
    hook = shop.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["*"]})
    receiver.secret = hook["secret"]
    shop.sell("cube", stl(cube(20)))
    (printer,) = (each["id"] for each in shop.ok("GET", "/api/printers")["data"])
    running = paid(shop, cube=1)
    shop.until(running, "printing")
    waiting = paid(shop, cube=1)
    wait_for(lambda: shop.view(waiting)["jobs"][0]["state"] == "QUEUED")

    done = farm.cli("backup", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 0, done.stderr
    assert "1 models, 1 sliced plates" in done.stdout

    shop.until(running, "ready")
    lost = paid(shop, cube=2)
    shop.ok("POST", f"/api/orders/{lost}/cancel", {"reason": "in the lost time"})
    wait_for(lambda: "order.cancelled" in receiver.types(lost))
    last = max(event["data"]["sequence"] for event in receiver.received)
    told = list(receiver.ids)
    farm.kill()
    lose(tmp_path)

    done = farm.cli("restore", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 0, done.stderr
    assert "Start farmd" in done.stdout
    assert "clear-bed" in done.stdout
    farm.start()
    assert farm.call("GET", f"/api/orders/{lost}", shop.key).status_code == 404
    wait_for(lambda: shop.view(running)["status"] == "ready")
    assert [attempt["state"] for attempt in shop.attempts(running)] == ["SUCCEEDED"]
    view = shop.ok("GET", f"/api/printers/{printer}")
    assert view["bed"] != "clear"
    assert shop.attempts(waiting) == [], "nothing is started on a bed nobody looked at"
    fresh = wait_for(lambda: [event for event in receiver.received if event["data"]["sequence"] > last])
    assert fresh[0]["type"] == "farm.restored"
    assert len(set(receiver.ids)) == len(receiver.ids) > len(told)
    assert receiver.refused == []
    wait_for(lambda: farm.call("POST", f"/api/printers/{printer}/clear-bed", shop.key, {}).status_code == 200)
    shop.until(waiting, "ready")
    assert len(shop.attempts(waiting)) == 1
    receiver.close()


def test_a_power_cut_at_any_moment_leaves_a_farm_that_starts(tmp_path):
    """The machine stops dead: what stands on the disk is what was synced, and perhaps the torn beginning of a write. Twenty times
    between orders; every copy is whole and has every order that was confirmed before it was taken."""
    farm = DaemonProcess(tmp_path, more=NO_SLICER)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.ok("POST", "/api/skus", {"id": "cube", "name": "Cube", "unitPrice": 1, "material": "PLA", "color": "#1a1a1a"})
    placed, chance = [], random.Random(7)
    for cut in range(20):
        placed += [shop.order(cube=1) for _ in range(chance.randrange(1, 6))]
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        for ending in ("-wal", ""):  # nobody writes in this moment; -shm is memory, and gone with the power
            shutil.copy(tmp_path / f"farmd.db{ending}", copy / f"farmd.db{ending}")
        if chance.random() < 0.5:  # the last write to the log was torn
            with (copy / "farmd.db-wal").open("ab") as log:
                log.write(os.urandom(chance.randrange(1, 5000)))
        assert integrity(copy) == "ok"
        with closing(sqlite3.connect(copy / "farmd.db")) as store:
            assert {order for (order,) in store.execute("SELECT id FROM orders")} == set(placed)
    farm.kill()
    for path in tmp_path.glob("farmd.db-*"):
        path.unlink()
    for name in ("farmd.db", "farmd.db-wal"):
        if (copy / name).exists():
            shutil.copy(copy / name, tmp_path / name)
    farm.start()
    assert shop.ok("GET", "/api/orders")["total"] == len(placed)


def test_a_damaged_store_is_not_worked_on_and_the_way_back_is_named(tmp_path):
    farm = DaemonProcess(tmp_path, more=NO_SLICER + "[backup]\nevery_hours = 0\n")
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.sell("cube", stl(cube(20)))
    order = shop.order(cube=1)
    (tmp_path / "backups").mkdir()
    kept = tmp_path / "backups" / "farmd-20261126T120000Z.tar.gz"
    assert farm.cli("backup", str(kept)).returncode == 0
    farm.stop()
    content = bytearray((tmp_path / "farmd.db").read_bytes())
    for page in range(2, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 64] = os.urandom(64)
    (tmp_path / "farmd.db").write_bytes(content)

    line = says(farm, "damaged", f"farmd restore {kept}")
    assert (tmp_path / "farmd.db").read_bytes() == content, "what may be saved by somebody else stays as it is"
    refusal = farm.cli("restore", line.rpartition("farmd restore ")[2])
    assert refusal.returncode == 1
    command = refusal.stderr.partition("(")[2].partition(")")[0]
    assert command.startswith(f"mkdir {tmp_path}")
    subprocess.run(["/bin/sh", "-c", command], check=True)
    assert farm.cli("restore", str(kept)).returncode == 0
    farm.start()
    assert shop.view(order)["status"] == "pending_payment"


def test_a_backup_is_made_by_itself_and_a_failure_reaches_its_owner(tmp_path):
    farm = DaemonProcess(tmp_path, more=NO_SLICER + '[backup]\nfolder = "kept"\n')
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    wait_for(lambda: farm.http.get("/readyz").json()["backup"]["lastSuccess"], 20)
    (file,) = (tmp_path / "kept").iterdir()
    assert oct(file.stat().st_mode)[-4:] == "0600"
    assert farm.cli("doctor", "--json").stdout.count('"backup"') == 2
    farm.stop()
    shutil.rmtree(tmp_path / "kept")
    (tmp_path / "kept").write_text("in the way")
    farm.start()
    wait_for(lambda: farm.http.get("/readyz").json()["backup"]["failure"], 20)
    assert "farmd_backup_failures_total 1.0" in farm.http.get("/metrics").text
    assert "backup.failed" in farm.log.read_text()
    assert shop.ok("GET", "/api/orders")["total"] == 0
    assert farm.stop() < 5


def test_a_store_that_is_gone_is_not_begun_anew(tmp_path):
    farm = DaemonProcess(tmp_path, more=NO_SLICER)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.sell("cube", stl(cube(20)))
    assert farm.cli("backup", str(tmp_path / "kept.tar.gz")).returncode == 0
    farm.stop()
    for path in tmp_path.glob("farmd.db*"):
        if path.name != "farmd.db.made":
            path.unlink()
    says(farm, "gone", "a farm was here", "farmd restore", "farmd.db.made")
    keys = farm.cli("keys", "list")
    assert keys.returncode == 1
    assert "a farm was here" in keys.stderr
    assert not (tmp_path / "farmd.db").exists()
    done = farm.cli("restore", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 0, "the models that are still there are no hindrance"
    farm.start()
    assert shop.ok("GET", "/api/skus/cube")["id"] == "cube"


def test_a_restore_beside_a_running_daemon_is_refused(tmp_path):
    farm = DaemonProcess(tmp_path, more=NO_SLICER)
    farm.start()
    assert farm.cli("backup", str(tmp_path / "kept.tar.gz")).returncode == 0
    done = farm.cli("restore", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 1
    assert "already runs on" in done.stderr
    assert "stop it first" in done.stderr
    assert farm.http.get("/readyz").status_code == 200


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "farm", place], capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk here")
    yield place
    DaemonProcess.end_all()
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_refuses_orders_lets_prints_go_on_and_heals_by_itself(small_disk, virtual):
    farm = DaemonProcess(small_disk, virtual)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    farm.start()
    shop.sell("cube", stl(cube(20)))
    order = paid(shop, cube=1)
    shop.until(order, "printing")
    printer = shop.ok("GET", "/api/printers")["data"][0]["id"]
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass
    body = {"customerId": "c", "lineItems": [{"skuId": "cube", "quantity": 1}], "shippingAddress": ADDRESS}

    def refused() -> httpx.Response | None:
        answer = farm.call("POST", "/api/orders", shop.key, body)
        return None if answer.status_code == 201 else answer

    answer = wait_for(refused)  # the log of the database has some room left at first
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert "free some space" in answer.json()["detail"]
    assert farm.http.get("/readyz").status_code == 503
    assert farm.http.get("/healthz").status_code == 200
    before = shop.ok("GET", "/api/orders")["total"]
    seen = shop.ok("GET", f"/api/printers/{printer}")
    wait_for(lambda: shop.ok("GET", f"/api/printers/{printer}")["phase"] == "finished", 120)
    assert seen["phase"] in ("printing", "finished")
    assert farm.cli("backup", str(small_disk / "b.tar.gz")).returncode == 1
    assert not (small_disk / "b.tar.gz").exists()

    ballast.unlink()
    wait_for(lambda: farm.http.get("/readyz").status_code == 200, 30)
    wait_for(lambda: shop.view(order)["status"] == "ready", 60)
    assert [attempt["state"] for attempt in shop.attempts(order)] == ["SUCCEEDED"]
    assert farm.call("POST", "/api/orders", shop.key, body).status_code == 201
    assert shop.ok("GET", "/api/orders")["total"] == before + 1
    farm.stop()
    assert integrity(small_disk) == "ok"


def test_a_restore_that_does_not_fit_leaves_nothing_behind(small_disk, tmp_path):
    """The backup of a large farm on a small disk: named, and the place as it was."""
    (tmp_path / "large").mkdir()
    large = kept_settings(tmp_path / "large")

    async def fill_it() -> None:
        store = await open_kept(large)
        await store.write(lambda tx: add_model(tx, large.files, os.urandom(20_000_000)))
        await store.close()

    asyncio.run(fill_it())
    back_up(large, tmp_path / "kept.tar.gz", datetime.now(UTC))
    farm = DaemonProcess(small_disk, more=NO_SLICER)
    before = shutil.disk_usage(small_disk).used
    done = farm.cli("restore", str(tmp_path / "kept.tar.gz"))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "nothing was put in place" in done.stderr
    assert not (small_disk / "farmd.db").exists()
    assert shutil.disk_usage(small_disk).used - before < 100_000
    farm.start()


def test_a_data_directory_that_is_read_only_is_named(small_disk):
    farm = DaemonProcess(small_disk, more=NO_SLICER)
    farm.make_key("shop", "admin")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    try:
        done = subprocess.run([FARMD, "run", "--config", farm.config], capture_output=True, text=True, timeout=60, check=False)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert str(small_disk) in done.stderr
    assert "ead-only file system" in done.stderr
    farm.start()


def test_a_daemon_that_stood_still_doubles_nothing(tmp_path, virtual):
    """Stopped in mid-print for longer than its watchdog waits, while the print ends; then it goes on as if nothing had been."""
    farm = DaemonProcess(tmp_path, virtual)
    shop = Shop(farm, farm.make_key("shop", "admin"))
    receiver = Receiver()
    farm.start()
    receiver.secret = shop.ok("POST", "/api/webhooks", {"url": receiver.url, "events": ["order.*"]})["secret"]
    shop.sell("cube", stl(cube(20)))
    first, second = paid(shop, cube=1), paid(shop, cube=1)
    shop.until(first, "printing")
    url = next(line.split('"')[1] for line in virtual.splitlines() if line.startswith("url"))
    key = next(line.split('"')[1] for line in virtual.splitlines() if line.startswith("api_key"))
    assert farm.pid is not None
    os.kill(farm.pid, signal.SIGSTOP)
    stopped = time.monotonic()
    with httpx.Client(base_url=url, headers={"X-Api-Key": key}, trust_env=False, timeout=10) as octoprint:
        wait_for(lambda: octoprint.get("/api/printer").json()["state"]["text"] == "Operational", 120)
    wait_for(lambda: time.monotonic() - stopped > 35)
    os.kill(farm.pid, signal.SIGCONT)
    shop.until(first, "ready")
    shop.until(second, "ready")
    for order in (first, second):
        assert [attempt["state"] for attempt in shop.attempts(order)] == ["SUCCEEDED"]
        wait_for(lambda order=order: receiver.types(order)[-1] == "order.ready")
        assert len(receiver.types(order)) == len(set(receiver.types(order)))
    receiver.close()
