"""A streamer's journal: what it knows after a crash, on a full disk, and when it has grown too large."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.gcode import journal
from drivers.gcode.journal import Journal


@contextmanager
def disk_full(file: Path, room: int = 10) -> Iterator[None]:
    """No file of this process can grow beyond what `file` has, and a little more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def entries(file: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in file.read_bytes().splitlines()]


def test_it_knows_again_what_it_knew(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as kept:
        kept.write(kind="started", token="a")
        kept.write(kind="line", token="a", line=7)
        kept.write(kind="ended", token="a", ending="succeeded")
        kept.write(kind="started", token="b")
    with Journal(tmp_path / "journal") as again:
        assert (again.endings, again.unended, again.unsafe) == ({"a": "succeeded"}, "b", True)


@pytest.mark.parametrize(("unsafe", "then_safe", "remembered"), [(False, False, False), (True, False, True), (True, True, False)])
def test_a_machine_is_hot_until_somebody_saw_to_it(tmp_path: Path, unsafe: bool, then_safe: bool, remembered: bool) -> None:
    with Journal(tmp_path / "journal") as kept:
        kept.write(kind="started", token="a")
        kept.write(kind="ended", token="a", ending="failed", unsafe=unsafe)
        if then_safe:
            kept.write(kind="safe")
    with Journal(tmp_path / "journal") as again:
        assert (again.unended, again.unsafe) == (None, remembered)


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    file.write_bytes(b'{"kind": "started", "token": "a"}\n{"kind": "li')
    with Journal(file) as kept:
        assert kept.unended == "a"
        kept.write(kind="ended", token="a", ending="failed", lasting=True)
    with Journal(file) as again:
        assert (again.unended, again.endings) == (None, {"a": "failed"})


def test_on_a_full_disk_an_end_is_written_as_soon_as_there_is_room(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    with Journal(file) as kept:
        assert kept.write(kind="started", token="a", lasting=True)
        with disk_full(file):
            assert not kept.write(kind="ended", token="a", ending="succeeded", lasting=True)
            assert not kept.write(kind="line", token="a", line=1)
            assert kept.endings == {"a": "succeeded"}
        kept.write(kind="rest")
        assert kept.write(kind="machine")
    assert entries(file) == ["started", "ended", "machine"]


def test_it_keeps_the_newest_ends_when_it_has_grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEEP_BYTES", 2000)
    monkeypatch.setattr(journal, "KEEP_ENDINGS", 3)
    file = tmp_path / "journal"
    with Journal(file) as kept:
        for number in range(50):
            kept.write(kind="started", token=f"att-{number}")
            kept.write(kind="line", token=f"att-{number}", line=1)
            kept.write(kind="ended", token=f"att-{number}", ending="failed", unsafe=True, lasting=True)
            assert file.stat().st_size < 2400
        kept.write(kind="started", token="new")
    with Journal(file) as again:
        assert list(again.endings)[-1] == "att-49"
        assert (again.unended, again.unsafe) == ("new", True)
    file.write_bytes(file.read_bytes() + b'{"kind": "rest"}\n' * 200)
    with Journal(file) as shortened:
        assert file.stat().st_size < 400
        assert (list(shortened.endings)[-1], shortened.unended, shortened.unsafe) == ("att-49", "new", True)
