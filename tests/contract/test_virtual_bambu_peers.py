"""The virtual Bambu printers held to two clients that others wrote for real ones, unmodified, on the ports of the real ones."""

import json
import subprocess
from pathlib import Path

import pytest

from drivers.virtual.bambu import make_project
from drivers.virtual.history import Outcome
from tests.bambu_printer import running

HERE = Path(__file__).parent
CLIENTS = HERE.parents[1] / ".venv-bambu-clients" / "bin" / "python"
ADDRESSES = {("bambulabs_api", "P1S"): 71, ("bambulabs_api", "A1"): 72, ("bpm", "P1S"): 73, ("bpm", "X1C"): 74, ("bpm", "A1"): 75}
pytestmark = pytest.mark.slow


def drive(client: str, model: str, folder: Path):
    """What the client told, step by step, and what the printer did."""
    if not CLIENTS.exists():
        pytest.skip("the clients are not installed; run .ci/bambu-clients-environment")
    host = f"127.0.0.{ADDRESSES[client, model]}"
    try:
        printers = running(model, host=host, mqtt_port=8883, ftps_port=990, speed=100.0)
        with printers as printer:
            file = folder / "peer.gcode.3mf"
            file.write_bytes(make_project(400.0, model=printer.kind.code, layers=40))
            words = [str(CLIENTS), str(HERE / f"{client}_host.py"), host, printer.serial, printer.access_code, str(file)]
            words += [str(folder)] if client == "bpm" else []
            finished = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
            assert finished.returncode == 0, finished.stderr
            return [json.loads(line) for line in finished.stdout.splitlines()], printer.printer
    except PermissionError:
        pytest.skip("only root may serve port 990 here")


STORY = ["IDLE", "RUNNING", "PAUSE", "RUNNING", "FAILED", None, "FINISH"]


def expect_the_story(told, printer):
    assert [step["state"] for step in told[:5]] == STORY[:5]
    assert told[6]["state"] == "FINISH"
    assert told[6]["percent"] == 100
    assert told[1]["layers"] == 40
    first, second = printer.record.prints
    assert (first.outcome, first.pauses) == (Outcome.CANCELLED, 1)
    assert (second.outcome, second.layers, second.fed) == (Outcome.SUCCEEDED, 40, (0,))
    assert printer.bed.crashes == 1  # nobody took the stopped part off
    assert [file.path for file in printer.record.uploads] == ["/peer.gcode.3mf"]
    assert printer.record.deleted == ["/peer.gcode.3mf"]


@pytest.mark.parametrize("model", ["P1S", "A1"])
def test_bambulabs_api(model, tmp_path):
    told, printer = drive("bambulabs_api", model, tmp_path)
    expect_the_story(told, printer)
    assert told[0]["trays"] == {"0": "PLA"}
    assert told[1]["file"] == "peer.gcode.3mf"
    assert told[1]["light"] == "on"


@pytest.mark.parametrize("model", ["P1S", "X1C", "A1"])
def test_bambu_printer_manager(model, tmp_path):
    told, printer = drive("bpm", model, tmp_path)
    expect_the_story(told, printer)
    assert told[1]["name"] == "peer"
    assert told[1]["model"] == model
    assert told[0]["firmware"] == "01.07.02.00"
    assert [0, "PLA"] in told[0]["spools"]
