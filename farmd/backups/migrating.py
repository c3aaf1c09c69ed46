"""The store brought up to date, and before anything of it is changed, a backup: a new version of farmd may be taken back.

Both ways into the store go through here, the daemon's start and `farmd keys`.
"""

from datetime import datetime

from farmd.backups.hourly import backup_name, newest
from farmd.backups.take import NotBackedUp, back_up
from farmd.config import Settings
from farmd.store import schema
from farmd.store.engine import Engine, StoreDamaged, StoreFailed


def bring_up_to_date(settings: Settings, engine: Engine, now: datetime) -> None:
    """Create or migrate the store, after a backup where there is something to lose. Raises `StoreFailed`; then nothing was
    changed."""
    try:
        current = schema.revision_to_leave(engine)
        if current is not None:
            _back_up(settings, current, now)
        schema.upgrade(engine)
    except (StoreDamaged, schema.StoreMissing) as error:
        raise StoreFailed(f"{error}. {cure(settings)}") from error


def cure(settings: Settings) -> str:
    """What an owner does about a store that is lost."""
    file = newest(settings.backup.folder)
    if file is None:
        return f"There is no backup in {settings.backup.folder}; look for one that you carried away, then farmd restore it"
    return f"The newest backup is {file}: farmd restore {file}"


def _back_up(settings: Settings, current: str, now: datetime) -> None:
    folder = settings.backup.folder
    target = folder / backup_name(now, f"-before-{schema.newest()}")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        back_up(settings, target, now)
    except (NotBackedUp, OSError) as error:
        raise StoreFailed(
            f"the store is to be migrated from revision {current} to {schema.newest()}, and not before there is a backup: {error}"
        ) from error
