"""What a streamer did, one line of JSON after another, on disk: how each print began and ended, and how far it is.

Append-only. The beginning and the end of a print are on the disk before anything else happens; how far it is may be a second
old. It tells a streamer that comes up whether the one before died in the middle of a print, or left a hot machine behind.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

KEEP_BYTES, KEEP_ENDINGS = 1 << 20, 1000


class Journal:
    """The journal of one printer. `endings` are the known ends by token, `unended` the token of a print that has none; `unsafe`:
    a print began, and since then nobody saw to it that the heaters are off."""

    def __init__(self, file: Path) -> None:
        self.endings: dict[str, str] = {}
        self.unended: str | None = None
        self.unsafe = False
        self._file = file
        for entry in _entries(file):
            self._learn(entry)
        self._owed = b"\n" if _cut_short(file) else b""
        self._stream = file.open("ab", buffering=0)
        if self._stream.tell() > KEEP_BYTES:
            self._shorten()

    def write(self, *, lasting: bool = False, **entry: Any) -> bool:
        """Add one entry; `lasting` ones are on the disk when this returns. Gives whether it is written: on a full disk a lasting
        entry is written as soon as there is room, with the next; others are lost."""
        self._learn(entry)
        if kept := lasting or self._owed in (b"", b"\n"):
            self._owed += json.dumps(entry).encode() + b"\n"
        try:
            while self._owed:
                self._owed = self._owed[self._stream.write(self._owed) or 0 :]
            if lasting:
                os.fsync(self._stream.fileno())
        except OSError:
            return False
        if entry.get("kind") == "ended" and self._stream.tell() > KEEP_BYTES:
            self._shorten()
        return kept

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _learn(self, entry: dict[str, Any]) -> None:
        token = entry.get("token")
        match entry.get("kind"):
            case "started":
                self.unended, self.unsafe = token, True
                self.endings.pop(str(token), None)
            case "ended":
                self.unended, self.unsafe = None, bool(entry.get("unsafe"))
                self.endings[str(token)] = str(entry.get("ending"))
            case "safe":
                self.unsafe = False

    def _shorten(self) -> None:
        """Keep the newest ends alone. What cannot be shortened goes on as it is."""
        draft = self._file.with_suffix(".draft")
        newest = list(self.endings.items())[-KEEP_ENDINGS:]
        kept: list[dict[str, Any]] = [{"kind": "ended", "token": token, "ending": ending} for token, ending in newest]
        if kept and self.unsafe:
            kept[-1]["unsafe"] = True
        if self.unended is not None:
            kept.append({"kind": "started", "token": self.unended})
        try:
            with draft.open("wb") as stream:
                stream.writelines(json.dumps(entry).encode() + b"\n" for entry in kept)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self._file)
            shorter = self._file.open("ab", buffering=0)
        except OSError:
            draft.unlink(missing_ok=True)
            return
        self._stream.close()
        self._stream, self._owed, self.endings = shorter, b"", dict(newest)


def _cut_short(file: Path) -> bool:
    """Whether a crash left the last line half."""
    if not file.exists() or file.stat().st_size == 0:
        return False
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read() != b"\n"


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    """Every entry that can be read: a line may be half."""
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
