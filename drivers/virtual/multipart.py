"""The multipart/form-data of an upload, read as it arrives.

Sans-io: bytes in, form parts out, nothing held but the tail that may be half a boundary. A file of any size passes
through without being kept in memory. Malformed input raises `ValueError`; the reader must never wait for bytes that
cannot come.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message

_LONGEST_HEADER = 16 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one field; `filename` is None for a plain value."""

    name: str
    filename: str | None


def boundary_of(content_type: str) -> bytes:
    """The boundary named by a Content-Type header. Raises `ValueError` when it is no multipart form."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_type() != "multipart/form-data" or not boundary:
        raise ValueError("expected multipart/form-data with a boundary")
    return boundary.encode("latin-1")


class MultipartReader:
    """Feed it chunks; it yields a `Part` when a field begins and then that field's bytes, piece by piece."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._buffer = b"\r\n"  # the first boundary has no line break before it
        self._step: Callable[[], Iterator[Part | bytes] | None] = self._preamble
        self._moved = True
        self.complete = False

    def feed(self, chunk: bytes) -> Iterator[Part | bytes]:
        self._buffer += chunk
        self._moved = True
        while self._moved:
            self._moved = False
            yield from self._step() or ()

    def _preamble(self) -> None:
        if self._split_at_delimiter() is not None:
            self._go(self._after_delimiter)

    def _after_delimiter(self) -> None:
        if self._buffer.startswith(b"--"):
            self.complete, self._buffer = True, b""
            self._step = self._epilogue
        elif self._buffer.startswith(b"\r\n"):
            self._buffer = self._buffer[2:]
            self._go(self._head)
        elif len(self._buffer) >= 2:
            raise ValueError("a multipart boundary is followed by neither a line break nor an end mark")

    def _head(self) -> Iterator[Part]:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            if len(head) > _LONGEST_HEADER:
                raise ValueError("a multipart header is too long")
            return
        self._buffer = rest
        self._go(self._content)
        yield _part(head)

    def _content(self) -> Iterator[bytes]:
        content = self._split_at_delimiter()
        if content is not None:
            self._go(self._after_delimiter)
            yield content
            return
        safe = len(self._buffer) - len(self._delimiter)
        if safe > 0:
            content, self._buffer = self._buffer[:safe], self._buffer[safe:]
            yield content

    def _epilogue(self) -> None:
        self._buffer = b""

    def _split_at_delimiter(self) -> bytes | None:
        before, found, rest = self._buffer.partition(self._delimiter)
        if not found:
            return None
        self._buffer = rest
        return before

    def _go(self, step: Callable[[], Iterator[Part | bytes] | None]) -> None:
        self._step, self._moved = step, True


def _part(head: bytes) -> Part:
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            parameters = {key.lower(): text for key, text in re.findall(r';\s*([\w*]+)="((?:[^"\\]|\\.)*)"', value)}
            if "name" in parameters:
                filename = parameters.get("filename")
                return Part(_plain(parameters["name"]), None if filename is None else _plain(filename))
    raise ValueError("a multipart field has no name")


def _plain(text: str) -> str:
    """Undo what browsers (`%22`) and older clients (a backslash) do to quotes in names."""
    return re.sub(r"\\(.)", r"\1", text).replace("%22", '"')
