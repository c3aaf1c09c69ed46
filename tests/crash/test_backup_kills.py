"""kill -9 at every step a backup or a restore takes on the disk: there is the whole or nothing, and the next try goes through.

The process dies by its own hand at the n-th thing it asks of the file system, told by Python's audit events; n goes over all.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from farmd.backups import archive
from farmd.backups.restore import restore
from farmd.backups.take import back_up
from farmd.store.engine import open_engine
from farmd.store.schema import StoreMissing, upgrade
from tests.kept_farm import fill, kept_settings, open_kept

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
STEPS = ("open", "os.", "shutil.", "sqlite3.connect")


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("farm")
    settings = kept_settings(folder)

    async def make():
        store = await open_kept(settings)
        await store.write(lambda tx: fill(tx, settings))
        await store.close()

    asyncio.run(make())
    return settings


def dies_at(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that kills itself at its `step`-th request to the file system; False when it ended before."""
    child = os.fork()
    if child == 0:
        left = step

        def count(event: str, _arguments: object) -> None:
            nonlocal left
            if event.startswith(STEPS):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def test_a_killed_backup_leaves_a_whole_one_or_none(farm, tmp_path):
    deaths = 0
    while True:
        file = tmp_path / f"{deaths}.tar.gz"
        died = dies_at(deaths + 1, lambda file=file: back_up(farm, file, NOW))
        if file.exists():
            archive.check(file)
        if not died:
            break
        deaths += 1
    print(f"{deaths} deaths")
    assert deaths > 20
    assert file.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "what the dead left behind was swept"


def test_a_killed_restore_leaves_a_whole_farm_or_none(farm, tmp_path):
    made = back_up(farm, tmp_path / "b", NOW)
    deaths = 0
    while True:
        there = kept_settings(tmp_path / f"there{deaths}")
        died = dies_at(deaths + 1, lambda there=there: restore(there, tmp_path / "b", NOW))
        database = tmp_path / f"there{deaths}" / "farmd.db"
        if not database.exists() and died:
            assert_no_farm_begins(there, (tmp_path / f"there{deaths}" / "farmd.db.made").exists())
            assert restore(there, tmp_path / "b", NOW) == made
        assert_whole(there, database, made)
        if not died:
            break
        deaths += 1
    print(f"{deaths} deaths")
    assert deaths > 20


def assert_no_farm_begins(there, noted):
    """Once anything was put in place, a daemon that starts too early finds no excuse for an empty farm."""
    placed = [path for kind in ("models", "geometry", "sliced") for path in (there.files / kind).glob("*")]
    assert noted or not placed
    if noted:
        engine = open_engine(there.store_url)
        with pytest.raises(StoreMissing):
            upgrade(engine)
        engine.dispose()


def assert_whole(there, database, made):
    with closing(sqlite3.connect(database)) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT count(*) FROM meta WHERE key = 'restored'").fetchone() == (1,)
    for member in made.members:
        if member.name != archive.DATABASE:
            assert archive.measure(member.name, there.files / member.name) == member
