"""Taking a backup: the store, and beside it every file that cannot be made again or that a plate is waiting for.

The store is copied first and says which files belong to it, so that file and row always fit; files are named by their content and
never change. A backup appears under its name whole, read through once more and durable, or not at all. Never stops the farm.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from farmd.backups import archive
from farmd.backups.archive import DATABASE, Manifest, Member
from farmd.config import Settings
from farmd.store import snapshot
from farmd.store.engine import StoreFailed
from farmd.store.files import geometry_file, model_file, sliced_files, sync_folder

SCRATCH = ".farmd-backup-"


class NotBackedUp(Exception):
    """No backup was made, and what to do about it."""


def back_up(settings: Settings, target: Path, now: datetime, *, spare: int = 0) -> Manifest:
    """Write a backup of the farm to the new file `target`, readable only by its owner, and leave `spare` bytes free on its disk.
    Raises `NotBackedUp`; then there is no such file."""
    database = database_of(settings)
    _check_place(database, target)
    try:
        with _scratch(target.parent) as scratch:
            _check_room(target.parent, database.stat().st_size, spare)
            copy = scratch / DATABASE
            contents = snapshot.take(database, copy)
            place, absent = _files(settings.files, contents)
            place[DATABASE] = copy
            members = tuple(_measured(place))
            _check_room(target.parent, sum(member.bytes for member in members), spare)
            manifest = Manifest(version("farmd"), contents.revision, now, members, tuple(sorted(absent)))
            packed = scratch / "packed"
            _pack(packed, manifest, place)
            _publish(packed, target)
    except StoreFailed as error:
        raise NotBackedUp(str(error)) from error
    except archive.Damaged as error:
        raise NotBackedUp(f"{target} was not kept, because what was written could not be read again: {error}") from error
    except FileExistsError:
        raise NotBackedUp(_taken(target)) from None
    except OSError as error:
        raise NotBackedUp(f"{target} cannot be written: {error.strerror or error}") from error
    return manifest


def database_of(settings: Settings) -> Path:
    """The store's file. Raises `NotBackedUp` where the store is none."""
    if not settings.store_url.startswith("sqlite:///"):
        raise NotBackedUp("the store is a PostgreSQL database: back it up with pg_dump, and the folder [store] files beside it")
    return Path(settings.store_url.removeprefix("sqlite:///"))


def _check_place(database: Path, target: Path) -> None:
    if not database.is_file():
        raise NotBackedUp(f"there is no store at {database} yet, so there is nothing to back up")
    if target.exists():
        raise NotBackedUp(_taken(target))
    if not target.parent.is_dir():
        raise NotBackedUp(f"there is no folder {target.parent}: make it, or name another place")


def _taken(target: Path) -> str:
    return f"{target} is there already and is not overwritten: name a file that is not"


def _check_room(folder: Path, wanted: int, spare: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted + spare:
        raise NotBackedUp(
            f"{folder} has {free / 1e9:.2f} GB free and a backup may need {wanted / 1e9:.2f} GB"
            + (f", with {spare / 1e9:.0f} GB to spare" if spare else "")
            + ": make room, or name a folder on another disk"
        )


def _files(files: Path, contents: snapshot.Contents) -> tuple[dict[str, Path], list[str]]:
    """Where every file lies that the store speaks of, by its name in the backup, and the names of those that are gone."""
    wanted = {f"models/{sha}": model_file(files, sha) for sha in contents.models}
    wanted |= {f"geometry/{sha}": geometry_file(files, sha) for sha in contents.geometry}
    for key in contents.sliced:  # one that is gone is sliced again; the others spare the slicer a whole queue
        both = sliced_files(files, key)
        wanted |= {f"sliced/{path.name}": path for path in both if all(each.is_file() for each in both)}
    found = {name: path for name, path in sorted(wanted.items()) if path.is_file()}
    return found, [name for name in wanted if name not in found]


def _measured(place: dict[str, Path]) -> Iterator[Member]:
    """The store comes first: whoever looks into a backup wants it before gigabytes of models."""
    for name in sorted(place, key=lambda name: (name != DATABASE, name)):
        yield archive.measure(name, place[name])


def _pack(packed: Path, manifest: Manifest, place: dict[str, Path]) -> None:
    descriptor = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, opened for its owner alone
        archive.write(file, manifest, place)
        file.flush()
        os.fsync(file.fileno())
    archive.check(packed)


def _publish(packed: Path, target: Path) -> None:
    """Give a finished backup its name, unless somebody else took that name meanwhile."""
    try:
        os.link(packed, target)
    except FileExistsError:
        raise
    except OSError:  # a stick or a share that knows no links
        packed.rename(target)
    sync_folder(target.parent)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to work in, on the same disk; those of processes that were killed go first."""
    for left in folder.glob(f"{SCRATCH}*"):
        with _locked(left) as dead:
            if dead:
                shutil.rmtree(left, ignore_errors=True)
    mine = folder / f"{SCRATCH}{os.getpid()}"
    mine.mkdir(mode=0o700)
    with _locked(mine):
        try:
            yield mine
        finally:
            shutil.rmtree(mine, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder; False when somebody does already. The kernel lets go of it for a process that dies."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
