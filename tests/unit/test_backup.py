"""Backups and the way back: everything comes again, nothing half-way, and every refusal names its cure."""

import asyncio
import gzip
import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest

from farmd.backups import archive
from farmd.backups.restore import NotRestored, restore
from farmd.backups.take import NotBackedUp, back_up
from farmd.ownership import owned
from farmd.store.snapshot import RESTORED
from tests.farm import farm_settings
from tests.kept_farm import fill, kept_settings, open_kept

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
KEY = "f" * 64


@pytest.fixture
def farm(tmp_path):
    """The settings of a farm that lies still."""
    settings = kept_settings(tmp_path / "farm")

    async def make():
        store = await open_kept(settings)
        await store.write(lambda tx: fill(tx, settings))
        await store.close()

    (tmp_path / "farm").mkdir()
    asyncio.run(make())
    return settings


def rows(folder):
    with closing(sqlite3.connect(folder / "farmd.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        everything = {name: store.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in tables}  # noqa: S608
    everything["meta"] = [row for row in everything["meta"] if row[0] != RESTORED]
    return everything


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted((folder / "files").rglob("*")) if path.is_file()}


def refuses(call, kind, *words):
    with pytest.raises(kind) as refused:
        call()
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_everything_comes_back(farm, tmp_path):
    file = tmp_path / "farm.tar.gz"
    made = back_up(farm, file, NOW)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path for path in tmp_path.iterdir() if path.name not in ("farm", file.name)] == []
    there = kept_settings(tmp_path / "there")
    assert restore(there, file, NOW) == made
    assert rows(tmp_path / "there") == rows(tmp_path / "farm")
    kept = {name: content for name, content in files(tmp_path / "farm").items() if b"long ago" not in content}
    assert files(tmp_path / "there").keys() <= kept.keys()
    assert {name for name in files(tmp_path / "there") if name.endswith(".gcode")} == {
        name for name in kept if name.endswith(".gcode")
    }
    assert all(files(tmp_path / "there")[name] == kept[name] for name in files(tmp_path / "there"))
    assert len(files(tmp_path / "there")) == 6, "two models, their geometry, and the plate that waits with what is known of it"
    assert stat.S_IMODE((tmp_path / "there" / "farmd.db").stat().st_mode) == 0o600


def test_a_plate_made_for_a_model_comes_back_too(farm, tmp_path):
    (plain,) = [path for path in (farm.files / "sliced").glob("*.gcode") if b"long ago" not in path.read_bytes()]
    project = plain.rename(plain.with_suffix(".gcode.3mf"))
    back_up(farm, tmp_path / "farm.tar.gz", NOW)
    restore(kept_settings(tmp_path / "there"), tmp_path / "farm.tar.gz", NOW)
    (back,) = (tmp_path / "there").rglob("*.gcode.3mf")
    assert (back.name, back.read_bytes()) == (project.name, project.read_bytes())


def test_any_tar_opens_it_and_the_manifest_stands_first(farm, tmp_path):
    back_up(farm, tmp_path / "b.tar.gz", NOW)
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        names = tar.getnames()
        told = json.load(tar.extractfile("manifest.json"))
    assert names[:2] == ["manifest.json", "farmd.db"]
    assert (told["format"], told["schema"], told["madeAt"]) == (1, "0001", "2026-11-26T12:00:00+00:00")
    assert {entry["name"] for entry in told["files"]} == set(names) - {"manifest.json"}


def test_a_writer_is_not_kept_waiting_and_the_copy_is_of_one_moment(farm, tmp_path):
    """Two rows are always written together; the copy has both or neither, however much is written meanwhile."""

    async def story():
        store = await open_kept(farm)
        await store.write(lambda tx: [tx.connection.exec_driver_sql("INSERT INTO meta VALUES (?, '')", (key,)) for key in "ab"])
        filler = [(f"x{number}", "x" * 2000) for number in range(10_000)]
        await store.write(lambda tx: tx.connection.exec_driver_sql("INSERT INTO meta VALUES (?, ?)", filler))
        done, slowest, number = threading.Event(), 0.0, 0

        def copy():
            try:
                for turn in range(3):
                    back_up(farm, tmp_path / f"{turn}.tar.gz", NOW)
            finally:
                done.set()

        copying = threading.Thread(target=copy)
        copying.start()
        while not done.is_set():
            number += 1
            began, value = time.perf_counter(), str(number)
            await store.write(
                lambda tx, value=value: [
                    tx.connection.exec_driver_sql("UPDATE meta SET value = ? WHERE key = ?", (value, key)) for key in "ab"
                ]
            )
            slowest = max(slowest, time.perf_counter() - began)
        copying.join()
        await store.close()
        return number, slowest

    number, slowest = asyncio.run(story())
    assert number > 20
    assert slowest < 2.5, "the store's own patience with a lock is 5 s"
    for turn in range(3):
        restore(kept_settings(tmp_path / f"back{turn}"), tmp_path / f"{turn}.tar.gz", NOW)
        with closing(sqlite3.connect(tmp_path / f"back{turn}" / "farmd.db")) as store:
            (a,), (b,) = store.execute("SELECT value FROM meta WHERE key IN ('a', 'b')").fetchall()
        assert a == b


