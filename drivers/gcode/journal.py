"""What a streamer did, one line of JSON after another, on disk: how each print began and ended, and how far it is.

Append-only. The beginning and the end of a print are on the disk before anything else happens; how far it is may be a second
old. It tells a streamer that comes up whether the one before died in the middle of a print.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

KEEP_BYTES = 1 << 20


class Journal:
    """The journal of one printer. `endings` are the known ends by token, `unended` the token of a print that has none."""

    def __init__(self, file: Path) -> None:
        self.endings: dict[str, str] = {}
        self.unended: str | None = None
        self._file = file
        for entry in _entries(file):
            self._learn(entry)
        if file.exists() and file.stat().st_size > KEEP_BYTES:
            self._shorten()
        self._stream = file.open("ab", buffering=0)

    def write(self, *, lasting: bool = False, **entry: Any) -> None:
        """Add one entry; `lasting` ones are on the disk when this returns."""
        self._learn(entry)
        self._stream.write(json.dumps(entry).encode() + b"\n")
        if lasting:
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn(self, entry: dict[str, Any]) -> None:
        token = entry.get("token")
        if entry.get("kind") == "started":
            self.unended = token
            self.endings.pop(str(token), None)
        elif entry.get("kind") == "ended":
            self.unended = None
            self.endings[str(token)] = str(entry.get("ending"))

    def _shorten(self) -> None:
        """Keep the ends alone."""
        draft = self._file.with_suffix(".draft")
        kept = [{"kind": "ended", "token": token, "ending": ending} for token, ending in self.endings.items()]
        if self.unended is not None:
            kept.append({"kind": "started", "token": self.unended})
        with draft.open("wb") as stream:
            stream.writelines(json.dumps(entry).encode() + b"\n" for entry in kept)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._file)


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """Every entry that can be read: the last line may be half."""
    if not file.exists():
        return
    with file.open("rb") as stream:
        for line in stream:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry
