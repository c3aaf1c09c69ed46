"""A print on disk as it will go over the wire: every line framed once, with an index of where each begins.

Runs as a process of its own (`python -m drivers.gcode.spool FILE FOLDER`), so that neither a running print nor the daemon waits
for it. What a firmware would choke on is refused here, before anything is hot. The facts come last: without them there is no
print. Every such process writes drafts of its own, so that one nobody waits for any more cannot spoil another's work.
"""

import glob
import hashlib
import json
import mmap
import os
import re
import secrets
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from drivers.gcode import replies
from drivers.gcode.framing import code, fits, frame, is_text, payload, shortened

FENCE = b"M400"
"""The last line of every print: its ok comes when the last move has ended."""
_TOOL = re.compile(rb"T(\d{1,2})(?!\d)")
_FLAGS = re.compile(rb"^(?:[AEP]\d\s+)+")
MARK = b"\xef\xbb\xbf"
"""What some editors begin a text with."""
REPORT_BYTES = 4 << 20
WIDEST = (1 << 32) - 1
UNSAFE = {
    b"G20": "changes to inches",
    b"M149": "changes the unit of temperatures",
    b"M112": "stops the machine for good",
    b"M410": "stops the moves and loses the position",
    b"M500": "overwrites the machine's settings",
    b"M502": "resets the machine's settings",
    b"M504": "checks the machine's memory",
    b"M997": "replaces the firmware",
    b"M575": "changes the baud rate",
    b"M23": "chooses a file of the card",
    b"M24": "starts a print of the card",
    b"M28": "writes to the card",
    b"M29": "writes to the card",
    b"M30": "deletes from the card",
    b"M32": "starts a print of the card",
    b"M524": "ends a print of the card",
    b"M928": "writes to the card",
}
OURS = frozenset({b"M110", b"M105", b"M155", b"M154", b"M113", b"M27", b"M108"})
"""Left out: numbering and reports are the host's business, and `M108` would end a wait of the print itself."""


class Unprintable(Exception):
    """The file cannot be printed over a serial line; the message names line and cure."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a spooled print. `last` is the number of its last line, `size` bytes of the source file."""

    token: str
    last: int
    size: int
    sha256: str
    wire: int
    arcs: bool
    tools: tuple[int, ...]
    left_out: int
    shortened: int


class Spool:
    """One print, ready for the wire. Implements `sources.Source`. Raises `FileNotFoundError` when it is not (all) there."""

    def __init__(self, folder: Path, token: str) -> None:
        text = (folder / f"{token}.json").read_text()
        kept = json.loads(text)
        self.facts = Facts(**(kept | {"tools": tuple(kept["tools"])}))
        self.last = self.facts.last
        self._index = array("I")
        self._index.frombytes((folder / f"{token}.index").read_bytes())
        with (folder / f"{token}.frames").open("rb") as stream:
            self._frames = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self._index) != self.last + 1 or self._index[-1] != len(self._frames):
            raise FileNotFoundError(f"the spooled print {token} is damaged")

    def size(self, number: int) -> int:
        """See `sources.Source`."""
        return self._index[number] - self._index[number - 1]

    def lines(self, first: int, last: int) -> bytes:
        """See `sources.Source`."""
        return self._frames[self._index[first - 1] : self._index[last]]

    def sent(self, last: int) -> int:
        """Bytes on the wire up to and with line `last`."""
        return self._index[last]

    def head(self, last: int) -> Iterator[bytes]:
        """The framed lines up to `last`, one by one."""
        return (self.lines(number, number) for number in range(1, last + 1))

    def close(self) -> None:
        """Release the file."""
        self._frames.close()


def remove(folder: Path, token: str) -> None:
    """Forget a print; nothing happens when there is none."""
    for file in folder.glob(f"{glob.escape(token)}.*"):
        file.unlink(missing_ok=True)


