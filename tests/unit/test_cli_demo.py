"""`farmd demo` as a newcomer runs it: to the end, without a slicer, and on a port that is taken."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "farmd.cli", "demo"]


def surroundings(tmp_path, **changes):
    """The demo must not listen to the person's own variables, so some are set."""
    return os.environ | {"TMPDIR": str(tmp_path), "FARMD__SERVER__PORT": "1", "FARMD_CONFIG": "/nowhere"} | changes


@pytest.mark.slow
@pytest.mark.slicer
def test_once_ends_with_a_shipped_order_and_leaves_nothing(tmp_path):
    finished = subprocess.run(
        [*DEMO, "--once", "--port", "0", "--speed", "2000", "--patience", "150"],
        capture_output=True,
        text=True,
        check=False,
        env=surroundings(tmp_path),
        timeout=170,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr
    told = finished.stdout
    steps = ["order.created", "order.paid", "order.processing", "order.printing", "order.ready", "order.shipped", "is shipped"]
    places = [told.index(step) for step in steps]
    assert places == sorted(places)
    assert all(f"sees that the bed of {kind}-01 is empty" in told for kind in ("octoprint", "bambu", "marlin"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_without_a_slicer_it_says_what_is_missing(tmp_path):
    environment = surroundings(tmp_path, PATH=str(tmp_path))
    finished = subprocess.run([*DEMO, "--once"], capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert finished.returncode == 1
    assert "PrusaSlicer is missing" in finished.stderr
    assert finished.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_taken_port_is_one_line_and_nothing_is_left(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [*DEMO, "--port", str(listener.getsockname()[1])]
        finished = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings(tmp_path), timeout=120)
    assert finished.returncode == 1
    assert "choose another [server] port" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_killed_it_leaves_no_process_behind(tmp_path):
    process = subprocess.Popen([*DEMO, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=surroundings(tmp_path))
    deadline = time.monotonic() + 60
    while len(children(process.pid)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    left = children(process.pid)
    process.kill()
    process.communicate()
    while any(alive(child) for child in left):
        assert time.monotonic() < deadline + 30, "a child outlived the demo"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_ends_it_in_order(tmp_path):
    process = subprocess.Popen(
        [*DEMO, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=surroundings(tmp_path), text=True
    )
    assert process.stdout is not None
    told = iter(process.stdout.readline, "")
    assert any("sees that the bed" in line for line in told)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert list(tmp_path.iterdir()) == []


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
