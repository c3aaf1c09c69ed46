"""API keys as rows: a fingerprint, a name and a role. The key itself exists once, in the hands of whoever asked for it."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from farmd.store import tables as t
from farmd.store.engine import Conflict, Tx
from farmd.store.rows import Missing, Row, add, find

ROLES = ("customer", "operator", "admin")
_ID_LENGTH, _SECRET_LENGTH = 10, 43  # 43 letters and digits hold 256 bits
_LONGEST_NAME = 100
TRUSTED_SECONDS = 0.5
"""How long a daemon may remember a key; another process may have revoked it, so only time can tell."""


def fingerprint(secret: str) -> str:
    """What is stored of a secret. A plain hash is enough: the secret is random, not chosen."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create_key(tx: Tx, name: str, role: str, customer_id: str | None = None) -> str:
    """Make a key and return it, `fk_<id>_<secret>`; it cannot be read again. Raises `ValueError` for a role that does not exist
    or a customer that does not fit it, `Conflict` when the name is taken."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is not a role; choose one of {', '.join(ROLES)}")
    if (role == "customer") != (customer_id is not None):
        raise ValueError("a customer's key needs the customer's id" if role == "customer" else f"an {role}'s key has no customer")
    if not name.strip():
        raise ValueError("a key needs a name")
    if not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ValueError(f"a key's name is printable text on one line of at most {_LONGEST_NAME} characters")
    if tx.connection.execute(select(t.api_keys.c.id).where(t.api_keys.c.name == name)).first() is not None:
        raise Conflict(f"there is a key named {name!r} already; revoke it or choose another name")
    key_id, secret = tx.world.secret(_ID_LENGTH), tx.world.secret(_SECRET_LENGTH)
    add(
        tx,
        t.api_keys,
        id=key_id,
        name=name,
        role=role,
        customer_id=customer_id,
        secret_sha256=fingerprint(secret),
        created_at=tx.world.now(),
    )
    return f"fk_{key_id}_{secret}"


def list_keys(connection: Connection) -> Sequence[Row]:
    """Every key without its secret, by name."""
    columns = [column for column in t.api_keys.c if column.name != "secret_sha256"]
    return connection.execute(select(*columns).order_by(t.api_keys.c.name)).mappings().all()


def revoke_key(tx: Tx, name: str) -> None:
    """End a key; a running daemon refuses it within a second. Raises `Missing`."""
    if tx.connection.execute(delete(t.api_keys).where(t.api_keys.c.name == name)).rowcount != 1:
        raise Missing("key", name)


def find_key(connection: Connection, key_id: str) -> Row | None:
    """The row of a key by the id inside it."""
    return find(connection, t.api_keys, key_id)


def touch_key(tx: Tx, key_id: str, at: datetime) -> None:
    """Note that a key was used."""
    tx.connection.execute(update(t.api_keys).where(t.api_keys.c.id == key_id).values(last_used_at=at))
