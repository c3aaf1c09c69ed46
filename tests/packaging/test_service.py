"""The systemd units: hardened, and wired to the daemon's own signs of life."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
UNIT = UNITS / "farmd.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_the_exposure_is_at_most_two(unit):
    finished = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr


def test_it_is_watched_and_reloaded():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert (service["Type"], service["WatchdogSec"], service["UMask"]) == ("notify", "30", "0077")
    assert service["ExecStart"].endswith("farmd run --config /etc/farmd/farmd.toml")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["SupplementaryGroups"] == "dialout"
    assert "KillMode" not in service
