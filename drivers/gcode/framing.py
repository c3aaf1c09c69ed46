"""Lines of G-code as a Marlin takes them: stripped, numbered and with their checksum.

Everything that goes over the wire of a print is made here, once, before the print begins. Pure; knows no printer. Facts from
Marlin's `queue.cpp`: a line is cut off at 95 bytes, its checksum with it, and the firmware then asks for it for ever.
"""

import re
from functools import reduce
from operator import xor

LINE_CAP = 95
"""Bytes of a framed line that reach the firmware's buffer of 96, the newline left out."""

QUESTION = b"\nM105\n"
"""What is asked of a machine that has fallen silent. It begins with a newline, which ends whatever was cut short before it: a line
without its end would swallow the question whole. An empty line is none, to every firmware."""

TEXT_COMMANDS = (b"M117", b"M118")
"""Commands whose argument is a text for people: it keeps its case and its brackets, and may be shortened."""

_NUMBERED = re.compile(rb"^[Nn]\d+\s*")
_CHECKSUM = re.compile(rb"\*\d+\s*$")
_BRACKETS = re.compile(rb"\([^)]*\)")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f\\]+")  # a backslash would take the asterisk of the checksum with it
_COMMAND = re.compile(rb"^([GMTgmt])0*(\d+)")
_LONGEST = 4096
"""Bytes of one line that are looked at: it is refused long before that."""


def payload(line: bytes) -> bytes:
    """The command of one line of a file: no comment, no number, no checksum, no control characters, upper case as every firmware
    knows it. Empty when nothing is left to send."""
    text = line.split(b";", 1)[0][:_LONGEST].strip()
    if text[:1] in b"Nn" and (numbered := _NUMBERED.match(text)):
        text = _CHECKSUM.sub(b"", text[numbered.end() :]).rstrip()
    if _CONTROL.search(text):
        text = _CONTROL.sub(b" ", text).strip()
    if not text or is_text(text):
        return text[:4].upper() + text[4:]
    if b"(" in text:
        text = _BRACKETS.sub(b"", text).split(b"(", 1)[0].strip()  # one that is not closed reaches to the end
    return text if text.isupper() else text.upper()


def is_text(command: bytes) -> bool:
    """Whether the argument of `command` is a text for people."""
    return command[:4].upper() in TEXT_COMMANDS and not command[4:5].isdigit()


def code(command: bytes) -> bytes:
    """The command word alone, as a firmware reads it: `G1`, `M104`, `T0`; empty when there is none."""
    found = _COMMAND.match(command)
    return found[1].upper() + found[2] if found else b""


def frame(number: int, command: bytes) -> bytes:
    """`command` as line `number`, with checksum and newline."""
    text = b"N%d %b" % (number, command)
    return b"%b*%d\n" % (text, reduce(xor, text))


def fits(number: int, command: bytes) -> bool:
    """Whether the framed line reaches the firmware whole."""
    return len(frame(number, command)) - 1 <= LINE_CAP


def shortened(number: int, command: bytes) -> bytes:
    """A text command cut so that it fits as line `number`."""
    spare = len(frame(number, command)) - 1 - LINE_CAP
    # the checksum of the shorter line may have a digit more
    return command if spare <= 0 else command[: -spare - 2].rstrip()
