"""Schemathesis against the running daemon, with an admin's key: whatever it sends, no answer is a failure of the server, and none
is of a status, a media type or a shape that /openapi.json does not tell.

It knows some rows by their ids, so that what is behind them is reached too. FARMD_SCHEMATHESIS_EXAMPLES=500 looks deeper.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.daemon_process import printer_block
from tests.peers.contract_farm import running_farm

pytestmark = pytest.mark.slow

SCHEMATHESIS = Path(__file__).parents[2] / ".venv-schemathesis" / "bin" / "schemathesis"
ENDLESS = "/api/events/stream"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
NO_SLICER = '[slicer]\ncommand = "/nowhere/prusa-slicer"\n'


@pytest.fixture
def farm(tmp_path):
    silent = printer_block("mk3-01", "http://127.0.0.1:9", "k" * 32)
    with running_farm(tmp_path, more=silent + NO_SLICER) as running:
        yield running


def known_rows(farm):
    """Ids of something of every kind, as Schemathesis reads them from its own configuration."""
    farm.sell("cube", None)
    farm.sell("spare", None)
    orders = [farm.order("cube", 3, paid=paid) for paid in (False, True, True)]
    jobs = [farm.job(order)["id"] for order in orders[1:]]
    hook = {"url": "http://127.0.0.1:9/", "events": ["order.paid"]}
    ids = {
        "order_id": orders,
        "job_id": jobs,
        "sku_id": ["cube", "spare"],
        "printer_id": ["mk3-01"],
        "webhook_id": [farm.ok("POST", "/api/webhooks", hook)["id"]],
        "number": [1],
    }
    return "[parameters]\n" + "".join(f'"path.{name}" = {values!r}\n' for name, values in ids.items())


def test_the_description_holds_and_nothing_fails(farm, tmp_path):
    assert SCHEMATHESIS.exists(), "run `make setup-test`"
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(known_rows(farm))
    asked = subprocess.run(
        [
            *(SCHEMATHESIS, "--config-file", settings, "run", f"{farm.daemon.url}/openapi.json"),
            *("--header", f"X-API-Key: {farm.keys['admin']}", "--exclude-path", ENDLESS, "--checks", CHECKS),
            *("--phases", "coverage,fuzzing", "--max-examples", os.environ.get("FARMD_SCHEMATHESIS_EXAMPLES", "8"), "--seed", "1"),
            *("--workers", "1", "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert asked.returncode == 0, asked.stdout[-8000:] + asked.stderr[-2000:]
    paths = farm.ask("GET", "/openapi.json").json()["paths"]
    operations = sum(len(verbs) for path, verbs in paths.items() if path != ENDLESS)
    assert f"Tested: {operations}" in asked.stdout, asked.stdout[-2000:]
    assert "api.failed" not in farm.daemon.log.read_text()
