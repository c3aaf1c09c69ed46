"""The scripts that prepare a machine, on machines where something is missing."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[2] / ".ci"
SCRIPTS = [
    CI / name
    for name in (
        "run",
        "system-packages",
        "python-environment",
        "octoprint-environment",
        "printrun-environment",
        "schemathesis-environment",
        "bambu-clients-environment",
    )
]


@pytest.fixture
def bare(tmp_path):
    """A PATH with the least a system has."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "id", "env", "dirname"):
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def tool(folder, name, script):
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def call(script, folder, *words):
    environment = {"PATH": str(folder), "HOME": str(folder)}
    return subprocess.run([str(script), *words], capture_output=True, text=True, check=False, env=environment, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_each_can_be_run_and_parsed(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)


def test_nothing_missing_asks_nobody(bare):
    tool(bare, "python3", "exit 0")
    tool(bare, "prusa-slicer", "exit 0")
    tool(bare, "apt-get", "echo asked; exit 1")
    finished = call(CI / "system-packages", bare)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_without_apt_it_warns_and_goes_on(bare):
    tool(bare, "python3", "exit 1")
    finished = call(CI / "system-packages", bare)
    assert finished.returncode == 0
    assert "no apt-get; please install yourself: python3-venv prusa-slicer" in finished.stderr


def test_without_rights_it_warns_and_goes_on(bare):
    tool(bare, "python3", "exit 0")
    tool(bare, "apt-get", "exit 1")
    (bare / "id").unlink()
    tool(bare, "id", "echo 1000")
    finished = call(CI / "system-packages", bare)
    assert finished.returncode == 0
    assert "neither root nor sudo here; please install yourself: prusa-slicer" in finished.stderr


def test_only_what_is_missing_is_asked_for_and_a_refusal_is_no_end(bare, tmp_path):
    tool(bare, "python3", "exit 0")
    (bare / "id").unlink()
    tool(bare, "id", "echo 0")
    tool(bare, "apt-get", f'echo "$@" >> {tmp_path}/asked; [ "$1" = update ]')
    finished = call(CI / "system-packages", bare)
    assert finished.returncode == 0
    assert (tmp_path / "asked").read_text() == "update -qq\ninstall -y -qq --no-install-recommends prusa-slicer\n"
    assert "prusa-slicer could not be installed; farmd goes on without it" in finished.stderr


def test_an_old_python_is_named(bare, tmp_path):
    tool(bare, "python3", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    finished = call(CI / "python-environment", bare, str(tmp_path / "env"))
    assert finished.returncode == 1
    assert "python 3.11 or newer is needed; found Python 3.9.2" in finished.stderr
    assert not (tmp_path / "env").exists()