def spool(source: Path, folder: Path, token: str) -> Iterator[tuple[int, int]]:
    """Frame `source` into `folder` under `token`; gives (bytes read, bytes in all) as it goes on, lastly with both equal. A print
    of that token is replaced. Raises `Unprintable`, `OSError`."""
    size = source.stat().st_size
    index = array("I", [0])
    tools: set[int] = set()
    digest = hashlib.sha256()
    left_out = cut = read = reported = 0
    arcs = False
    with _drafts(folder, token) as drafts:
        with source.open("rb") as lines, drafts["frames"].open("wb") as frames:
            wire = number = 0
            for at, line in _numbered(lines):
                digest.update(line)
                read += len(line)
                if read - reported >= REPORT_BYTES:
                    reported = read
                    yield read, size
                command = payload(line.removeprefix(MARK) if at == 1 else line)
                if not command:
                    continue
                word = code(command)
                if word in OURS or _misunderstood(command, word):
                    left_out += 1
                    continue
                number += 1
                command, shorter = _fitting(command, word, number, at)
                cut += shorter
                arcs = arcs or word in (b"G2", b"G3", b"G5")
                if word[:1] == b"T":
                    tools.add(int(word[1:]))
                elif word in (b"M104", b"M109") and (tool := _TOOL.search(command)):
                    tools.add(int(tool[1]))
                wire += frames.write(frame(number, command))
                index.append(_narrow(wire))
            if number == 0:
                raise Unprintable(f"{source.name} holds no command: is it G-code?")
            index.append(_narrow(wire + frames.write(frame(number + 1, FENCE))))
            frames.flush()
            os.fsync(frames.fileno())
        facts = Facts(token, number + 1, size, digest.hexdigest(), index[-1], arcs, tuple(sorted(tools)), left_out, cut)
        _put(drafts["index"], index.tobytes())
        _put(drafts["json"], json.dumps(asdict(facts)).encode())
        (folder / f"{token}.json").unlink(missing_ok=True)
        for end, draft in drafts.items():
            draft.replace(folder / f"{token}.{end}")
    yield size, size


@contextmanager
def _drafts(folder: Path, token: str) -> Iterator[dict[str, Path]]:
    """Where this process writes the parts of a print, those first that must be there before the others; nothing is left of them."""
    mine = secrets.token_hex(4)
    drafts = {end: folder / f"{token}.{end}.{mine}" for end in ("frames", "index", "json")}
    try:
        yield drafts
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def _numbered(lines: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, whatever their ends."""
    at = 0
    for line in lines:
        for part in line.splitlines(keepends=True) if b"\r" in line[:-2] else (line,):
            at += 1
            yield at, part


def _misunderstood(command: bytes, word: bytes) -> bool:
    """A text that a firmware would take for a new count, or that would come back as an answer nobody gave."""
    if not is_text(command):
        return False
    text = command[4:].strip()
    answer = replies.read(_FLAGS.sub(b"", text, count=1))
    return b"M110" in command or (word == b"M118" and not isinstance(answer, replies.Other | replies.Action))


def _fitting(command: bytes, word: bytes, number: int, at: int) -> tuple[bytes, bool]:
    """The command as it may be sent, and whether it had to be shortened."""
    if word in UNSAFE:
        raise Unprintable(f"line {at}: {word.decode()} {UNSAFE[word]}; take it out of the file")
    if not word and command[:1] not in b"T@":
        raise Unprintable(f"line {at}: {command[:40].decode('latin-1')!r} is not G-code")
    if fits(number, command):
        return command, False
    if is_text(command):
        return shortened(number, command), True
    raise Unprintable(
        f"line {at} is too long for the printer ({len(command)} bytes): slice again without so many digits or arguments"
    )


def _narrow(offset: int) -> int:
    if offset > WIDEST:
        raise Unprintable("the file is larger than 4 GB")
    return offset


def _put(file: Path, data: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _tell(news: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(news) + "\n")
    sys.stdout.flush()


def main(source: str, folder: str, token: str) -> int:
    """Tell progress on stdout as lines of `{"read":, "size":}`; a refusal as `{"refused":}`, with exit code 2."""
    try:
        for read, size in spool(Path(source), Path(folder), token):
            _tell({"read": read, "size": size})
    except Unprintable as error:
        _tell({"refused": str(error)})
        return 2
    except OSError as error:
        _tell({"refused": f"the file cannot be spooled: {error.strerror or error}"})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
