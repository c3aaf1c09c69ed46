"""The way back: a backup becomes a farm again, in a data directory where there is none.

Everything is unpacked beside its place and checked before anything is put into it, and the store's own file comes last: a restore
that is killed half-way leaves no farm, and is simply begun again. Never touches a store that is there. The restored store is
marked, so that the daemon does not act on what it says of the machines (see `farmd.store.restored`).
"""

import os
import pwd
import shutil
from datetime import datetime
from pathlib import Path

from farmd.backups import archive
from farmd.backups.archive import DATABASE, Manifest
from farmd.backups.take import NotBackedUp, database_of
from farmd.config import Settings
from farmd.ownership import AlreadyOwned, owned
from farmd.store import snapshot
from farmd.store.engine import StoreFailed
from farmd.store.files import settle, sync_folder
from farmd.store.schema import known_revisions, note_store

STAGED = ".restoring"
COMPANIONS = ("", "-wal", "-shm", "-journal")


class NotRestored(Exception):
    """Nothing was put in place, and what to do about it."""


def restore(settings: Settings, file: Path, now: datetime) -> Manifest:
    """Make the farm of a backup in the data directory of `settings`. Raises `NotRestored`; then there is no farm yet."""
    try:
        database = database_of(settings)
        _refuse_for_another(database.parent, file)
        with owned(database.parent):
            _refuse_a_farm(database)
            manifest = _checked(file)
            _unpack_and_settle(settings.files, database, file, manifest, now)
    except (NotBackedUp, AlreadyOwned, StoreFailed) as error:
        raise NotRestored(str(error)) from error
    except (archive.Damaged, archive.Unknown) as error:
        raise NotRestored(f"{file} cannot be restored: {error}. Nothing was put in place; try an older backup") from error
    except OSError as error:
        raise NotRestored(f"{error.filename or file}: {error.strerror or error}; nothing was put in place") from error
    return manifest


def _refuse_a_farm(database: Path) -> None:
    here = [Path(f"{database}{ending}") for ending in COMPANIONS if Path(f"{database}{ending}").exists()]
    if here:
        names = " ".join(str(path) for path in here)
        aside = database.parent / "before-restore"
        raise NotRestored(
            f"there is a farm at {database} already, and a restore never replaces one. "
            f"Stop farmd, put it aside (mkdir {aside} && mv {names} {aside}/) and repeat this command"
        )


def _refuse_for_another(folder: Path, file: Path) -> None:
    """What root lays down, the user that farmd runs as could not write."""
    owner = folder.stat().st_uid if folder.exists() else os.geteuid()
    if os.geteuid() == 0 and owner != 0:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise NotRestored(
            f"{folder} belongs to {name}, and what root restores there {name} could not write: sudo -u {name} farmd restore {file}"
        )


def _checked(file: Path) -> Manifest:
    manifest = archive.glance(file)
    if manifest.schema not in known_revisions():
        raise NotRestored(
            f"{file} was made by a newer farmd ({manifest.farmd}, store revision {manifest.schema}; this one knows up to "
            f"{known_revisions()[-1]}): restore it with that version"
        )
    return manifest


def _unpack_and_settle(files: Path, database: Path, file: Path, manifest: Manifest, now: datetime) -> None:
    staged = files / STAGED
    shutil.rmtree(staged, ignore_errors=True)  # of a restore that was killed
    staged.mkdir(mode=0o700, parents=True)
    try:
        archive.unpack(file, staged)
        snapshot.mark_restored(staged / DATABASE, manifest.made_at, now)
        note_store(database)  # from here on nobody begins an empty farm here, whatever happens to this process
        for member in manifest.members:
            if member.name != DATABASE:
                settle(staged / member.name, files / member.name)
        _settle_store(staged / DATABASE, database)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _settle_store(staged: Path, database: Path) -> None:
    """Put the store in its place, last; it may be on another disk than the files."""
    near = database.with_name(database.name + STAGED)
    shutil.copyfile(staged, near)
    near.chmod(0o600)
    with near.open("rb") as copy:
        os.fsync(copy.fileno())
    near.replace(database)
    sync_folder(database.parent)
