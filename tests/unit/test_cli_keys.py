"""`farmd keys` on a real store, without a daemon and beside another writer."""

import json
import sqlite3

import pytest

from farmd.cli import run

pytestmark = pytest.mark.slow  # processes of their own


@pytest.fixture
def farm(tmp_path):
    file = tmp_path / "farmd.toml"
    file.write_text("")

    def call(*words):
        return run(["keys", *words, "--config", str(file)])

    return call


def test_a_key_is_printed_alone_and_never_stored(farm, capsys, tmp_path):
    assert farm("create", "office", "--role", "admin") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("\n") == 1
    secret = out.strip().rsplit("_", 1)[1]
    for file in tmp_path.glob("farmd.db*"):
        assert secret.encode() not in file.read_bytes()


def test_list_and_revoke(farm, capsys):
    farm("create", "office", "--role", "admin")
    farm("create", "jane", "--role", "customer", "--customer", "cust-1")
    capsys.readouterr()
    assert farm("list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["data"]
    assert [(row["name"], row["role"], row["customer_id"]) for row in rows] == [
        ("jane", "customer", "cust-1"),
        ("office", "admin", None),
    ]
    assert farm("revoke", "jane") == 0
    assert farm("list") == 0
    out = capsys.readouterr().out
    assert "office" in out
    assert "cust-1" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "office", "--role", "admin"), "a key named 'office' already"),
        (("create", "c", "--role", "customer"), "customer's key needs the customer's id"),
        (("create", "o", "--role", "operator", "--customer", "x"), "operator's key has no customer"),
        (("create", " ", "--role", "admin"), "a key needs a name"),
        (("revoke", "nobody"), "there is no such key; `farmd keys list`"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(farm, capsys, words, said):
    farm("create", "office", "--role", "admin")
    capsys.readouterr()
    assert farm(*words) == 1
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_store_of_a_newer_farmd_is_left_alone(farm, capsys, tmp_path):
    farm("create", "office", "--role", "admin")
    with sqlite3.connect(tmp_path / "farmd.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    assert farm("list") == 1
    assert "written by a newer farmd" in capsys.readouterr().err
