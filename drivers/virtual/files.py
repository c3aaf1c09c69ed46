"""The file storage of a virtual OctoPrint: uploads on disk, and beside each what happened to it.

A file's history belongs to its bytes: the same bytes under the same name keep it, other bytes wipe it. That is how the
real one behaves and why a farm must never print two attempts under one name.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from drivers.virtual.names import split
from drivers.virtual.plan import Plan, read_plan


@dataclass(slots=True)
class StoredFile:
    """One upload; `date` and the dates in `prints` are seconds since the epoch by the machine's clock."""

    path: str
    display: str
    size: int
    date: int
    hash: str
    user: str | None
    userdata: Any = None
    prints: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return split(self.path)[1]

    @property
    def durations(self) -> list[float]:
        """Seconds each successful print took, oldest first."""
        return [entry["printTime"] for entry in self.prints if entry["success"]]


class Incoming:
    """An upload on its way to disk; its hash is taken as the bytes pass."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._file: BinaryIO = path.open("wb")

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha1.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Close the file and say its hash."""
        self._file.close()
        return self._sha1.hexdigest()

    def discard(self) -> None:
        """Leave nothing behind; does nothing after the file was added to the store."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class FileStore:
    """Everything under `root`. With a `root` that was used before, the files and their histories are there again."""

    def __init__(self, root: Path) -> None:
        self._uploads = root / "uploads"
        self._spool = root / "spool"
        self._index = root / "files.json"
        self._files: dict[str, StoredFile] = {}
        self._plans: dict[str, Plan] = {}
        self._serial = 0
        shutil.rmtree(self._spool, ignore_errors=True)
        for folder in (self._uploads, self._spool):
            folder.mkdir(parents=True, exist_ok=True)
        if self._index.exists():
            self._files = {entry["path"]: StoredFile(**entry) for entry in json.loads(self._index.read_text())}

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[StoredFile]:
        return iter(sorted(self._files.values(), key=lambda file: file.path))

    def get(self, path: str) -> StoredFile | None:
        return self._files.get(path)

    def incoming(self) -> Incoming:
        self._serial += 1
        return Incoming(self._spool / str(self._serial))

    def add(self, path: str, display: str, upload: Incoming, *, user: str | None, userdata: Any, date: int) -> StoredFile:
        """Put a finished upload in its place. Raises `IsADirectoryError` or `NotADirectoryError` when a folder is in the way."""
        content = upload.finish()
        target = self._uploads / path
        target.parent.mkdir(parents=True, exist_ok=True)
        upload.path.replace(target)
        before = self._files.get(path)
        if before is None or before.hash != content:
            before = StoredFile(path, display, upload.size, date, content, user)
        before.date = date
        if userdata is not None:
            before.userdata = userdata
        self._files[path] = before
        self._save()
        return before

    def record(self, path: str, entry: dict[str, Any]) -> None:
        """Add one finished print to the file's history, if the file is still there."""
        if file := self._files.get(path):
            file.prints.append(entry)
            self._save()

    def remove(self, path: str) -> None:
        del self._files[path]
        (self._uploads / path).unlink(missing_ok=True)
        self._save()

    def on_disk(self, path: str) -> Path:
        return self._uploads / path

    def plan(self, path: str) -> Plan:
        """What printing this file means; blocks while a file is read for the first time."""
        content = self._files[path].hash
        if content not in self._plans:
            self._plans[content] = read_plan(self._uploads / path)
        return self._plans[content]

    def has_folder(self, path: str) -> bool:
        return (self._uploads / path).is_dir()

    def add_folder(self, path: str) -> None:
        (self._uploads / path).mkdir(parents=True, exist_ok=True)

    def remove_folder(self, path: str) -> list[StoredFile]:
        """Remove a folder with all it holds; returns the files that went with it."""
        gone = [file for file in self if file.path.startswith(f"{path}/")]
        for file in gone:
            del self._files[file.path]
        shutil.rmtree(self._uploads / path)
        self._save()
        return gone

    def children(self, folder: str) -> list[str]:
        """Paths of what lies directly in `folder` ("" for the root), files and folders."""
        return sorted(entry.relative_to(self._uploads).as_posix() for entry in (self._uploads / folder).iterdir())

    def folder_date(self, path: str) -> int:
        return int((self._uploads / path).stat().st_mtime)

    def _save(self) -> None:
        draft = self._index.with_suffix(".new")
        draft.write_text(json.dumps([asdict(file) for file in self._files.values()]))
        draft.replace(self._index)
