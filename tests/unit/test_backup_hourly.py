"""The backups that farmd makes by itself: when, how many, and what is told when it does not work."""

import asyncio
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from farmd.backups import archive
from farmd.backups.hourly import TRY_AGAIN, Backups, backup_name, kept_backups, newest, thinned
from farmd.backups.migrating import bring_up_to_date
from farmd.config import BackupSettings
from farmd.store import schema
from farmd.store.engine import StoreDamaged, StoreFailed, open_engine, quick_check
from tests.farm import FarmWorld, open_farm
from tests.kept_farm import fill, kept_settings, open_kept
from tests.unit.test_backup import damage

START = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.fixture
def farm(tmp_path):
    """The settings of a farm that lies still, with backups beside it."""
    settings = kept_settings(tmp_path, backup=BackupSettings(tmp_path / "backups"))

    async def make():
        store = await open_kept(settings)
        await store.write(lambda tx: fill(tx, settings))
        await store.close()

    asyncio.run(make())
    return settings


def tick(backups):
    asyncio.run(backups.tick())


def hourly(*hours):
    """Backups made so many hours before START, newest first."""
    moments = [START - timedelta(hours=hour) for hour in sorted(hours)]
    return [(at, Path(backup_name(at))) for at in moments]


def test_one_is_made_every_hour_and_a_restart_makes_no_more(farm):
    world = FarmWorld(START)
    backups = Backups(farm, world)
    assert backups.last_success is None
    tick(backups)
    assert backups.last_success == START
    for _ in range(3):
        world.forward(1100)
        tick(Backups(farm, world))
    assert backups.last_success == START
    world.forward(300)
    tick(Backups(farm, world))
    assert [at for at, _ in kept_backups(farm.backup.folder)] == [START + timedelta(hours=1), START]
    assert all(archive.check(path).schema == "0001" for _, path in kept_backups(farm.backup.folder))


def test_a_clock_that_was_set_back_does_not_stop_them(farm):
    tick(Backups(farm, FarmWorld(START + timedelta(days=400))))
    earlier = Backups(farm, FarmWorld(START))
    assert earlier.due
    tick(earlier)
    assert len(kept_backups(farm.backup.folder)) == 2


def test_thinning_keeps_the_last_hours_and_one_of_each_day_before():
    everything = hourly(*range(24 * 60))
    gone = set(thinned(everything, 48))
    left = [at for at, path in everything if path not in gone]
    assert len(left) == 48
    assert left[:24] == [START - timedelta(hours=hour) for hour in range(24)]
    days = [at.date() for at in left[24:]]
    assert days == [(START - timedelta(days=day)).date() for day in range(2, 26)]
    assert {at.hour for at in left[24:]} == {23}, "the last of each day"


@pytest.mark.parametrize("keep", [2, 3, 7, 48])
def test_thinning_hour_by_hour_comes_to_the_same(keep):
    kept = []
    for hour in range(24 * 40, -1, -1):
        kept = [*hourly(hour), *kept]
        gone = set(thinned(kept, keep))
        kept = [each for each in kept if each[1] not in gone]
        assert len(kept) <= keep
        assert kept[0] == hourly(hour)[0]
    assert len(kept) == keep
    assert len({at.date() for at, _ in kept}) >= keep // 2


def test_others_in_the_folder_are_neither_counted_nor_removed(farm):
    folder = farm.backup.folder
    folder.mkdir()
    mine = [folder / "farmd-20200101T000000Z-before-0002.tar.gz", folder / "farmd-mine.tar.gz", folder / "notes"]
    for path in mine:
        path.write_text("mine")
    for day in range(5):
        tick(Backups(replace(farm, backup=replace(farm.backup, keep=2)), FarmWorld(START + timedelta(days=day))))
    assert len(kept_backups(folder)) == 2
    assert all(path.read_text() == "mine" for path in mine)


def test_a_failure_is_told_tried_again_later_and_forgotten_when_it_works(farm):
    farm.backup.folder.write_text("a file where the folder should be")
    world = FarmWorld(START)
    backups = Backups(farm, world)
    tick(backups)
    assert str(farm.backup.folder) in backups.failure
    assert "another in [backup] folder" in backups.failure
    farm.backup.folder.unlink()
    tick(backups)
    assert (backups.failures, backups.last_success) == (1, None), "not at every tick"
    world.forward(TRY_AGAIN)
    tick(backups)
    assert (backups.failures, backups.failure) == (1, None)
    assert backups.last_success is not None


def test_a_store_that_broke_meanwhile_makes_none_and_keeps_those_there_are(farm, tmp_path):
    world = FarmWorld(START)
    backups = Backups(replace(farm, backup=replace(farm.backup, keep=2)), world)
    tick(backups)
    damage(tmp_path / "farmd.db")
    for _ in range(5):
        world.forward(3600)
        tick(backups)
    assert "farmd.db" in backups.failure
    assert [at for at, _ in kept_backups(farm.backup.folder)] == [START]
    assert [path for path in farm.backup.folder.iterdir() if path.name.startswith(".")] == []


