"""The door in front of every 3MF: a zip archive that may lie about its sizes, names and contents.

Only what passes here is ever parsed as a model. Nothing is unpacked under a name the archive chose, and inflating stops at
the first byte beyond a limit, whatever the archive claims.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from farmd.pipeline.readers import refuse

ENTRY_CAP = 2000
DIRECTORY_CAP_BYTES = 1_000_000
INFLATED_CAP_BYTES = 600_000_000
RATIO_CAP = 100  # a mesh as XML shrinks to a tenth or so
RATIO_FREE_BYTES = 8_000_000  # below this no ratio does harm
CHUNK_BYTES = 1 << 18

_SAVE_AGAIN = "Open it in your slicer or CAD program and save it as 3MF again, or export an STL."
_END = struct.Struct("<4s4H2LH")
_END_TAIL_BYTES = _END.size + 65535


class Package:
    """An archive whose directory was found harmless. Counts every byte inflated from it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        self._inflated = 0

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def chunks(self, name: str, cap: int = INFLATED_CAP_BYTES) -> Iterator[bytes]:
        """One entry, inflated piece by piece. Raises `ModelRejected` beyond `cap`, a limit, or when it is damaged."""
        entry = self._entries[name]
        inflated = 0
        try:
            with self._archive.open(entry) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    inflated += len(chunk)
                    self._inflated += len(chunk)
                    self._check(name, inflated, entry.compress_size, cap)
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            # zipfile says RuntimeError for an encrypted entry, NotImplementedError for a foreign compression
            raise refuse("damaged_archive", f"Its part {name!r} cannot be unpacked: {error}.", _SAVE_AGAIN) from None

    def _check(self, name: str, inflated: int, packed: int, cap: int) -> None:
        if inflated > cap or self._inflated > INFLATED_CAP_BYTES:
            detail = f"Its part {name!r} inflates beyond {min(cap, INFLATED_CAP_BYTES) / 1e6:.0f} MB."
        elif inflated > RATIO_FREE_BYTES and inflated > RATIO_CAP * max(packed, 1):
            detail = f"Its part {name!r} inflates to more than {RATIO_CAP} times its {packed:,} bytes."
        else:
            return
        raise refuse("archive_bomb", detail, _SAVE_AGAIN)


def admit(archive: zipfile.ZipFile) -> Package:
    """Check the archive's directory. Raises `ModelRejected` for any name that no honest 3MF has."""
    seen: set[str] = set()
    for entry in archive.infolist():
        name = entry.orig_filename
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in parts or name[1:2] == ":":
            raise refuse("archive_names", f"The archive holds an entry that points outside it: {name[:80]!r}.", _SAVE_AGAIN)
        if name.lower() in seen:
            raise refuse("archive_names", f"The archive holds {name[:80]!r} twice.", _SAVE_AGAIN)
        seen.add(name.lower())
    return Package(archive)


def open_archive(source: Path) -> zipfile.ZipFile:
    """Open a zip archive whose directory is small enough to be read. Raises `ModelRejected`."""
    entries, directory = _directory_claims(source)
    if entries > ENTRY_CAP or directory > DIRECTORY_CAP_BYTES:
        raise refuse("archive_entries", f"The archive lists {entries:,} entries; the limit is {ENTRY_CAP:,}.", _SAVE_AGAIN)
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, struct.error, EOFError, ValueError, NotImplementedError) as error:
        raise refuse("damaged_archive", f"The 3MF is a damaged zip archive: {error}.", _SAVE_AGAIN) from None


def _directory_claims(source: Path) -> tuple[int, int]:
    """Entries and bytes of the archive's directory by its end record, before anything is made for each entry."""
    size = source.stat().st_size
    with source.open("rb") as stream:
        stream.seek(max(0, size - _END_TAIL_BYTES))
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise refuse("damaged_archive", "The 3MF is cut short: the directory at its end is missing.", _SAVE_AGAIN)
    _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
    wide = tail.rfind(b"PK\x06\x06", 0, at)  # the 64-bit record some exporters always write
    if wide >= 0 and at - wide >= 56:
        entries, directory = struct.unpack_from("<QQ", tail, wide + 32)
    return entries, directory