def test_an_existing_file_is_not_overwritten(farm, tmp_path):
    (tmp_path / "mine").write_text("something else")
    refuses(lambda: back_up(farm, tmp_path / "mine", NOW), NotBackedUp, "mine", "not overwritten", "name a file")
    assert (tmp_path / "mine").read_text() == "something else"


def test_what_cannot_be_backed_up_is_said(farm, tmp_path):
    refuses(lambda: back_up(farm, tmp_path / "no" / "b", NOW), NotBackedUp, "no folder", "make it")
    refuses(lambda: back_up(kept_settings(tmp_path / "new"), tmp_path / "b", NOW), NotBackedUp, "no store", "new/farmd.db")
    elsewhere = farm_settings(tmp_path, store_url="postgresql+psycopg://farm@db/farm")
    refuses(lambda: back_up(elsewhere, tmp_path / "b", NOW), NotBackedUp, "PostgreSQL", "pg_dump")
    refuses(lambda: back_up(farm, tmp_path / "b", NOW, spare=10**18), NotBackedUp, "GB free", "another disk")
    assert [path.name for path in tmp_path.iterdir()] == ["farm"]


def test_a_model_that_is_gone_is_named_and_the_rest_is_kept(farm, tmp_path):
    lost = next((farm.files / "models").iterdir())
    lost.unlink()
    made = back_up(farm, tmp_path / "b", NOW)
    assert made.absent == (f"models/{lost.name}",)
    assert restore(kept_settings(tmp_path / "there"), tmp_path / "b", NOW).absent == made.absent


def test_a_damaged_store_makes_no_backup(farm, tmp_path):
    damage(tmp_path / "farm" / "farmd.db")
    refuses(lambda: back_up(farm, tmp_path / "b", NOW), NotBackedUp, "farmd.db")
    assert not (tmp_path / "b").exists()


def damage(database):
    """Flip the bytes in the middle of the file, as a dying disk does."""
    with closing(sqlite3.connect(database)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.read_bytes())
    for place in range(4096, len(content)):
        content[place] ^= 0x5A
    database.write_bytes(content)


def test_a_restore_never_replaces_a_farm(farm, tmp_path):
    back_up(farm, tmp_path / "b", NOW)
    before = rows(tmp_path / "farm")
    refuses(lambda: restore(farm, tmp_path / "b", NOW), NotRestored, "farm at", "Stop farmd", "mkdir", "mv ", "farmd.db")
    assert rows(tmp_path / "farm") == before
    there = kept_settings(tmp_path / "there")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "farmd.db-wal").write_bytes(b"of a store that was moved without it")
    refuses(lambda: restore(there, tmp_path / "b", NOW), NotRestored, "farmd.db-wal")
    with owned(tmp_path / "held"):
        refuses(lambda: restore(kept_settings(tmp_path / "held"), tmp_path / "b", NOW), NotRestored, "another farmd", "stop it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can restore for somebody else")
def test_root_does_not_restore_what_farmd_could_not_write(farm, tmp_path):
    back_up(farm, tmp_path / "b", NOW)
    (tmp_path / "there").mkdir()
    os.chown(tmp_path / "there", 54321, 54321)
    words = ("belongs to #54321", f"sudo -u #54321 farmd restore {tmp_path / 'b'}")
    refuses(lambda: restore(kept_settings(tmp_path / "there"), tmp_path / "b", NOW), NotRestored, *words)
    assert list((tmp_path / "there").iterdir()) == []


