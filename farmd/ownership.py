"""One controller owns a farm. The kernel holds the lock, so it is gone with the process, however that ended."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyOwned(Exception):
    """Another farmd runs on this data directory."""


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold `directory/farmd.lock` for as long as the block runs. Raises `AlreadyOwned`."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "farmd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyOwned(f"another farmd (process {holder}) already runs on {directory}; stop it first") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
