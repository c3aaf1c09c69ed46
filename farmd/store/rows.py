"""The three ways a transaction touches a row: get it, get it or raise, change it under its version.

Everything else in the store is built of these, so that no update ever goes past the compare-and-set.
"""

from functools import cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, Table, bindparam, insert, select, update

from farmd.store.engine import Conflict, Tx

Row = RowMapping


class Missing(LookupError):
    """There is no such row."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__(f"there is no {what} {key!r}")
        self.what, self.key = what, key


_NAMES = {
    "orders": "order",
    "line_items": "line item",
    "skus": "SKU",
    "jobs": "job",
    "plates": "plate",
    "attempts": "attempt",
}


@cache
def _by_key(table: Table) -> Select[Any]:
    """Built once: composing a statement costs more than SQLite takes to carry it out."""
    (column,) = table.primary_key.columns
    return select(table).where(column == bindparam("key"))


def find(connection: Connection, table: Table, key: str) -> Row | None:
    """The row with this primary key, or None."""
    return connection.execute(_by_key(table), {"key": key}).mappings().first()


def get(connection: Connection, table: Table, key: str) -> Row:
    """The row with this primary key. Raises `Missing`."""
    row = find(connection, table, key)
    if row is None:
        raise Missing(_NAMES.get(table.name, table.name.rstrip("s")), key)
    return row


def add(tx: Tx, table: Table, **values: Any) -> Row:
    """Insert a row, and return it with everything that was left to its column."""
    return tx.connection.execute(insert(table).values(**values).returning(table)).mappings().one()


def change(tx: Tx, table: Table, row: Row, **values: Any) -> Row:
    """Update a row if nobody else did since it was read, and return it as it is now. Raises `Conflict`."""
    (column,) = table.primary_key.columns
    if "version" in table.c:
        values["version"] = row["version"] + 1
    if "updated_at" in table.c:
        values["updated_at"] = tx.world.now()
    statement = update(table).where(column == row[column.name]).values(**values)
    if "version" in table.c:
        statement = statement.where(table.c.version == row["version"])
    changed = tx.connection.execute(statement.returning(table)).mappings().first()
    if changed is None:
        raise Conflict(f"{table.name} {row[column.name]} was changed by somebody else meanwhile")
    return changed
