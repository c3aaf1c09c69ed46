"""The storage card of a virtual Bambu printer: a folder of this host, with a size, and the ways in which cards fail.

The file server and the firmware both use it, from their own threads; a file is there once it was written to its end. A name may
never lead out of the folder.
"""

import re
import shutil
import threading
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path, PurePosixPath
from typing import BinaryIO

FOLDERS = ("cache", "model", "timelapse", "image", "logger")
_FORBIDDEN = re.compile(r'[<>:"\\|?*\x00-\x1f]')


class CardState(IntEnum):
    """The two bits of it in `home_flag`."""

    MISSING = 0
    FINE = 1
    DAMAGED = 2
    READ_ONLY = 3


class Full(OSError):
    """No byte more."""


class Card:
    """`capacity` in bytes."""

    def __init__(self, root: Path, capacity: int = 32_000_000_000) -> None:
        self.root, self.capacity = root, capacity
        self.state = CardState.FINE
        self.locked: str | None = None  # the file that is being printed
        self._lock = threading.Lock()
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True, exist_ok=True)

    @property
    def readable(self) -> bool:
        return self.state in (CardState.FINE, CardState.READ_ONLY)

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        with self._lock:
            return max(0, self.capacity - sum(file.stat().st_size for file in self._files()))

    def where(self, name: str, folder: str = "/") -> str:
        """The path that `name` means in `folder`, from the root on; it may be absolute."""
        parts: list[str] = []
        for part in PurePosixPath(folder, name).parts[1:] if not name.startswith("/") else PurePosixPath(name).parts[1:]:
            if part == "..":
                parts = parts[:-1]
            elif part != ".":
                parts.append(part)
        return "/" + "/".join(parts)

    def file(self, path: str) -> Path:
        """Where the file really lies. Raises `FileNotFoundError` for a name no card can have, and without a card."""
        if self.state is CardState.MISSING or _FORBIDDEN.search(path):
            raise FileNotFoundError(path)
        return self.root / self.where(path).lstrip("/")

    def takes(self, path: str) -> bool:
        """Whether a file of that name may be written now."""
        legal = not _FORBIDDEN.search(path) and len(PurePosixPath(path).name) <= 100
        inside = legal and self.state is not CardState.MISSING and self.file(path).parent.is_dir()
        return inside and self.state is CardState.FINE and path != self.locked and self.free > 0

    def create(self, path: str) -> BinaryIO:
        """A new file, or the old one emptied. Raises `OSError`."""
        return self.file(path).open("wb")

    def delete(self, path: str) -> bool:
        """Whether there was one that could go."""
        if not self.readable or self.state is CardState.READ_ONLY or path == self.locked:
            return False
        try:
            self.file(path).unlink()
        except OSError:
            return False
        return True

    def size(self, path: str) -> int | None:
        """In bytes; None where there is no such file."""
        try:
            file = self.file(path)
        except FileNotFoundError:
            return None
        return file.stat().st_size if file.is_file() else None

    def listing(self, folder: str) -> list[Path]:
        """What lies in it, by name. Raises `OSError` where there is no such folder."""
        return sorted(self.file(folder).iterdir())

    def wipe(self) -> None:
        """Everything is gone, as after formatting."""
        for entry in self.root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in FOLDERS:
            (self.root / folder).mkdir()

    def _files(self) -> Iterator[Path]:
        return (file for file in self.root.rglob("*") if file.is_file())
