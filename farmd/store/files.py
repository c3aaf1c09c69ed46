"""Where the farm's files lie: models and their geometry under their own hashes, uploads under a name nobody else has.

A file appears under its hash whole or not at all, and before the row that speaks of it.
"""

import os
import shutil
from pathlib import Path

SLICED = (".gcode", ".gcode.3mf")
"""How the names of sliced plates end."""


def model_file(files: Path, sha: str) -> Path:
    """A customer's model, byte for byte as it came."""
    return files / "models" / sha


def geometry_file(files: Path, sha: str) -> Path:
    """The checked geometry of a model: what the pipeline works on."""
    return files / "geometry" / sha


def sliced_file(folder: Path, key: str) -> Path:
    """What a printer gets of a sliced plate: G-code, or a project file where one is there. A key names one of them alone."""
    plain, project = (folder / f"{key}{ending}" for ending in SLICED)
    return project if project.exists() else plain


def sliced_files(files: Path, key: str) -> tuple[Path, Path]:
    """A sliced plate of the pipeline's cache: its file for the printer, and what is known of it."""
    return sliced_file(files / "sliced", key), files / "sliced" / f"{key}.json"


def incoming_file(files: Path, name: str) -> Path:
    """Where an upload grows; its folder is made."""
    folder = files / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def settle(source: Path, target: Path) -> None:
    """Move a finished file to its place so that a power cut leaves it there or not at all; an equal one is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_incoming(files: Path) -> int:
    """Remove what uploads left behind when the daemon was killed; only while nothing is being uploaded. Returns how many."""
    left = [*(files / "incoming").glob("*")]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)
