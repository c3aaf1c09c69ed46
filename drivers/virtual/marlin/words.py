"""The words of a command: `G1 X10 F3000` is the code `G1` with X and F, `M117 text` is M117 with a text.

Reading must never fail on strange bytes: a number that is none counts as 0, as it does in the firmware.
"""

import re

_CODE = re.compile(rb"[ ]*([GMTD])[ ]*(\d+)(?:\.\d+)?[ ]*(.*)", re.S)
_WORD = re.compile(rb"([A-Z])[ ]*([-+]?(?:\d+\.?\d*|\.\d+))?")


def split(payload: bytes) -> tuple[bytes, bytes]:
    """(code, the rest); the code is empty when this is no command."""
    found = _CODE.match(payload)
    return (found[1] + str(int(found[2])).encode(), found[3]) if found else (b"", b"")


def numbers(args: bytes) -> dict[str, float]:
    """Every letter with its number; a letter alone has 0."""
    return {match[1].decode(): float(match[2] or 0) for match in _WORD.finditer(args)}


def quick_numbers(args: bytes) -> dict[int, float]:
    """The same by the letter's byte and at a fraction of the cost, for words that stand apart; raises `ValueError` for others."""
    return {word[0]: float(word[1:]) for word in args.split()}


def first_number(args: bytes, letter: str) -> float | None:
    return numbers(args).get(letter)
