"""How our column types stand in a migration: as plain SQLAlchemy types, so that an old revision does not change its meaning when
`tables` does."""

from typing import Any, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column
from sqlalchemy.types import TypeEngine
from sqlmodel.sql.sqltypes import AutoString

from farmd.store.columns import UtcDateTime


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """The text of a type in a new revision; False leaves it to Alembic."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    return False


def compare_type(
    _context: MigrationContext,
    _inspected: Column[Any],
    _declared: Column[Any],
    inspected_type: TypeEngine[Any],
    declared_type: TypeEngine[Any],
) -> bool | None:
    """False where SQLite's reflection cannot tell the two apart; None leaves it to Alembic."""
    if isinstance(declared_type, UtcDateTime):
        return "DATETIME" not in str(inspected_type) and "TIMESTAMP" not in str(inspected_type)
    return None
