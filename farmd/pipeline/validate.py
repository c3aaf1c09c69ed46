"""Validation: a customer's file in, a geometry file and a report out, or every reason why not.

The file is read by a child process under limits, because its author is a stranger and three of the four readers that could
open it can be made to eat all memory. This module must never parse a byte of it itself, and must leave no geometry file
behind for a model that was refused.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from farmd.domain.model import Defect, ModelRejected, ModelReport, Notice, Size, too_complex
from farmd.pipeline.sandbox import Finished, Limits, run_limited

__all__ = ["LIMITS", "ModelRejected", "ValidatorFailed", "validate_model"]

LIMITS = Limits(cpu_seconds=60, memory_bytes=4 << 30, file_bytes=1 << 30, wall_seconds=120.0)
WORKSPACE_PREFIX = ".validating-"  # left over only when farmd itself is killed; safe to delete at start

_CHILD = "farmd.pipeline.validate_child"
# Each thread's arena counts against the address space, used or not.
_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1"}
# The deaths a model can cause: memory (SIGKILL by the kernel, SIGABRT by C++), time, a crash in a reader.
_KILLED_BY_MODEL = frozenset(-number for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS))

log = structlog.get_logger()


class ValidatorFailed(Exception):
    """The model reader could not do its work for reasons that are not the model's; trying again later may help."""


async def validate_model(source: Path, geometry: Path, *, bed_limit: Size | None) -> ModelReport:
    """Validate the file at `source` and write its geometry file to `geometry` (see `mesh`), whose directory must exist.

    `bed_limit` is the volume of the largest printer in millimetres; None skips the fit. Raises `ModelRejected` with
    every defect that can be told, `ValidatorFailed` when the reader itself broke, `FileNotFoundError` without a source.
    `geometry` appears only on success, whole, replacing an older one.
    """
    with tempfile.TemporaryDirectory(prefix=WORKSPACE_PREFIX, dir=geometry.parent) as workspace:
        made = Path(workspace, "geometry")
        argv = _command(source, made, bed_limit)
        try:
            finished = await run_limited(argv, cwd=Path(workspace), limits=LIMITS, env=_ENVIRONMENT)
        except OSError as error:
            raise ValidatorFailed(f"the model reader could not be started: {error}") from error
        answer = _answer(finished)
        if "defects" in answer:
            raise ModelRejected(tuple(Defect(**defect) for defect in answer["defects"]))
        await asyncio.to_thread(_publish, made, geometry)
    return _report(answer["report"])


def _command(source: Path, made: Path, bed_limit: Size | None) -> list[str]:
    if not source.is_file():
        raise FileNotFoundError(f"no model at {source}")
    bed = "" if bed_limit is None else f"{bed_limit.x},{bed_limit.y},{bed_limit.z}"
    return [sys.executable, "-I", "-m", _CHILD, str(source.absolute()), str(made.absolute()), bed]


def _answer(finished: Finished) -> dict[str, Any]:
    """The child's own verdict, or the one its death implies. Raises `ValidatorFailed`."""
    if finished.timed_out or finished.returncode in _KILLED_BY_MODEL:
        cause = "time" if finished.timed_out else signal.Signals(-finished.returncode).name
        log.warning("model_reader_exhausted", cause=cause, stderr=finished.stderr[-500:])
        return {"defects": [asdict(too_complex(cause))]}
    lines = finished.stderr.strip().splitlines() or ["no message"]
    if finished.returncode != 0:
        raise ValidatorFailed(f"the model reader ended with code {finished.returncode}: {lines[-1]}")
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        raise ValidatorFailed(f"the model reader gave no answer: {lines[-1]}") from None
    if not isinstance(answer, dict):
        raise ValidatorFailed("the model reader gave no answer")
    return answer


def _publish(made: Path, geometry: Path) -> None:
    """Move the finished file into place so that it survives a power cut."""
    made.replace(geometry)
    directory = os.open(geometry.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _report(told: dict[str, Any]) -> ModelReport:
    told["size"] = Size(**told["size"])
    told["warnings"] = tuple(Notice(**notice) for notice in told["warnings"])
    return ModelReport(**told)