def test_the_command_in_the_refusal_is_the_cure(farm, tmp_path):
    back_up(farm, tmp_path / "b", NOW)
    with pytest.raises(NotRestored) as refused:
        restore(farm, tmp_path / "b", NOW)
    _, _, rest = str(refused.value).partition("(mkdir ")
    command = "mkdir " + rest.partition(")")[0]
    made, moved = command.split(" && ")
    (tmp_path / "farm" / "before-restore").mkdir()
    assert made.split()[1] == str(tmp_path / "farm" / "before-restore")
    for path in moved.split()[1:-1]:
        (tmp_path / "farm" / path).rename(tmp_path / "farm" / "before-restore" / path.rpartition("/")[2])
    assert restore(farm, tmp_path / "b", NOW).schema == "0001"
    assert rows(tmp_path / "farm") == rows(tmp_path / "farm" / "before-restore")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_backup_that_was_cut_short_is_refused(farm, tmp_path, share):
    back_up(farm, tmp_path / "b", NOW)
    content = (tmp_path / "b").read_bytes()
    (tmp_path / "b").write_bytes(content[: int(len(content) * share)])
    refuses_whole(tmp_path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_backup_with_a_wrong_byte_is_refused(farm, tmp_path, share):
    back_up(farm, tmp_path / "b", NOW)
    content = bytearray((tmp_path / "b").read_bytes())
    content[int(len(content) * share)] ^= 0xFF
    (tmp_path / "b").write_bytes(content)
    refuses_whole(tmp_path)


def refuses_whole(tmp_path, *words):
    there = kept_settings(tmp_path / "there")
    refuses(lambda: restore(there, tmp_path / "b", NOW), NotRestored, "cannot be restored", "Nothing was put in place", *words)
    assert {path.name for path in (tmp_path / "there").rglob("*")} <= {"farmd.lock", "files"}


def test_the_files_of_others_are_no_backups(tmp_path):
    refuses(lambda: restore(kept_settings(tmp_path / "there"), tmp_path / "b", NOW), NotRestored, "/b", "No such file")
    (tmp_path / "b").write_bytes(b"a letter to somebody")
    refuses_whole(tmp_path, "no whole backup")
    with tarfile.open(tmp_path / "b", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("photos/cat.jpg"), io.BytesIO())
    refuses_whole(tmp_path, "manifest")


def rewrite(path, change):
    """The backup with its manifest and members as `change(manifest, members)` leaves them."""
    with tarfile.open(path) as tar:
        members = {name: tar.extractfile(name).read() for name in tar.getnames()}
    manifest = json.loads(members.pop("manifest.json"))
    change(manifest, members)
    with gzip.open(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in {"manifest.json": json.dumps(manifest).encode(), **members}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _escape(manifest, members):
    members["../../evil"] = b"evil"
    manifest["files"].append({"name": "../../evil", "bytes": 4, "sha256": KEY})


def _stowaway(_manifest, members):
    members[f"models/{KEY}"] = b"not in the manifest"


def _swap(_manifest, members):
    members["farmd.db"] = bytes(len(members["farmd.db"]))


def _lack(_manifest, members):
    members.popitem()


def _no_store(manifest, members):
    del members["farmd.db"]
    manifest["files"] = [each for each in manifest["files"] if each["name"] != "farmd.db"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_escape, "evil"),
        (_stowaway, KEY),
        (_swap, "not what was packed"),
        (_lack, "missing"),
        (_no_store, "no store"),
        (lambda manifest, _: manifest.pop("schema"), "manifest"),
        (lambda manifest, _: manifest.update(format=2, farmd="9.0"), "newer farmd (9.0)"),
    ],
)
def test_what_is_not_as_farmd_wrote_it_is_refused(farm, tmp_path, change, words):
    back_up(farm, tmp_path / "b", NOW)
    rewrite(tmp_path / "b", change)
    refuses_whole(tmp_path, words)
    assert not (tmp_path / "evil").exists()


def test_a_store_of_a_newer_farmd_is_refused_before_it_is_unpacked(farm, tmp_path):
    back_up(farm, tmp_path / "b", NOW)
    rewrite(tmp_path / "b", lambda manifest, _: manifest.update(schema="9999", farmd="9.0"))
    refuses(
        lambda: restore(kept_settings(tmp_path / "there"), tmp_path / "b", NOW), NotRestored, "newer farmd (9.0", "9999", "0001"
    )
    assert not (tmp_path / "there" / "files").exists()


def test_the_manifest_can_be_read_alone(farm, tmp_path):
    made = back_up(farm, tmp_path / "b", NOW)
    assert archive.glance(tmp_path / "b") == made
    assert archive.check(tmp_path / "b") == made
