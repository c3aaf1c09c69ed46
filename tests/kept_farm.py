"""A farm with everything a backup is about: orders, models on disk, a plate that waits, and the sliced file of one long printed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from farmd.config import Settings
from farmd.store import tables as t
from farmd.store.engine import Store, Tx, open_engine
from farmd.store.files import geometry_file, model_file, sliced_files
from farmd.store.making import NewPlate, queue
from farmd.store.rows import add, get
from farmd.store.schema import upgrade
from farmd.store.transitions import JobSignal, advance_job
from farmd.store.work import register_printers
from tests import making
from tests.farm import FarmWorld, farm_settings


def kept_settings(folder: Path, **changes: Any) -> Settings:
    return farm_settings(folder, store_url=f"sqlite:///{folder}/farmd.db", **changes)


def lay(path: Path, content: bytes) -> str:
    """A file on disk; returns its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def add_model(tx: Tx, files: Path, content: bytes) -> str:
    sha, geometry = hashlib.sha256(content).hexdigest(), hashlib.sha256(content * 2).hexdigest()
    lay(model_file(files, sha), content)
    lay(geometry_file(files, geometry), content * 2)
    add(tx, t.models, sha256=sha, geometry_sha=geometry, size_bytes=len(content), report={}, created_at=tx.world.now())
    return sha


def add_sliced(files: Path, content: bytes) -> dict[str, Any]:
    gcode, known = sliced_files(files, key := hashlib.sha256(content + b"inputs").hexdigest())
    lay(known, json.dumps({"artifact": len(content)}).encode())
    return {"key": key, "sha256": lay(gcode, content), "seconds": 600, "grams": 4.5}


def fill(tx: Tx, settings: Settings, *, models: int = 2) -> str:
    """Returns the id of the job whose plate waits."""
    register_printers(tx, settings)
    for number in range(models):
        add_model(tx, settings.files, b"solid %d\n" % number * 500)
    (job_id,) = making.place_paid(tx, 1)
    for signal in (JobSignal.VALIDATE, JobSignal.SLICE):
        advance_job(tx, get(tx.connection, t.jobs, job_id), signal)
    artifact = add_sliced(settings.files, b"G1 X1\n" * 1000)
    queue(tx, job_id, [NewPlate(1, (20.0, 20.0, 20.0), {making.CLASS: artifact})])
    add_sliced(settings.files, b"of a plate that was printed long ago")
    return job_id


async def open_kept(settings: Settings, world: Any = None) -> Store:
    """The store as the daemon opens it."""
    engine = open_engine(settings.store_url)
    upgrade(engine)
    return Store(engine, world or FarmWorld())
