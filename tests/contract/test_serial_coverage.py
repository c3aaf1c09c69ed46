"""The protocol of a serial print is tried in every branch: measured by its own tests, in a process of their own.

By hand: `.venv/bin/python -m coverage run --branch --include=drivers/gcode/protocol.py -m pytest -q
tests/unit/test_serial_protocol.py`, then `.venv/bin/python -m coverage report -m`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MEASURED = "drivers/gcode/protocol.py"


@pytest.mark.slow
def test_every_branch_of_the_protocol_is_tried(tmp_path: Path) -> None:
    coverage = [sys.executable, "-m", "coverage"]
    environment = os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_serial_protocol.py"]
    for command in (["run", "--branch", f"--include={MEASURED}", *tests], ["json", "-q", "-o", str(tmp_path / "report.json")]):
        subprocess.run([*coverage, *command], cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=170)
    report = json.loads((tmp_path / "report.json").read_text())["files"][MEASURED]
    assert report["missing_lines"] == []
    assert report["missing_branches"] == []
