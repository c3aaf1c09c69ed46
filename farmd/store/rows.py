"""The three ways a transaction touches a row: get it, get it or raise, change it under its version.

Everything else in the store is built of these, so that no update ever goes past the compare-and-set.
"""

from typing import Any

from sqlalchemy import Connection, RowMapping, Table, insert, select, update

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


def find(connection: Connection, table: Table, key: str) -> Row | None:
    """The row with this primary key, or None."""
    (column,) = table.primary_key.columns
    return connection.execute(select(table).where(column == key)).mappings().first()


def get(connection: Connection, table: Table, key: str) -> Row:
    """The row with this primary key. Raises `Missing`."""
    row = find(connection, table, key)
    if row is None:
        raise Missing(_NAMES.get(table.name, table.name.rstrip("s")), key)
    return row


def add(tx: Tx, table: Table, **values: Any) -> None:
    """Insert a row."""
    tx.connection.execute(insert(table).values(**values))


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
    if tx.connection.execute(statement).rowcount != 1:
        raise Conflict(f"{table.name} {row[column.name]} was changed by somebody else meanwhile")
    return get(tx.connection, table, row[column.name])