def test_what_is_told_to_those_who_watch(tmp_path):
    async def story():
        async with open_farm(tmp_path, world=FarmWorld(START)) as farm:
            assert (await farm.stranger.get("/readyz")).json() == {"status": "ready"}
            farm.rooms.backups = backups = Backups(kept_settings(tmp_path, backup=BackupSettings(tmp_path / "b")), farm.world)
            assert (await farm.stranger.get("/readyz")).json()["backup"] == {"lastSuccess": None, "failure": None}
            assert "farmd_backup_last_success_timestamp_seconds 0.0" in (await farm.stranger.get("/metrics")).text
            (tmp_path / "b").write_text("")
            await backups.tick()
            ready = await farm.stranger.get("/readyz")
            assert ready.status_code == 200, "a farm without a backup goes on printing"
            assert "cannot be used" in ready.json()["backup"]["failure"]
            assert "farmd_backup_failures_total 1.0" in (await farm.stranger.get("/metrics")).text
            assert "backup_failed" in (await farm.operator.get("/")).text
            (tmp_path / "b").unlink()
            (tmp_path / "b").mkdir()
            (tmp_path / "b" / backup_name(START)).write_bytes(b"")
            assert (await farm.stranger.get("/readyz")).json()["backup"]["lastSuccess"] == "2026-11-26T12:00:00.000Z"
            (told,) = re.findall(
                r"^farmd_backup_last_success_timestamp_seconds (\S+)$", (await farm.stranger.get("/metrics")).text, re.M
            )
            assert float(told) == START.timestamp()

    asyncio.run(story())


@pytest.fixture
def next_version(tmp_path, monkeypatch):
    """farmd as it will be some day: with one more migration, made of the real ones."""
    shutil.copytree(Path(schema.__file__).parent / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "0002_next.py").write_text(
        'import sqlalchemy as sa\nfrom alembic import op\nrevision, down_revision = "0002", "0001"\n'
        'def upgrade():\n    op.add_column("skus", sa.Column("shelf", sa.String()))\n'
    )

    def come():
        monkeypatch.setattr(schema, "_MIGRATIONS", tmp_path / "migrations")

    return come


def test_a_migration_is_preceded_by_a_backup(farm, next_version):
    engine = open_engine(farm.store_url)
    bring_up_to_date(farm, engine, START)
    assert newest(farm.backup.folder) is None, "there was nothing to migrate"
    next_version()
    bring_up_to_date(farm, engine, START)
    engine.dispose()
    (file,) = farm.backup.folder.iterdir()
    assert file.name == "farmd-20261126T120000Z-before-0002.tar.gz"
    assert archive.check(file).schema == "0001"
    assert newest(farm.backup.folder) == file
    assert schema.revision(open_engine(farm.store_url)) == "0002"


def test_without_a_backup_nothing_is_migrated(farm, next_version):
    next_version()
    farm.backup.folder.write_text("no folder")
    engine = open_engine(farm.store_url)
    with pytest.raises(StoreFailed, match=r"from revision 0001 to 0002, and not before there is a backup"):
        bring_up_to_date(farm, engine, START)
    assert schema.revision(engine) == "0001"
    engine.dispose()


def test_a_new_farm_needs_no_backup(tmp_path, next_version):
    next_version()
    settings = kept_settings(tmp_path / "new", backup=BackupSettings(tmp_path / "backups"))
    engine = open_engine(settings.store_url)
    bring_up_to_date(settings, engine, START)
    assert schema.revision(engine) == "0002"
    assert not (tmp_path / "backups").exists()
    engine.dispose()


@pytest.mark.parametrize("content", [None, b""], ids=["gone", "empty"])
def test_a_store_that_is_gone_is_never_begun_anew(farm, tmp_path, content):
    tick(Backups(farm, FarmWorld(START)))
    (tmp_path / "farmd.db").unlink()
    if content is not None:
        (tmp_path / "farmd.db").write_bytes(content)
    engine = open_engine(farm.store_url)
    with pytest.raises(StoreFailed) as refused:
        bring_up_to_date(farm, engine, START)
    engine.dispose()
    words = str(refused.value)
    for part in ("a farm was here", f"farmd restore {farm.backup.folder / backup_name(START)}", "farmd.db.made"):
        assert part in words
    assert not (tmp_path / "farmd.db").exists() or (tmp_path / "farmd.db").read_bytes() == b""
    (tmp_path / "farmd.db").unlink(missing_ok=True)
    (tmp_path / "farmd.db.made").unlink()
    engine = open_engine(farm.store_url)
    bring_up_to_date(farm, engine, START)
    engine.dispose()


def test_a_damaged_store_names_the_newest_backup(farm, tmp_path):
    tick(Backups(farm, FarmWorld(START)))
    (tmp_path / "farmd.db").write_bytes(b"this is no database" * 1000)
    engine = open_engine(farm.store_url)
    with pytest.raises(StoreFailed, match=r"damaged: put it aside.*farmd restore .*farmd-20261126T120000Z\.tar\.gz"):
        bring_up_to_date(farm, engine, START)
    engine.dispose()


def test_the_look_through_the_store_ends_in_time(farm, tmp_path):
    engine = open_engine(farm.store_url)
    assert quick_check(engine, tmp_path / "farmd.db") is True
    with engine.connect() as connection, connection.begin():
        filler = [{"key": f"x{number}", "value": "x" * 2000} for number in range(5000)]
        connection.execute(text("INSERT INTO meta VALUES (:key, :value)"), filler)
    assert quick_check(engine, tmp_path / "farmd.db", patience=0.0) is False
    assert quick_check(engine, tmp_path / "farmd.db") is True, "the clock is not looked at any more afterwards"
    engine.dispose()
    damage(tmp_path / "farmd.db")
    engine = open_engine(farm.store_url)
    with pytest.raises(StoreDamaged, match="damaged"):
        quick_check(engine, tmp_path / "farmd.db")
    engine.dispose()
