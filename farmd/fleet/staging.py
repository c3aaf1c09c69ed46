"""The last look at a sliced file before it leaves the farm: it must be there, and be the bytes the slicer's gate passed.

Files are named by their inputs and never changed in place; a damaged one is reported, not repaired here.
"""

import asyncio
import hashlib
from pathlib import Path

from farmd.store.files import sliced_file


class FileGone(Exception):
    """A sliced file is missing or is not what was sliced; its plate has to be cut again."""


class Staging:
    """Finds a sliced plate by its key and checks it against the hash that was written down when it was sliced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ready(self, key: str, sha256: str) -> Path:
        """The file of this artifact, verified. Raises `FileGone`."""
        return await asyncio.to_thread(self._verified, key, sha256)

    def _verified(self, key: str, sha256: str) -> Path:
        path = sliced_file(self._folder, key)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise FileGone(f"the sliced file {key[:12]} cannot be read: {error.strerror}") from error
        if found != sha256:
            path.unlink(missing_ok=True)  # so that it is sliced again rather than found again
            raise FileGone(f"the sliced file {key[:12]} was changed on disk since it was sliced")
        return path
