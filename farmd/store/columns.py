"""Column kinds that several tables share."""

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import JSON, DateTime, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime, also on SQLite, which forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and dialect.name == "sqlite" else value


def when(**kwargs: Any) -> Any:
    """A moment."""
    return Field(sa_type=cast("type[Any]", UtcDateTime), **kwargs)


def json(**kwargs: Any) -> Any:
    """A JSON value."""
    return Field(sa_type=JSON, **kwargs)


def table_of(model: type[SQLModel]) -> Table:
    """The table behind a row class, for statements."""
    return cast("Table", model.__table__)  # type: ignore[attr-defined]
