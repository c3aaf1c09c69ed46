"""How often the storage of a printer failed since its last good print, over restarts of the daemon.

One such fault may be an upload that went wrong; the second is a bad card, and every further print would be lost to it.
"""

from sqlalchemy import Connection

from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.rows import add, change, find

MOST = 2
_STANDS = "!"  # behind the count: the fault is still there


def note_storage(tx: Tx, printer_id: str, *, faulty: bool) -> bool:
    """Take in whether the storage is faulty now; a fault counts once, however long it stands. True when there were too many since
    the last good print: then the count begins anew."""
    count, stood = read_storage(tx.connection, printer_id)
    if faulty == stood:
        return False
    count += faulty
    enough = count >= MOST
    _write(tx, printer_id, 0 if enough else count, faulty=faulty)
    return enough


def forgive_storage(tx: Tx, printer_id: str) -> None:
    """A print came out well."""
    count, stood = read_storage(tx.connection, printer_id)
    if count:
        _write(tx, printer_id, 0, faulty=stood)


def read_storage(connection: Connection, printer_id: str) -> tuple[int, bool]:
    """How many faults count, and whether one stands."""
    noted = find(connection, t.meta, _key(printer_id))
    value = str(noted["value"]) if noted is not None else "0"
    return int(value.removesuffix(_STANDS)), value.endswith(_STANDS)


def _write(tx: Tx, printer_id: str, count: int, *, faulty: bool) -> None:
    key, value = _key(printer_id), f"{count}{_STANDS if faulty else ''}"
    noted = find(tx.connection, t.meta, key)
    if noted is None:
        add(tx, t.meta, key=key, value=value)
    else:
        change(tx, t.meta, noted, value=value)


def _key(printer_id: str) -> str:
    return f"storage:{printer_id}"
