"""`farmd virtual` and `farmd doctor` together: printers that do not exist, found in order and then not."""

import json
import signal
import socket
import subprocess
import sys
import time
import tomllib

import pytest
import serial

from tests.waiting import wait_until

pytestmark = pytest.mark.slow  # processes of their own


def farmd(*words, **kwargs):
    return subprocess.run([sys.executable, "-m", "farmd.cli", *words], capture_output=True, text=True, check=False, **kwargs)


@pytest.fixture(scope="module")
def virtual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("virtual")
    file = folder / "printers.toml"
    command = [sys.executable, "-m", "farmd.cli", "virtual", "--octoprint", "2", "--speed", "100", "--write", str(file)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    deadline = time.monotonic() + 40
    while not file.exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield file
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_serial_printers_answer_under_the_names_of_their_blocks(tmp_path):
    command = [sys.executable, "-m", "farmd.cli", "virtual", "--gcode", "2", "--tty-dir", str(tmp_path), "--color", "#ffffff"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        text = "".join(iter(process.stdout.readline, "\n"))
        text += "".join(process.stdout.readline() for _ in range(text.count("\n")))
        printers = tomllib.loads(text)["printers"]
        assert [(each["id"], each["driver"], each["color"]) for each in printers] == [
            ("marlin-01", "gcode", "#ffffff"),
            ("marlin-02", "gcode", "#ffffff"),
        ]
        with serial.Serial(printers[1]["port"], printers[1]["baud"], timeout=10) as port:
            port.write(b"M105\n")
            assert port.readline().startswith(b"ok T:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def findings(config):
    finished = farmd("doctor", "--json", "--config", str(config))
    rows = json.loads(finished.stdout)["data"]
    assert finished.returncode == int(any(not row["ok"] for row in rows))
    return rows


def test_the_written_blocks_are_whole_and_for_the_owners_eyes(virtual):
    printers = tomllib.loads(virtual.read_text())["printers"]
    assert [printer["id"] for printer in printers] == ["octoprint-01", "octoprint-02"]
    assert all({"url", "api_key", "material", "color", "bed"} <= printer.keys() for printer in printers)
    assert virtual.stat().st_mode & 0o077 == 0


def test_the_doctor_finds_them_in_order(virtual, tmp_path):
    config = tmp_path / "farmd.toml"
    config.write_text(f"[server]\nport = {free_port()}\n[slicer]\ncommand = 'no-such-slicer'\n{virtual.read_text()}")
    rows = findings(config)
    assert [row["step"] for row in rows if not row["ok"]] == ["version"]
    assert {"name", "connection", "octoprint", "key", "printer"} <= {row["step"] for row in rows if row["area"] == "octoprint-02"}


@pytest.mark.parametrize(
    ("change", "step", "said"),
    [
        (('api_key = "', 'api_key = "wrong-'), "key", "make a key in OctoPrint"),
        (('url = "http://127.0.0.1', 'url = "http://no-such-host.invalid'), "name", "has no address"),
    ],
)
def test_the_doctor_names_the_step_and_the_cure_and_no_secret(virtual, tmp_path, change, step, said):
    config = tmp_path / "farmd.toml"
    config.write_text(f"[server]\nport = {free_port()}\n{virtual.read_text().replace(*change, 1)}")
    rows = findings(config)
    [failed] = [row for row in rows if not row["ok"] and row["area"] == "octoprint-01"]
    assert failed["step"] == step or (step == "key" and failed["step"] == "octoprint")
    assert said in failed["detail"]
    assert all(row["ok"] for row in rows if row["area"] == "octoprint-02")
    assert "virtual-octoprint" not in json.dumps(rows)


def test_every_mistake_of_the_configuration_is_told(tmp_path):
    config = tmp_path / "farmd.toml"
    config.write_text("[server]\nprot = 1\nhots = 2\n")
    assert [row["detail"].split(" /")[0] for row in findings(config)] == [
        "[server] prot: did you mean port?",
        "[server] hots: did you mean host?",
    ]


def test_a_taken_port_a_damaged_store_and_a_strange_profile(tmp_path):
    config = tmp_path / "farmd.toml"
    (tmp_path / "farmd.db").write_bytes(b"this is no database" * 500)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        printer = "[[printers]]\nid='a'\ndriver='octoprint'\nurl='http://127.0.0.1:9'\napi_key='k'\nprofile='mk9'\nmaterial='PLA'\n"
        config.write_text(f"[server]\nport = {port}\n{printer}")
        failed = {(row["area"], row["step"]): row["detail"] for row in findings(config) if not row["ok"]}
    assert "choose another [server] port" in failed["server", "listen"]
    assert "last backup" in failed["store", "schema"]
    assert "mk9" in failed["profiles", "a"]
    assert ("a", "connection") in failed


def test_the_doctor_names_a_profile_that_is_made_for_another_printer(tmp_path):
    config = tmp_path / "farmd.toml"
    config.write_text(
        "[[printers]]\nid='a'\ndriver='octoprint'\nurl='http://127.0.0.1:9'\napi_key='k'\nprofile='bambu-p1s-0.4'\nmaterial='PLA'\n"
    )
    failed = {(row["area"], row["step"]): row["detail"] for row in findings(config) if not row["ok"]}
    assert "bambu-p1s-0.4 makes files for a Bambu Lab P1S or a Bambu Lab P1P alone" in failed["config", "printers"]
    assert "use generic-0.4 or mk3s-0.4" in failed["config", "printers"]


def test_a_taken_port_for_the_printers_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        finished = farmd("virtual", "--octoprint", "1", "--port", str(listener.getsockname()[1]))
    assert finished.returncode == 1
    assert finished.stderr.count("\n") == 1
    assert "cannot start the virtual printers" in finished.stderr


def test_bambu_printers_pass_the_doctor_and_stay_the_same_after_their_blocks_are_copied(tmp_path):
    file, config = tmp_path / "printers.toml", tmp_path / "farmd.toml"
    command = [
        sys.executable,
        "-m",
        "farmd.cli",
        "virtual",
        "--bambu",
        "3",
        "--speed",
        "100",
        "--color",
        "#ffffff",
        "--write",
        str(file),
    ]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        assert wait_until(lambda: file.exists() or process.poll() is not None, 40)
        assert process.poll() is None, (tmp_path / "log").read_text()
        printers = tomllib.loads(file.read_text())["printers"]
        assert [(each["id"], each["model"], each["serial"][:3]) for each in printers] == [
            ("bambu-01", "P1S", "01P"),
            ("bambu-02", "X1C", "00M"),
            ("bambu-03", "A1", "039"),
        ]
        assert [(each["material"], each["color"], each["bed"]) for each in printers] == [
            ("PLA", "#ffffff", [256, 256, 250]), ("PLA", "#ffffff", [256, 256, 250]), ("PLA", "#ffffff", [256, 256, 256]),
        ]  # fmt: skip
        config.write_text(f"[server]\nport = {free_port()}\n{file.read_text()}")
        rows = findings(config)
        assert [row for row in rows if row["area"].startswith("bambu-") and not row["ok"]] == []
        assert {row["area"] for row in rows} >= {"bambu-01", "bambu-02", "bambu-03"}
        config.write_text(config.read_text().replace(printers[1]["access_code"], "87654321"))
        wrong = [row for row in findings(config) if row["area"] == "bambu-02" and not row["ok"]]
        assert len(wrong) == 1
        assert "code" in wrong[0]["detail"]
        assert "87654321" not in json.dumps(wrong)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
