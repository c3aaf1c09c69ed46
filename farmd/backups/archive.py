"""The file a backup is: a gzipped tar that begins with a manifest of everything in it, each with its length and its SHA-256.

Anybody's `tar -xzf` opens it. What is read from one is held to the manifest before it is believed, and a name that no farmd writes
leads nowhere. Never knows what the members mean.
"""

import gzip
import hashlib
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

FORMAT = 1
MANIFEST, DATABASE = "manifest.json", "farmd.db"
MANIFEST_BYTES = 64 << 20
NAME = re.compile(r"farmd\.db|(models|geometry)/[0-9a-f]{64}|sliced/[0-9a-f]{16,128}\.(gcode|gcode\.3mf|json)")
CHUNK = 1 << 20
FASTEST = 1
"""gzip's level: higher ones take several times as long for some percent of G-code and meshes."""


class Damaged(Exception):
    """The file is no backup, was cut short, or holds something else than its manifest says."""


class Unknown(Exception):
    """A backup in a form that only a newer farmd reads."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `schema` is the revision of the store; `absent` are files the store speaks of that were not on
    the disk any more."""

    farmd: str
    schema: str
    made_at: datetime
    members: tuple[Member, ...]
    absent: tuple[str, ...] = ()


def measure(name: str, path: Path) -> Member:
    """A file as the manifest will have it. Raises `OSError`."""
    with path.open("rb") as file:
        return Member(name, os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def write(target: IO[bytes], manifest: Manifest, place: dict[str, Path]) -> None:
    """Write the backup that `manifest` describes; `place` says where each member lies now. Raises `OSError`."""
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=FASTEST, mtime=manifest.made_at.timestamp()) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        text = json.dumps(_as_json(manifest), indent=1).encode()
        _add(tar, Member(MANIFEST, len(text), ""), manifest.made_at, _Text(text))
        for member in manifest.members:
            with place[member.name].open("rb") as file:
                _add(tar, member, manifest.made_at, file)


class _Text:
    """Bytes that tarfile can read like a file."""

    def __init__(self, text: bytes) -> None:
        self._rest = memoryview(text)

    def read(self, size: int = -1) -> bytes:
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return bytes(taken)


def _add(tar: tarfile.TarFile, member: Member, at: datetime, content: Any) -> None:
    info = tarfile.TarInfo(member.name)
    info.size, info.mtime, info.mode = member.bytes, int(at.timestamp()), 0o600
    tar.addfile(info, content)


def _as_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "farmd": manifest.farmd,
        "schema": manifest.schema,
        "madeAt": manifest.made_at.isoformat(),
        "files": [asdict(member) for member in manifest.members],
        "absent": list(manifest.absent),
    }


def glance(path: Path) -> Manifest:
    """The manifest alone, in a moment. Raises `Damaged`, `Unknown`, `OSError`."""
    with _opened(path) as tar:
        return _manifest(tar)


def check(path: Path) -> Manifest:
    """Read all of a backup and hold it to its manifest. Raises `Damaged`, `Unknown`, `OSError`."""
    return _go_through(path, None)


def unpack(path: Path, into: Path) -> Manifest:
    """The same, and lay every member down under `into`, durably; of a backup that turns out to be damaged some lie there then.
    Raises `Damaged`, `Unknown`, `OSError`."""
    return _go_through(path, into)


def _go_through(path: Path, into: Path | None) -> Manifest:
    with _opened(path) as tar:
        manifest = _manifest(tar)
        expected = {member.name: member for member in manifest.members}
        while (info := tar.next()) is not None:
            member = expected.pop(info.name, None)
            if member is None or not info.isreg() or info.size != member.bytes:
                raise Damaged(f"its part {info.name!r} is not what its manifest says")
            _take(tar, info, member, into)
        if expected:
            raise Damaged(f"{len(expected)} of its parts are missing, {min(expected)} among them")
    return manifest


def _take(tar: tarfile.TarFile, info: tarfile.TarInfo, member: Member, into: Path | None) -> None:
    content = tar.extractfile(info)
    digest = hashlib.sha256()
    target = None if into is None else into / member.name
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
    with open(os.devnull if target is None else target, "wb") as file:  # noqa: PTH123 - one of them is no path
        while content is not None and (chunk := content.read(CHUNK)):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != member.sha256:
            raise Damaged(f"its part {member.name} is not what was packed")
        if target is not None:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Raises `Damaged` for whatever tar and gzip have to say about bytes that are not theirs."""
    with path.open("rb") as raw:
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as packed, tarfile.open(fileobj=packed, mode="r|", bufsize=CHUNK) as tar:
                yield tar
                while packed.read(CHUNK):
                    pass  # gzip's own checksum stands at the very end
        except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
            raise Damaged(f"it is no whole backup: {error}") from error


def _manifest(tar: tarfile.TarFile) -> Manifest:
    info = tar.next()
    content = None if info is None or info.name != MANIFEST or info.size > MANIFEST_BYTES else tar.extractfile(info)
    if content is None:
        raise Damaged("it does not begin with a manifest, so farmd did not make it")
    try:
        told = json.loads(content.read())
        if told["format"] != FORMAT:
            raise Unknown(f"a newer farmd ({told['farmd']}) made it; restore it with that one")
        members = tuple(Member(str(each["name"]), int(each["bytes"]), str(each["sha256"])) for each in told["files"])
        made_at = datetime.fromisoformat(told["madeAt"])
        manifest = Manifest(str(told["farmd"]), str(told["schema"]), made_at, members, tuple(map(str, told["absent"])))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"its manifest cannot be read: {error!r}") from error
    _check_names(member.name for member in members)
    return manifest


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not NAME.fullmatch(name) or name in seen:
            raise Damaged(f"its manifest names {name!r}, which is no file of a farm")
        seen.add(name)
    if DATABASE not in seen:
        raise Damaged("there is no store in it")
