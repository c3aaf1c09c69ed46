"""`farmd backup` and `farmd restore`: the whole farm into one file, and back.

Both work on the data directory itself and need no daemon: a backup may be made while one runs, a restore only while none does.
"""

from pathlib import Path

from farmd.backups.archive import Manifest
from farmd.backups.restore import NotRestored, restore
from farmd.backups.take import NotBackedUp, back_up
from farmd.cli.complaint import Complaint
from farmd.config import Settings
from farmd.world import SystemWorld


def make(settings: Settings, file: Path) -> None:
    """Write the backup and say what is in it. Raises `Complaint`."""
    try:
        manifest = back_up(settings, file.absolute(), SystemWorld().now())
    except NotBackedUp as error:
        raise Complaint(str(error)) from None
    print(f"{file}: {_words(manifest)}; {file.stat().st_size / 1e6:.1f} MB, read through once more")
    for name in manifest.absent:
        print(f"not in it, because it is gone from the disk: {name}")


def bring_back(settings: Settings, file: Path) -> None:
    """Restore a backup and say what to do next. Raises `Complaint`."""
    try:
        manifest = restore(settings, file.absolute(), SystemWorld().now())
    except NotRestored as error:
        raise Complaint(str(error)) from None
    print(f"restored {_words(manifest)}")
    print(
        "What happened after that moment is not known here. Next:\n"
        "1. Start farmd. It looks at every printer first and starts nothing: every bed counts as unknown.\n"
        "2. Resolve the attempts it cannot judge (attention: attempt_unknown).\n"
        "3. Cancel the jobs whose parts were made since; look at each bed, then farmd printers clear-bed."
    )


def _words(manifest: Manifest) -> str:
    kinds = [member.name.partition("/")[0] for member in manifest.members]
    models = kinds.count("models")
    sliced = kinds.count("sliced") // 2
    return f"the farm of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, {models} models, {sliced} sliced plates"
