"""The shape of the store, brought up to date before anything reads or writes it.

Migrations run under the same lock a writer takes, so two processes that start together (the daemon and `farmd keys`) do not both
migrate. A store written by a newer farmd is refused: an old program must never guess at new columns.

Alembic is only loaded to migrate: almost every start finds that there is nothing to do, in less time than loading it takes.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from farmd.store.engine import StoreDamaged, StoreFailed
from farmd.store.files import sync_folder

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x6661726D64  # "farmd", the advisory lock's number on PostgreSQL


class SchemaTooNew(StoreFailed):
    """The store was last used by a newer farmd."""


class StoreMissing(StoreFailed):
    """There was a store here, and its file is gone or empty."""


def migrations_config(connection: Connection | None = None) -> "Config":
    """Alembic's configuration, built in code: there is no alembic.ini."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """The revision this farmd works with."""
    return known_revisions()[-1]


def known_revisions() -> list[str]:
    """Every revision this farmd has a migration to, oldest first; the files are called after them."""
    known = sorted(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))
    if not known:
        raise RuntimeError(f"no migrations in {_MIGRATIONS}: the installation is incomplete")
    return known


def revision(engine: Engine) -> str | None:
    """The revision the store stands at; None for an empty one. Raises `StoreFailed` when it cannot be read."""
    try:
        with engine.connect() as connection:
            return _stands_at(connection)
    except SQLAlchemyError as error:
        raise _explained(engine, error) from error


def _stands_at(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def revision_to_leave(engine: Engine) -> str | None:
    """The older revision that `upgrade` would migrate this store from; None for an empty one, and for one that is up to date.
    Raises `StoreMissing`, `StoreFailed`."""
    refuse_missing(engine)
    place = _file(engine)
    if place is not None and not place.exists():
        return None
    current = revision(engine)
    return current if current in known_revisions()[:-1] else None


def check(engine: Engine) -> None:
    """Raise `SchemaTooNew` when the store is ahead of this farmd."""
    _refuse_newer(revision(engine))


def upgrade(engine: Engine, to: str = "head") -> None:
    """Create or migrate the store in one transaction. Raises `SchemaTooNew`, `StoreMissing`, `StoreFailed`; then nothing was
    changed."""
    _make_folder(engine)
    refuse_missing(engine)
    try:
        with engine.connect().execution_options(writer=True) as connection, connection.begin():
            _migrate(connection, to)
    except SQLAlchemyError as error:
        raise _explained(engine, error) from error
    if place := _file(engine):
        note_store(place)


def _migrate(connection: Connection, to: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    current = _stands_at(connection)
    _refuse_newer(current)
    if to == "head" and current == newest():
        return
    from alembic import command

    command.upgrade(migrations_config(connection), to)


def refuse_missing(engine: Engine) -> None:
    """Raise `StoreMissing` when a store was here and its file is gone or empty: an empty farm must not begin in its place."""
    place = _file(engine)
    if place is None or not _note_of(place).exists() or (place.is_file() and place.stat().st_size > 0):
        return
    raise StoreMissing(
        f"the store {place} is {'empty' if place.exists() else 'gone'}, but a farm was here. Put it back, or restore a backup; "
        f"only if you want to begin with an empty farm, delete {_note_of(place)}"
    )


def note_store(place: Path) -> None:
    """Write down beside a store that it exists. Raises `StoreFailed`."""
    note = _note_of(place)
    if note.exists():
        return
    try:
        note.write_text(f"{place.name} holds a farm. While this note is here, farmd begins no empty one if that file is missing.\n")
        sync_folder(place.parent)
    except OSError as error:
        raise StoreFailed(f"{note} cannot be written: {error.strerror or error}") from error


def _note_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.made")


def _file(engine: Engine) -> Path | None:
    """Where the store lies, if it is a file."""
    return Path(engine.url.database) if engine.dialect.name == "sqlite" and engine.url.database else None


def _make_folder(engine: Engine) -> None:
    if place := _file(engine):
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreFailed(f"cannot make the folder of the store: {error}") from error


def _refuse_newer(current: str | None) -> None:
    if current is not None and current not in known_revisions():
        raise SchemaTooNew(
            f"the store was written by a newer farmd (revision {current}, this one knows up to {newest()}): "
            "install that version again, or restore a backup made before it"
        )


def _explained(engine: Engine, error: SQLAlchemyError) -> StoreFailed:
    words = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    place = engine.url.database if engine.dialect.name == "sqlite" else engine.url.render_as_string(hide_password=True)
    if isinstance(error, OperationalError) and "unable to open" in words:
        return StoreFailed(f"cannot open the store {place}: its folder must exist and belong to the user farmd runs as")
    if "not a database" in words or "malformed" in words:
        return StoreDamaged(f"the store {place} is damaged: put it aside, and the last backup of it in its place")
    if "readonly" in words:
        return StoreFailed(f"the store {place} is read-only: make the file and its folder writable for the user farmd runs as")
    return StoreFailed(f"the store {place} cannot be used: {words}")
