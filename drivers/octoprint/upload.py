"""A file on its way to OctoPrint: one multipart body, read from disk as the socket takes it.

A sliced plate may be hundreds of megabytes, so it is never held in memory, and neither reading nor hashing it may stop the
event loop. The SHA-1 collected on the way is the one OctoPrint reports for the stored file.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from io import BufferedReader
from pathlib import Path

from drivers.contract import Progress, Refused

CHUNK = 256 * 1024


class FileBody:
    """The body of one multipart upload. Iterate once; `sha1` is complete afterwards.

    Raises `Refused` when the file is empty, cannot be read, or changes its length while it is sent.
    """

    def __init__(self, file: Path, name: str, fields: Mapping[str, str], progress: Progress) -> None:
        self.size = _size(file)
        self._file = file
        self._progress = progress
        self._digest = hashlib.sha1(usedforsecurity=False)
        boundary = f"farmd-{secrets.token_hex(16)}"
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = "".join(parts).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + self.size + len(self._tail)),
        }

    @property
    def sha1(self) -> str:
        """Hex digest of the file's bytes sent so far."""
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        sent = 0
        async for chunk in self._chunks():
            sent += len(chunk)
            if sent > self.size:
                break
            yield chunk
            self._progress(sent, self.size)
        if sent != self.size:
            raise Refused(f"{self._file.name} changed while it was sent; stage it again")
        yield self._tail

    async def _chunks(self) -> AsyncIterator[bytes]:
        opening = asyncio.ensure_future(asyncio.to_thread(self._file.open, "rb"))
        try:
            handle = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)  # the thread cannot be stopped, and opens it all the same
            raise
        except OSError as error:
            raise Refused(f"cannot read {self._file}: {error.strerror}") from error
        try:
            while chunk := await asyncio.to_thread(self._read, handle.fileno()):
                yield chunk
        except OSError as error:
            raise Refused(f"cannot read {self._file}: {error.strerror}") from error
        finally:
            handle.close()

    def _read(self, descriptor: int) -> bytes:
        chunk = os.read(descriptor, CHUNK)
        self._digest.update(chunk)
        return chunk


def _close(opening: "asyncio.Future[BufferedReader]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _size(file: Path) -> int:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    if not file.is_file():
        raise Refused(f"{file} is not a file")
    if size == 0:
        # OctoPrint would take it, "print" it in a blink and call that a success.
        raise Refused(f"{file} is empty; a print needs at least one command")
    return size
