"""A model on its way from the socket to its place under its hash: hashed while it is written, never held in memory.

Whatever happens on the way (a client that goes away, a full disk, a refused model) nothing of the upload is left behind.
"""

import asyncio
import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fastapi import Request

from farmd.api.problems import Problem
from farmd.api.rooms import Rooms
from farmd.domain.model import ModelRejected, ModelReport, Size
from farmd.pipeline.plate import usable
from farmd.pipeline.validate import ValidatorFailed
from farmd.store.catalog import NewModel, find_model
from farmd.store.files import geometry_file, incoming_file, model_file, settle

_CHUNK = 1 << 20
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class _Received:
    path: Path
    sha256: str
    size: int


async def take_model(request: Request, rooms: Rooms, turn: asyncio.Semaphore) -> NewModel:
    """Receive the body, validate it and settle both files. Raises `Problem` 422 with every defect, 507 on a full disk, 503 when the
    model could not be looked at."""
    name, files = rooms.world.new_id("upload"), rooms.settings.files
    try:
        source, geometry = incoming_file(files, name), incoming_file(files, f"{name}.geometry")
        try:
            received = await _receive(request, source)
            return await _known(rooms, received) or await _validated(rooms, received, geometry, turn)
        finally:
            source.unlink(missing_ok=True)
            geometry.unlink(missing_ok=True)
    except OSError as error:
        raise _disk_problem(error) from error


async def _receive(request: Request, path: Path) -> _Received:
    digest, size, pending = hashlib.sha256(), 0, bytearray()

    def put(file: IO[bytes], data: bytes) -> None:
        digest.update(data)
        file.write(data)

    with path.open("xb") as file:
        async for piece in request.stream():
            pending += piece
            size += len(piece)
            if len(pending) >= _CHUNK:
                await asyncio.to_thread(put, file, bytes(pending))
                pending.clear()
        await asyncio.to_thread(put, file, bytes(pending))
    return _Received(path, digest.hexdigest(), size)


async def _known(rooms: Rooms, received: _Received) -> NewModel | None:
    """The same bytes were validated before and both files still stand: nothing is left to do."""
    row = await rooms.store.read(lambda connection: find_model(connection, received.sha256))
    files = rooms.settings.files
    if row is None or not model_file(files, row["sha256"]).is_file() or not geometry_file(files, row["geometry_sha"]).is_file():
        return None
    return NewModel(row["sha256"], row["geometry_sha"], row["size_bytes"], row["report"])


async def _validated(rooms: Rooms, received: _Received, geometry: Path, turn: asyncio.Semaphore) -> NewModel:
    with _refusals():
        async with turn:
            report = await rooms.validate(received.path, geometry, bed_limit=_largest_bed(rooms))
    files = rooms.settings.files
    await asyncio.to_thread(settle, geometry, geometry_file(files, report.geometry_sha256))
    await asyncio.to_thread(settle, received.path, model_file(files, received.sha256))
    return NewModel(received.sha256, report.geometry_sha256, received.size, as_json(report))


def as_json(report: ModelReport) -> dict[str, Any]:
    """A report as the store keeps it."""
    return asdict(report) | {"warnings": [asdict(warning) for warning in report.warnings]}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ModelRejected as rejected:
        errors = [
            {"pointer": "", "detail": f"{defect.detail.rstrip('.')}. {defect.cure}", "code": defect.code, "cure": defect.cure}
            for defect in rejected.defects
        ]
        raise Problem(422, "model_rejected", f"this model cannot be printed: {rejected}", errors) from rejected
    except ValidatorFailed as failed:
        detail = f"the model could not be checked: {failed}; send it again"
        raise Problem(503, "validator_failed", detail, headers={"Retry-After": "10"}) from failed


def _largest_bed(rooms: Rooms) -> Size | None:
    """Room that no printer of the farm exceeds in any direction, parts turned about Z included."""
    beds = [usable(Size(*printer.bed)) for printer in rooms.registry.settings().values()]
    if not beds:
        return None
    longer, shorter = max(max(bed.x, bed.y) for bed in beds), max(min(bed.x, bed.y) for bed in beds)
    return Size(longer, shorter, max(bed.z for bed in beds))


def _disk_problem(error: OSError) -> Problem:
    if error.errno in _DISK_FULL:
        return Problem(507, "disk_full", "the farm's disk is full: free some space, then send the model again")
    words = error.strerror or str(error)
    return Problem(
        503, "files_unwritable", f"the farm's files folder does not take the model: {words}", headers={"Retry-After": "30"}
    )
