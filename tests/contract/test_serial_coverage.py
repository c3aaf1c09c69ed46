"""The protocol of a serial print is tried in every branch: measured by its own tests, in a process of their own.

By hand: `.venv/bin/python -m coverage run --branch --include='drivers/gcode/*' -m pytest -q
tests/unit/test_serial_protocol.py tests/unit/test_serial_pace.py`, then `.venv/bin/python -m coverage report -m`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MEASURED = tuple(f"drivers/gcode/{name}.py" for name in ("flight", "pace", "protocol", "sources", "tally"))


@pytest.mark.slow
def test_every_branch_of_the_protocol_is_tried(tmp_path: Path) -> None:
    coverage = [sys.executable, "-m", "coverage"]
    environment = os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")}
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_serial_protocol.py", "tests/unit/test_serial_pace.py"]
    measure = ["run", "--branch", f"--include={','.join(MEASURED)}", *tests]
    for command in (measure, ["json", "-q", "-o", str(tmp_path / "report.json")]):
        subprocess.run([*coverage, *command], cwd=REPOSITORY, env=environment, check=True, capture_output=True, timeout=170)
    files = json.loads((tmp_path / "report.json").read_text())["files"]
    assert {name: (files[name]["missing_lines"], files[name]["missing_branches"]) for name in MEASURED} == dict.fromkeys(
        MEASURED, ([], [])
    )
