"""A copy of the store as it is at one moment, taken beside a writer that goes on writing.

SQLite itself makes the copy (VACUUM INTO) from a connection of its own: one read transaction, which in WAL mode keeps nobody from
committing. A running database's file is never copied. Works on any revision of the store: a copy is also made before a migration.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from farmd.store.engine import StoreFailed

RESTORED = "restored"
"""The fact in `meta` that a store came out of a backup and nobody has looked at the machines since."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What the store speaks of that lies outside of it. `sliced`: artifact keys of plates that are still to be printed."""

    revision: str
    models: frozenset[str]
    geometry: frozenset[str]
    sliced: frozenset[str]


def take(database: Path, target: Path) -> Contents:
    """Copy the store in `database` to the new file `target`. Raises `StoreFailed`; then `target` is worth nothing."""
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=5)) as source:
            source.execute("VACUUM INTO ?", (str(target),))
        with closing(sqlite3.connect(target)) as copy:
            answer = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise StoreFailed(f"the copy of the store {database} is damaged ({answer})")
            return _contents(copy)
    except sqlite3.Error as error:
        raise StoreFailed(f"the store {database} cannot be copied: {error}") from error


def _contents(copy: sqlite3.Connection) -> Contents:
    (revision,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    models = copy.execute("SELECT sha256, geometry_sha FROM models").fetchall()
    waiting = copy.execute("SELECT artifacts FROM plates WHERE state IN ('WAITING', 'ACTIVE')").fetchall()
    return Contents(
        revision=revision,
        models=frozenset(sha for sha, _ in models),
        geometry=frozenset(sha for _, sha in models),
        sliced=frozenset(entry["key"] for (artifacts,) in waiting for entry in json.loads(artifacts).values()),
    )


def mark_restored(database: Path, made_at: datetime, restored_at: datetime) -> None:
    """Note in a store that lies still that it is the state of an earlier moment. Raises `StoreFailed`."""
    fact = json.dumps({"madeAt": made_at.isoformat(), "restoredAt": restored_at.isoformat()})
    try:
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (RESTORED, fact))
    except sqlite3.Error as error:
        raise StoreFailed(f"the store in the backup cannot be used: {error}") from error
