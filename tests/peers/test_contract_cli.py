"""The command line against a running daemon: what it prints, what it exits with, and one line instead of a traceback."""

import json
import socket
import subprocess
import tomllib

import pytest

from tests import forked
from tests.daemon_process import FARMD, free_port
from tests.models import cube, stl
from tests.peers.contract_farm import CUBE, CUSTOMER, running_farm

pytestmark = pytest.mark.slow

NOUNS = {
    "orders": ["list", "show", "create", "pay", "cancel", "ship", "refund", "events"],
    "jobs": ["list", "show", "why", "retry", "cancel", "post-process"],
    "printers": ["list", "show", "clear-bed", "pause", "resume", "cancel", "enable", "disable", "load"],
    "skus": ["list", "show", "create", "model"],
    "webhooks": ["list", "show", "create", "delete", "test", "deliveries", "replay"],
    "keys": ["create", "list", "revoke"],
}
LONE = ["run", "demo", "doctor", "virtual"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    more = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'
    with running_farm(tmp_path_factory.mktemp("farm"), printers=1, more=more, roles=("admin", "customer")) as running:
        running.ok("POST", "/api/skus", CUBE)
        yield running


def fine(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def complains(done, *words, code=None):
    """Exit code not 0, and one line on stderr that says these words."""
    assert done.returncode != 0
    if code is not None:
        assert done.returncode == code
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    "command", [*([lone] for lone in LONE), *([noun, verbs[-1]] for noun, verbs in NOUNS.items())], ids=" ".join
)
def test_a_command_has_help_with_an_example(command):
    done = forked.run([*command, "--help"])
    assert f"Example: farmd {' '.join(command)}" in fine(done)


@pytest.mark.parametrize("noun", NOUNS)
def test_a_noun_lists_its_verbs(noun):
    page = fine(forked.run([noun, "--help"]))
    assert {line.split()[0] for line in page.partition("Commands:")[2].splitlines() if line.strip()} >= set(NOUNS[noun])


def test_an_order_through_the_command_line(farm):
    order = fine(farm.cli("orders", "create", "--customer", CUSTOMER, "--item", f"{CUBE['id']}=3", "--option", "infill=20",
                          "--name", "Jane Smith", "--line1", "123 Main St", "--city", "Portland", "--state", "OR",
                          "--zip", "97201", "--country", "US")).strip()  # fmt: skip
    assert farm.ok("GET", f"/api/orders/{order}")["total"] == 49.26
    assert order in fine(farm.cli("orders", "list"))
    assert "49.26" in fine(farm.cli("orders", "show", order))
    shown = json.loads(fine(farm.cli("orders", "show", order, "--json")))
    assert shown == farm.ok("GET", f"/api/orders/{order}")
    assert json.loads(fine(farm.cli("orders", "pay", order, "--reference", "till", "--json")))["status"] == "paid"
    assert "order.paid" in fine(farm.cli("orders", "events", order))
    refund = json.loads(fine(farm.cli("orders", "refund", order, "--amount", "9.26", "--reason", "scratched", "--json")))
    assert refund["amount"] == 9.26
    assert "succeeded" in fine(farm.cli("orders", "refund", order, "--amount", "1", "--reason", "scratched"))
    complains(farm.cli("orders", "ship", order, "--carrier", "UPS", "--tracking", "1"), "ready", code=1)
    assert "cancelled" in fine(farm.cli("orders", "cancel", order, "--reason", "enough"))


def test_a_repeated_create_places_one_order(farm):
    argv = ("orders", "create", "--customer", CUSTOMER, "--item", f"{CUBE['id']}=1", "--idempotency-key", "cart-9")
    assert fine(farm.cli(*argv)) == fine(farm.cli(*argv))


def test_every_list_and_show_speaks_json(farm, tmp_path):
    order = farm.order(CUBE["id"], paid=True)
    job, hook = farm.job(order)["id"], farm.ok("POST", "/api/webhooks", {"url": "http://127.0.0.1:9/", "events": ["*"]})["id"]
    for noun in NOUNS:
        assert isinstance(json.loads(fine(farm.cli(noun, "list", "--json")))["data"], list), noun
    for noun, name in (("orders", order), ("jobs", job), ("printers", "octoprint-01"), ("skus", CUBE["id"]), ("webhooks", hook)):
        assert (
            json.loads(fine(farm.cli(noun, "show", name, "--json"))) == farm.ok("GET", f"/api/{noun}/{name}") or noun == "printers"
        )
        assert name in fine(farm.cli(noun, "show", name))
    assert "printers" in json.loads(fine(farm.cli("jobs", "why", job, "--json")))
    assert fine(farm.cli("jobs", "why", job))
    assert json.loads(fine(farm.cli("webhooks", "deliveries", hook, "--json")))["data"] is not None
    assert json.loads(fine(farm.cli("orders", "events", order, "--json")))["data"]


def test_printers_are_worked_by_hand(farm):
    name = "octoprint-01"
    assert "bed clear" in fine(farm.cli("printers", "clear-bed", name))
    assert "disabled" in fine(farm.cli("printers", "disable", name))
    assert "disabled" not in fine(farm.cli("printers", "enable", name))
    assert "PETG" in fine(farm.cli("printers", "load", name, "--material", "PETG", "--color", "#ff0000"))
    complains(farm.cli("printers", "pause", name), code=1)
    complains(farm.cli("printers", "load", name), "--material")


def test_a_sku_with_its_model_and_a_webhook(farm, tmp_path):
    model = tmp_path / "cube.stl"
    model.write_bytes(stl(cube(10)))
    argv = ("--id", "cli-cube", "--name", "Cube", "--price", "12.50", "--material", "PLA", "--color", "#1a1a1a")
    assert "cli-cube" in fine(farm.cli("skus", "create", *argv, "--model", str(model)))
    assert farm.ok("GET", "/api/skus/cli-cube")["model"]["triangles"] == 12
    model.write_bytes(b"<html>")
    complains(farm.cli("skus", "model", "cli-cube", str(model)), "web page", code=1)
    complains(farm.cli("skus", "model", "cli-cube", str(tmp_path / "none.stl")), "none.stl")
    made = fine(farm.cli("webhooks", "create", "http://127.0.0.1:9/cli", "--event", "order.paid"))
    assert "whsec_" in made
    hook = made.split()[0]
    fine(farm.cli("webhooks", "test", hook))
    fine(farm.cli("webhooks", "replay", hook, "--after", "0"))
    fine(farm.cli("webhooks", "delete", hook))
    complains(farm.cli("webhooks", "create", "http://127.0.0.1:9/cli", "--event", "order.payed"), "order.paid")


# --- complaints ---


def test_a_daemon_that_is_away_is_named_with_the_cure(farm):
    url = f"http://127.0.0.1:{free_port()}"
    complains(farm.cli("orders", "list", FARMD_URL=url), url, "farmd run", code=1)


@pytest.mark.parametrize("url", ["127.0.0.1:8787", "ftp://127.0.0.1", "http://", "http://[", "\n", "http://no-such-host.invalid"])
def test_a_useless_address_is_said(farm, url):
    complains(farm.cli("orders", "list", FARMD_URL=url), code=1)


def test_somebody_elses_server_is_noticed(farm):
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(20)
        url = f"http://127.0.0.1:{other.getsockname()[1]}"
        environment = {"FARMD_URL": url, "FARMD_API_KEY": "x"}
        asking = subprocess.Popen(
            [FARMD, "orders", "list"], env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        connection, _ = other.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
            said = asking.communicate(timeout=20)
        complains(subprocess.CompletedProcess([], asking.returncode, *said), "FARMD_URL", code=1)


def test_a_wrong_or_missing_key_is_said_without_repeating_it(farm):
    wrong = farm.cli("orders", "list", FARMD_API_KEY="fk_hunter2_hunter2")
    complains(wrong, "FARMD_API_KEY", "farmd keys create", code=1)
    assert "hunter2" not in wrong.stderr
    complains(farm.cli("orders", "list", FARMD_API_KEY=""), "FARMD_API_KEY", code=1)
    complains(farm.cli("printers", "list", role="customer"), "operator", code=1)


@pytest.mark.parametrize("noun", ["orders", "jobs", "printers", "skus", "webhooks"])
def test_an_unknown_id_is_said(farm, noun):
    complains(farm.cli(noun, "show", "none"), "none", code=1)


@pytest.mark.parametrize(
    ("noun", "name"),
    [
        ("orders", "../skus"),
        ("orders", "x?limit=1"),
        ("jobs", "../orders"),
        ("printers", "a/b"),
        ("webhooks", "#x"),
        ("skus", ".."),
    ],
)
def test_an_id_never_becomes_another_path(farm, noun, name):
    complains(farm.cli(noun, "show", name), code=1)


@pytest.mark.parametrize(
    "argv",
    [
        ("fly",),
        ("orders", "fly"),
        ("orders",),
        ("orders", "list", "--limit", "many"),
        ("orders", "list", "--limit", "101"),
        ("orders", "list", "--colour"),
        ("orders", "show"),
        ("orders", "show", "a", "b"),
        ("orders", "ship", "ord-1"),
        ("orders", "refund", "ord-1"),
        ("jobs", "post-process", "job-1", "--step", "sand", "--good", "-1"),
        ("keys", "create", "name"),
        ("keys", "create", "name", "--role", "king"),
        ("virtual", "--octoprint", "-1"),
        ("demo", "--port", "x"),
    ],
)
def test_a_badly_written_command_is_exit_code_2(farm, argv):
    complains(farm.cli(*argv), code=2)


@pytest.mark.parametrize(
    "argv",
    [
        ("orders", "create"),
        ("orders", "create", "/nowhere/order.json"),
        ("orders", "create", "--customer", "c", "--item", "none=1"),
        ("orders", "create", "--customer", "c", "--item", CUBE["id"]),
        ("orders", "list", "--status", "lost"),
        ("orders", "refund", "ord-1", "--amount", "much", "--reason", "x"),
        ("skus", "create"),
        ("skus", "create", "/nowhere/sku.toml"),
        ("run", "--config", "/nowhere/farmd.toml"),
        ("keys", "list", "--config", "/nowhere/farmd.toml"),
        ("virtual", "--octoprint", "1", "--write", "/nowhere/printers.toml"),
    ],
)
def test_what_cannot_be_done_is_exit_code_1(farm, argv):
    complains(farm.cli(*argv), code=1)


# --- keys ---


def test_the_life_of_a_key(farm):
    made = fine(farm.cli("keys", "create", "office", "--role", "operator"))
    assert made.count("\n") == 1
    key = made.strip()
    assert farm.cli("printers", "list", FARMD_API_KEY=key).returncode == 0
    complains(farm.cli("keys", "create", "office", "--role", "admin"), "office", code=1)
    listed = fine(farm.cli("keys", "list", "--json"))
    assert "office" in [row["name"] for row in json.loads(listed)["data"]]
    assert key not in listed
    fine(farm.cli("keys", "revoke", "office"))
    complains(farm.cli("printers", "list", FARMD_API_KEY=key), "key", code=1)
    complains(farm.cli("keys", "revoke", "office"), "farmd keys list", code=1)
    complains(farm.cli("keys", "create", "shopper", "--role", "customer"), "--customer")
    complains(farm.cli("keys", "create", "a\nb", "--role", "admin"), "one line")


def test_no_key_stands_in_the_store_or_the_log(farm):
    for file in farm.daemon.folder.iterdir():
        if file.is_file():
            content = file.read_bytes()
            assert not any(key.rpartition("_")[2].encode() in content for key in farm.keys.values()), file


# --- virtual ---


def test_virtual_writes_blocks_the_daemon_takes(farm):
    (block,) = tomllib.loads(farm.printers.file.read_text())["printers"]
    assert block["driver"] == "octoprint"
    assert {"id", "url", "api_key", "material", "color", "bed"} <= set(block)
