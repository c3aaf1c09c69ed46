"""The wheel as a shop installs it: built from the checkout, put into an environment of its own, and used."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def call(*words, **kwargs):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FARMD", "PYTHON", "VIRTUAL_ENV"))}
    finished = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, env=environment, **kwargs)
    assert finished.returncode == 0, finished.stdout[-1000:] + finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    uv = UV if UV.exists() else shutil.which("uv")
    call(uv, "build", "--quiet", "--wheel", "--out-dir", folder, cwd=ROOT)
    [wheel] = folder.glob("*.whl")
    pinned = folder / "pinned.txt"
    pinned.write_text(call(uv, "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", cwd=ROOT))
    call(uv, "venv", "--quiet", "--python", sys.executable, folder / "env")
    call(uv, "pip", "install", "--quiet", "--python", folder / "env/bin/python", "-r", pinned, wheel)
    return folder / "env" / "bin"


def test_the_command_is_there(installed, tmp_path):
    assert "Print-farm controller" in call(installed / "farmd", "--help", cwd=tmp_path)


def test_migrations_are_inside(installed, tmp_path):
    (tmp_path / "farmd.toml").write_text("")
    key = call(installed / "farmd", "keys", "create", "first", "--role", "admin", "--config", "farmd.toml", cwd=tmp_path)
    assert key.startswith("fk_")
    assert (tmp_path / "farmd.db").exists()


def test_profiles_catalog_and_examples_are_inside(installed, tmp_path):
    script = (
        "import json; from farmd.shipped import shipped_config as s; from farmd.pipeline.profiles import load_profiles as l;"
        "print(json.dumps([str(s()), sorted(l(s() / 'profiles').machines), sorted(p.name for p in s().rglob('*.toml'))]))"
    )
    folder, machines, files = json.loads(call(installed / "python", "-c", script, cwd=tmp_path))
    assert Path(folder).is_relative_to(installed.parent)
    assert "generic-0.4" in machines
    assert {"farmd.example.toml", "demo.toml", "cube.toml"} <= set(files)


def test_drivers_are_found(installed, tmp_path):
    script = "from farmd.fleet.drivers import option_names; print(*option_names())"
    assert "octoprint" in call(installed / "python", "-c", script, cwd=tmp_path)


def test_nothing_of_the_tests_is_installed(installed):
    [site] = (installed.parent / "lib").glob("python3*/site-packages")
    assert not (site / "tests").exists()
