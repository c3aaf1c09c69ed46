"""The answers already given to requests that carried an Idempotency-Key, each written in the transaction of its effect."""

from sqlalchemy import Connection, select, update

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


def amend_replay(tx: Tx, key_id: str, idempotency_key: str, body: str) -> None:
    """Answer repetitions with a fuller body from now on."""
    mine = (t.replays.c.key_id == key_id) & (t.replays.c.idempotency_key == idempotency_key)
    tx.connection.execute(update(t.replays).where(mine).values(body=body))
