"""One received line on its way to the command ring: comments off, number and checksum judged.

Pure functions of the line and the last number. The order of the rules is the firmware's, down to the line that is dropped
without a word, because hosts hang on exactly that; it must never be made kinder.
"""

import re
from functools import reduce
from operator import xor
from typing import NamedTuple

from drivers.virtual.marlin.board import MAX_COMMAND

LINE_NUMBER = b"Line Number is not Last Line Number+1"
CHECKSUM = b"checksum mismatch"
NO_CHECKSUM = b"No Checksum with line number"

_ODD = re.compile(rb"[;\\\x08]")
_NUMBER = re.compile(rb"[ \t]*([-+]?\d+)")
_HEAD = re.compile(rb"N[-+\d]*[ ]*")


class Refused(NamedTuple):
    """`error` is what the firmware complains of, empty for a repeated line that it ignores."""

    error: bytes


class Accepted(NamedTuple):
    """`payload` is the command as it will be executed; `number` None for a line without one."""

    payload: bytes
    number: int | None


def clean(raw: bytes) -> bytes:
    """What the line buffer holds at the end of a line."""
    if len(raw) > MAX_COMMAND or _ODD.search(raw):
        raw = _character_by_character(raw)
    return raw.lstrip(b" ") if raw.startswith(b" ") and raw.strip(b" ") else raw


def judge(line: bytes, last: int) -> Accepted | Refused:
    """Whether a cleaned line may be executed when `last` was the number before it."""
    if line[:1] != b"N":
        return Accepted(line, None)
    renumbers = b"M110" in line
    at = line.find(b"N", 4) if renumbers else 0
    number = _long(line[at + 1 if at > 0 else 1 :])
    if number != last + 1 and not renumbers:
        return Refused(b"" if last - 1 <= number <= last else LINE_NUMBER)
    framed, star, check = line.rpartition(b"*")
    if not star:
        return Refused(NO_CHECKSUM)
    if _long(check) != reduce(xor, framed, 0):
        return Refused(CHECKSUM)
    head, space, payload = framed.partition(b" ")
    if not space or not head[1:].isdigit():
        payload = _HEAD.sub(b"", framed, count=1)
    return Accepted(payload.strip(b" "), number)


def _long(text: bytes) -> int:
    """C's strtol: the digits at the beginning, 0 when there are none."""
    digits, _, _ = text.partition(b" ")
    if digits.isdigit():
        return int(digits)
    found = _NUMBER.match(text)
    return int(found[1]) if found else 0


def _character_by_character(raw: bytes) -> bytes:
    kept = bytearray()
    escaped = False
    for byte in raw:
        if escaped:
            escaped = False
        elif byte == ord("\\"):
            escaped = True
            continue
        elif byte == ord(";"):
            break
        if byte == 0x08:
            del kept[-1:]
            continue
        kept.append(byte)
        if len(kept) >= MAX_COMMAND:
            break
    return bytes(kept)
