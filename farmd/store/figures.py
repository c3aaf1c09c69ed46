"""Counts for whoever watches the farm from outside."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select

from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import add, change, find

PROBE = "probe"
"""The fact in `meta` when it was last tried whether the store can be written."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How many rows stand in which state."""

    orders: Mapping[str, int]
    jobs: Mapping[str, int]
    attempts: Mapping[str, int]
    deliveries: Mapping[str, int]


def figures(connection: Connection) -> Figures:
    """Count what Prometheus asks for."""
    return Figures(
        orders=_by(connection, t.orders, "status"),
        jobs=_by(connection, t.jobs, "state"),
        attempts=_by(connection, t.attempts, "state"),
        deliveries=_by(connection, t.deliveries, "state"),
    )


def _by(connection: Connection, table: Table, column: str) -> dict[str, int]:
    counted = connection.execute(select(table.c[column], func.count()).group_by(table.c[column]))
    return {state: int(count) for state, count in counted}


def alive(connection: Connection) -> bool:
    """Whether the database answers at all."""
    return connection.execute(select(1)).scalar() == 1


def write_something(tx: Tx) -> None:
    """Prove that a change still gets to the disk: an empty transaction succeeds on a full one too."""
    row = find(tx.connection, t.meta, PROBE)
    if row is None:
        add(tx, t.meta, key=PROBE, value=tx.world.now().isoformat())
    else:
        change(tx, t.meta, row, value=tx.world.now().isoformat())
