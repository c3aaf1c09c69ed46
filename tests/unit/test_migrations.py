"""The store's shape: a migrated store equals a fresh one, and a store of the future is refused."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from farmd.store.engine import StoreFailed, open_engine
from farmd.store.migrations.rendering import compare_type
from farmd.store.schema import SchemaTooNew, migrations_config, newest, revision, upgrade
from farmd.store.tables import metadata


@pytest.fixture
def engine(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/new/farm.db")
    yield engine
    engine.dispose()


def revisions():
    scripts = ScriptDirectory.from_config(migrations_config()).walk_revisions()
    return [script.revision for script in scripts][::-1]


def test_a_stepwise_migrated_store_equals_the_tables(engine):
    for step in revisions():
        upgrade(engine, step)
        assert revision(engine) == step
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": compare_type})
        assert compare_metadata(context, metadata) == []


def test_checks_and_partial_indexes_are_those_of_the_tables(engine, tmp_path):
    """What Alembic's comparison does not see on SQLite: the text of every index and the constraints of every table."""
    upgrade(engine)
    fresh = open_engine(f"sqlite:///{tmp_path}/fresh.db")
    metadata.create_all(fresh)
    assert shape(engine) == shape(fresh)
    fresh.dispose()


def shape(engine):
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with engine.connect() as connection:
        indexes = {name: " ".join(sql.split()) for name, sql in connection.execute(text(query))}
        looked = inspect(connection)
        tables = {
            name: (
                sorted((c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in looked.get_columns(name)),
                sorted((f["constrained_columns"], f["referred_table"]) for f in looked.get_foreign_keys(name)),
                sorted(u["column_names"] for u in looked.get_unique_constraints(name)),
                sorted(str(c["sqltext"]) for c in looked.get_check_constraints(name)),
            )
            for name in looked.get_table_names()
            if name != "alembic_version"
        }
    return indexes, tables


def test_a_second_upgrade_changes_nothing(engine):
    upgrade(engine)
    upgrade(engine)
    assert revision(engine) == newest()


def test_two_processes_at_once_do_not_both_migrate(tmp_path):
    def start(_number):
        engine = open_engine(f"sqlite:///{tmp_path}/farm.db")
        try:
            upgrade(engine)
            return revision(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(start, range(4))) == {newest()}


def test_a_store_of_a_newer_farmd_is_refused(engine):
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match=r"newer farmd \(revision 9999, .*restore a backup"):
        upgrade(engine)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "farm.db").write_bytes(b"this is no database" * 1000)
    engine = open_engine(f"sqlite:///{tmp_path}/farm.db")
    with pytest.raises(StoreFailed, match=r"farm\.db.*damaged.*last backup"):
        upgrade(engine)
    engine.dispose()


def test_a_failed_migration_leaves_the_store_as_it_was(engine, tmp_path):
    engine.connect().close() if (tmp_path / "new").exists() else (tmp_path / "new").mkdir()
    with sqlite3.connect(tmp_path / "new/farm.db") as raw:
        raw.execute("CREATE TABLE webhooks (mine TEXT)")
    raw.close()
    with pytest.raises(StoreFailed, match="already exists"):
        upgrade(engine)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["webhooks"]


def test_a_place_that_cannot_be_written_is_named():
    engine = open_engine("sqlite:////proc/nowhere/farm.db")
    with pytest.raises(StoreFailed, match="cannot make the folder of the store"):
        upgrade(engine)
    engine.dispose()
