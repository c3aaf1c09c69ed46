"""The prints of one printer on the disk, in the folder that outlives the daemon.

A start may leave only when its print stands here: the printer itself remembers no more than one print's names.
"""

import json
import os
from pathlib import Path

from drivers.bambu.prints import Prints, read_entries

FILE = "prints.json"


def load(folder: Path) -> Prints:
    """What is written down; nothing where there is no ledger, or one that cannot be read: then prints are known by their names."""
    try:
        return Prints(read_entries(json.loads((folder / FILE).read_bytes())))
    except (OSError, ValueError):
        return Prints()


def save(folder: Path, listed: list[dict[str, object]]) -> None:
    """Write the ledger, whole or not at all; it is on the disk when this returns. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{FILE}.new"
    with new.open("w") as stream:
        json.dump(listed, stream)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(folder / FILE)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
