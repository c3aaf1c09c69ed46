"""Counts for whoever watches the farm from outside."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Table, func, select

from farmd.store import tables as t


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
