"""The command line before any daemon is asked: its help, and what it says to bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from farmd.cli import run
from farmd.cli.app import app
from farmd.cli.bodies import pairs, read_body
from farmd.cli.complaint import Complaint


def commands(command, path=()):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path


ALL = sorted(commands(get_command(app)))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("FARMD")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def complaint(capsys, *words):
    code = run(words)
    captured = capsys.readouterr()
    assert captured.err.startswith("farmd: "), captured.err
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return code, captured.err


def test_the_contracts_commands_are_there():
    nouns = {
        "orders": "list create show pay cancel ship refund events",
        "jobs": "list show why retry cancel post-process",
        "printers": "list show clear-bed pause resume cancel enable disable",
        "skus": "list show create model",
        "webhooks": "list create delete test deliveries replay",
        "keys": "create list revoke",
    }
    expected = {(noun, verb) for noun, verbs in nouns.items() for verb in verbs.split()}
    assert expected | {("run",), ("demo",), ("doctor",), ("virtual",)} <= set(ALL)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_helps_with_an_example_of_itself(capsys, path):
    assert run([*path, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "Example: " in words
    assert f"farmd {' '.join(path)}" in words.split("Example: ")[1]


def test_alone_it_tells_its_commands(capsys):
    assert run([]) == 0
    assert "virtual" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["orders", "list", "--limit", "0"], 2, "Invalid value for '--limit'"),
        (["orders", "ship", "ord-1"], 2, "Missing option '--carrier'"),
        (["keys", "create", "x", "--role", "king"], 2, "Invalid value for '--role'"),
        (["orders", "list"], 1, "no key: export FARMD_API_KEY="),
        (["orders", "create"], 1, "give a FILE, or --customer"),
        (["orders", "create", "missing.json"], 1, "cannot read missing.json: No such file"),
        (["orders", "create", "--customer", "c", "--item", "cube"], 1, "write --item as NAME=VALUE, not 'cube'"),
        (["orders", "refund", "o", "--reason", "r", "--amount", "much"], 1, "--amount must be a number such as 12.50"),
        (["printers", "load", "p"], 1, "give --material, --color or both"),
        (["skus", "model", "s", "missing.stl"], 1, "cannot read missing.stl"),
        (["skus", "create"], 1, "give a FILE, or --id"),
        (["run", "--config", "missing.toml"], 1, "there is no configuration at"),
        (["keys", "list", "--config", "missing.toml"], 1, "there is no configuration at"),
        (["virtual"], 1, "say how many printers, for example --octoprint 3"),
        (["virtual", "--bambu", "101"], 2, "Invalid value for '--bambu'"),
        (["virtual", "--gcode", "1", "--tty-dir", "missing"], 2, "Invalid value for '--tty-dir'"),
    ],
)
def test_bad_input_is_one_line_with_the_cure(capsys, words, code, said):
    found, line = complaint(capsys, *words)
    assert said in line
    assert found == code


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:9", "no farmd answers at http://127.0.0.1:9: start it with `farmd run`, or set FARMD_URL"),
        ("127.0.0.1:8787", "FARMD_URL must begin with http:// or https://"),
        ("http://127.0.0.1:port", "FARMD_URL is not an address"),
    ],
)
def test_an_absent_daemon_is_named(capsys, monkeypatch, url, said):
    monkeypatch.setenv("FARMD_URL", url)
    monkeypatch.setenv("FARMD_API_KEY", "k")
    assert said in complaint(capsys, "orders", "list")[1]


def test_a_key_that_cannot_be_one(capsys, monkeypatch):
    monkeypatch.setenv("FARMD_API_KEY", "kéy")
    assert "FARMD_API_KEY holds something that cannot be a key" in complaint(capsys, "orders", "list")[1]


def test_words_become_numbers_and_truth_where_they_are():
    assert pairs(["a=3", "b=true", "c=#1a1a1a", "d=0.5", "e=x=y", 'f="q"'], "--option") == {
        "a": 3,
        "b": True,
        "c": "#1a1a1a",
        "d": 0.5,
        "e": "x=y",
        "f": '"q"',
    }


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.json", "[1]"), ("a.toml", "x ="), ("a.json", "\udcff")])
def test_a_file_that_is_no_object(tmp_path, name, text):
    file = tmp_path / name
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Complaint, match=name):
        read_body(file)


def test_a_body_from_standard_input(monkeypatch, tmp_path):
    file = tmp_path / "order.json"
    file.write_text(json.dumps({"customerId": "c"}))
    with file.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert read_body(Path("-")) == {"customerId": "c"}


def test_a_reader_that_leaves_is_no_traceback():
    script = f"{sys.executable} -m farmd.cli orders create --help | true"
    finished = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in finished.stderr
    assert "Exception" not in finished.stderr
