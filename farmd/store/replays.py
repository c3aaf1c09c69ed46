"""The answers already given to requests that carried an Idempotency-Key, each written in the transaction of its effect."""

from datetime import datetime

from sqlalchemy import Connection, delete, select

from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import Row, add


def find_replay(connection: Connection, key_id: str, idempotency_key: str) -> Row | None:
    """What was answered to this caller under this key, if anything."""
    mine = (t.replays.c.key_id == key_id) & (t.replays.c.idempotency_key == idempotency_key)
    return connection.execute(select(t.replays).where(mine)).mappings().first()


def keep_replay(tx: Tx, key_id: str, idempotency_key: str, request_sha: str, status: int, body: str) -> None:
    """Remember an answer."""
    add(
        tx,
        t.replays,
        key_id=key_id,
        idempotency_key=idempotency_key,
        request_sha=request_sha,
        status=status,
        body=body,
        created_at=tx.world.now(),
    )


def forget_replays(tx: Tx, before: datetime) -> int:
    """Drop answers older than `before`; returns how many."""
    return tx.connection.execute(delete(t.replays).where(t.replays.c.created_at < before)).rowcount
