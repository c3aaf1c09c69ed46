"""The last look at a sliced file before it leaves the farm: it must be there, and be the bytes the slicer's gate passed.

Files are named by their inputs and never changed in place; a damaged one is reported, not repaired here.
"""

import asyncio
import hashlib
import json
from pathlib import Path


class FileGone(Exception):
    """A sliced file is missing or is not what was sliced; its plate has to be cut again."""


class Staging:
    """Finds `<key>.gcode` and checks it against the hash in `<key>.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ready(self, key: str) -> Path:
        """The file of this artifact, verified. Raises `FileGone`."""
        return await asyncio.to_thread(self._verified, key)

    def _verified(self, key: str) -> Path:
        path = self._folder / f"{key}.gcode"
        try:
            expected = json.loads((self._folder / f"{key}.json").read_text())["artifact"]["sha256"]
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileGone(f"the sliced file {key[:12]} is gone or unreadable: {error}") from error
        if found != expected:
            self._discard(key)
            raise FileGone(f"the sliced file {key[:12]} was changed on disk since it was sliced")
        return path

    def _discard(self, key: str) -> None:
        for suffix in ("gcode", "json"):
            (self._folder / f"{key}.{suffix}").unlink(missing_ok=True)
