"""The backups that farmd makes by itself: when one is due, how many are kept, and whether it still works.

The clock only ticks; what is due follows from the names in the folder, so that a restart neither makes one too many nor forgets
one. A failure is told and tried again; it stops nothing else. Never fills the disk the farm lives on.
"""

import asyncio
import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from farmd.backups.archive import Manifest
from farmd.backups.take import NotBackedUp, back_up, database_of
from farmd.config import Settings
from farmd.domain.ports import World

NAME = re.compile(r"farmd-\d{8}T\d{6}Z\.tar\.gz")
STAMP = "%Y%m%dT%H%M%SZ"
TICK = 60.0  # seconds between looks at whether one is due
TRY_AGAIN = 600.0  # seconds after one that failed
SPARE = 1_000_000_000
"""Bytes that a backup leaves free where it shares a disk with the store."""
NICE = 10
T = TypeVar("T")
log = structlog.get_logger()


def backup_name(at: datetime, words: str = "") -> str:
    """What a backup of this moment is called."""
    return f"farmd-{at.astimezone(UTC):{STAMP}}{words}.tar.gz"


def kept_backups(folder: Path) -> list[tuple[datetime, Path]]:
    """The hourly backups in a folder, newest first. Others, also those before a migration, are not counted and never removed."""
    names = [path for path in folder.iterdir() if NAME.fullmatch(path.name)] if folder.is_dir() else []
    made = [datetime.strptime(path.name, f"farmd-{STAMP}.tar.gz").replace(tzinfo=UTC) for path in names]
    return sorted(zip(made, names, strict=True), reverse=True)


def newest(folder: Path) -> Path | None:
    """The newest backup of any kind in a folder, for whoever needs one."""
    return max(folder.glob("farmd-*.tar.gz"), key=lambda path: path.name, default=None)


def thinned(kept: Sequence[tuple[datetime, Path]], keep: int) -> list[Path]:
    """Which of these backups, newest first, are too many: half of `keep` are the newest, the others the last one of each earlier
    day."""
    recent = keep - keep // 2
    days, surplus = {at.date() for at, _ in kept[:recent]}, []
    room = len(days) + keep // 2
    for at, path in kept[recent:]:
        if at.date() in days or len(days) == room:
            surplus.append(path)
        else:
            days.add(at.date())
    return surplus


class Backups:
    """Makes them, one at a time. `last_success` and `failure` are for whoever watches."""

    def __init__(self, settings: Settings, world: World) -> None:
        self._settings, self._world = settings, world
        self.folder = settings.backup.folder
        self.every = timedelta(hours=settings.backup.every_hours)
        self.failures = 0
        self.failure: str | None = None
        self._not_before = 0.0

    @property
    def last_success(self) -> datetime | None:
        """When the newest one was made."""
        kept = kept_backups(self.folder)
        return kept[0][0] if kept else None

    @property
    def due(self) -> bool:
        """Whether one is to be made now. One that seems to come from the future was made before the clock was set back."""
        last, now = self.last_success, self._world.now()
        return last is None or not timedelta(0) <= now - last < self.every

    async def tick(self) -> None:
        """Make one if one is due."""
        if self._world.monotonic() < self._not_before or not await asyncio.to_thread(lambda: self.due):
            return
        began = self._world.monotonic()
        target = self.folder / backup_name(self._world.now())
        try:
            manifest = await _aside(lambda: self._make(target))
        except NotBackedUp as error:
            self.failures, self.failure = self.failures + 1, str(error)
            self._not_before = self._world.monotonic() + TRY_AGAIN
            log.error("backup.failed", why=str(error))
            return
        self.failure = None
        size, seconds = target.stat().st_size, round(self._world.monotonic() - began, 1)
        log.info("backup.made", file=str(target), bytes=size, seconds=seconds, absent=len(manifest.absent))

    def _make(self, target: Path) -> Manifest:
        made = back_up(self._settings, target, self._world.now(), spare=self._prepare())
        for path in thinned(kept_backups(self.folder), self._settings.backup.keep):
            path.unlink(missing_ok=True)
        return made

    def _prepare(self) -> int:
        """Make the folder; returns how much a backup has to leave free there."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return SPARE if self.folder.stat().st_dev == database_of(self._settings).stat().st_dev else 0
        except OSError as error:
            raise NotBackedUp(
                f"the folder {self.folder} cannot be used: {error.strerror or error}; mend it, or name another in [backup] folder"
            ) from error


async def _aside(work: Callable[[], T]) -> T:
    """Do `work` on a thread of its own that gives way to everything else, and that nobody waits for when the daemon stops: a backup
    that is left half-made is swept by the next."""
    loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if not done.done():
            done.set_result(value) if error is None else done.set_exception(error)

    def run() -> None:
        value, failure = None, None
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            value = work()
        except Exception as error:  # the supervised edge of the thread: whatever it was, the loop is told
            failure = error
        with suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="backup", daemon=True).start()
    found: T = await done
    return found
