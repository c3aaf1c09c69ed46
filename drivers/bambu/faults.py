"""What a printer's error numbers mean, in words and in what they ask of a person.

Two channels that know nothing of each other: `print_error`, one number for the print at hand, and `hms`, a list of the machine's
complaints. Numbers nobody here knows are shown as they stand on the printer's screen and in the vendor's lists.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an error is about."""

    CANCELLED = "cancelled"  # somebody stopped the print; no fault at all
    JOB = "job"  # the file or the command was not taken; the machine is well
    HELD = "held"  # the print waits for a person at the machine
    STORAGE = "storage"
    LOCKED = "locked"  # commands are not taken: Developer Mode is off
    MACHINE = "machine"
    NOTE = "note"  # worth a word, asks for nothing


@dataclass(frozen=True, slots=True)
class Fault:
    """One complaint. `code` as the vendor writes it: `0700-8011`, `HMS_0300_0100_0001_0007`."""

    code: str
    kind: Kind
    words: str

    def __str__(self) -> str:
        return f"{self.code}: {self.words}"


CANCELLED = frozenset({0x0300400C, 0x0500400E})
LOCKED_HMS = 0x0500_0500_0001_0007
LOCKED_WORDS = "the printer takes no commands from outside: enable Developer Mode on its screen and restart the printer"

_PRINT_ERRORS: Mapping[int, tuple[Kind, str]] = {
    0x0300400C: (Kind.CANCELLED, "the print was cancelled"),
    0x0500400E: (Kind.CANCELLED, "the print was cancelled"),
    0x05004002: (Kind.JOB, "the printer does not know the path or name of the file"),
    0x05004003: (Kind.JOB, "the printer cannot read the print file"),
    0x05004004: (Kind.JOB, "the printer was busy with another print"),
    0x05004037: (Kind.JOB, "the file was sliced for another model"),
    0x0500403C: (Kind.JOB, "the file was sliced for another nozzle"),
    0x05004006: (Kind.STORAGE, "there is not enough room on the printer's storage"),
    0x0500C010: (Kind.STORAGE, "the printer cannot read or write its storage card"),
    0x0500402F: (Kind.STORAGE, "the storage card is damaged"),
    0x05008051: (Kind.HELD, "the wrong build plate lies in the printer"),
    0x07008010: (Kind.HELD, "the filament is stuck at its spool"),
    0x07008011: (Kind.HELD, "the filament has run out; load more, then resume"),
    0x07FF8011: (Kind.HELD, "the external spool has run out; load more, then resume"),
    0x12008011: (Kind.HELD, "the filament has run out; load more, then resume"),
    0x03008004: (Kind.HELD, "the filament has run out; load more, then resume"),
    0x07008012: (Kind.HELD, "the printer does not know which tray to print from"),
    0x07FF8012: (Kind.HELD, "the printer does not know which tray to print from"),
    0x03008000: (Kind.NOTE, "the print was paused"),
    0x03008001: (Kind.HELD, "the print was paused by its own file"),
    0x0300800F: (Kind.HELD, "a door is open"),
    0x0C008001: (Kind.HELD, "the first layer looks wrong"),
    0x0300400D: (Kind.MACHINE, "the print cannot be taken up again after the power was lost"),
}
_HMS: Mapping[int, tuple[Kind, str]] = {
    0x0700_2000_0002_0001: (Kind.HELD, "the filament has run out"),
    0x07FF_2000_0002_0001: (Kind.HELD, "the external spool has run out"),
    LOCKED_HMS: (Kind.LOCKED, LOCKED_WORDS),
    0x0500_0100_0003_0004: (Kind.NOTE, "the storage card is too full for a time-lapse"),
    0x0500_0100_0003_0005: (Kind.STORAGE, "the storage card cannot be written"),
}
_MODULES = {
    0x03: "motion or heating",
    0x05: "mainboard",
    0x07: "filament changer (AMS)",
    0x08: "toolhead",
    0x0C: "camera",
    0x12: "filament changer (AMS Lite)",
}
_SEVERITIES = {1: "fatal", 2: "serious"}

# stg_cur of a pause that waits for a person, beyond the one somebody asked for (16).
_PAUSES = {
    5: "the print was paused by its own file",
    30: "the print was paused by its own file",
    6: "the filament has run out",
    17: "the front cover is off",
    20: "the nozzle temperature is wrong",
    21: "the bed temperature is wrong",
    23: "it lost steps",
    26: "the filament changer (AMS) does not answer",
    27: "a fan is too slow",
    28: "the chamber temperature is wrong",
    32: "filament is wrapped around the nozzle",
    33: "the filament cutter is stuck",
    34: "the first layer looks wrong",
    35: "the nozzle is clogged",
}
_MOST_HMS = 32


def print_fault(number: object) -> Fault | None:
    """What `print_error` (or `fail_reason`, which is the same number as text) says; None for none and for noise of a phase."""
    value = _number(number)
    if value is None or value & 0xFFFF < 0x4000:
        return None
    value &= 0xFFFFFFFF
    code = f"{value >> 16:04X}-{value & 0xFFFF:04X}"
    known = _PRINT_ERRORS.get(value) or _PRINT_ERRORS.get(_any_unit(value))
    if known is not None:
        return Fault(code, *known)
    held = 0x8000 <= value & 0xFFFF < 0xC000
    words = f"{_module(value >> 24)} stopped the print" if not held else f"{_module(value >> 24)} holds the print"
    return Fault(code, Kind.HELD if held else Kind.MACHINE, f"{words}; the printer's screen says more")


def hms_faults(listed: object) -> tuple[Fault, ...]:
    """The complaints that matter of a report's `hms`: the known ones, and whatever is serious."""
    faults = []
    for entry in listed[:_MOST_HMS] if isinstance(listed, list) else ():
        attr, code = (_number(entry.get(key)) for key in ("attr", "code")) if isinstance(entry, dict) else (None, None)
        if attr is None or code is None or not attr:
            continue
        value = (attr & 0xFFFFFFFF) << 32 | (code & 0xFFFFFFFF)
        word = f"{value:016X}"
        name = f"HMS_{word[:4]}_{word[4:8]}_{word[8:12]}_{word[12:]}"
        known = _HMS.get(value) or _HMS.get(_any_unit(value >> 32) << 32 | value & 0xFFFFFFFF)
        severity = _SEVERITIES.get(code >> 16)
        if known is not None:
            faults.append(Fault(name, *known))
        elif severity is not None:
            faults.append(Fault(name, Kind.MACHINE, f"{severity} trouble of {_module(attr >> 24)}; the printer's screen says more"))
    return tuple(faults)


def pause_words(stage: object) -> str | None:
    """Why a held print waits for a person, by its stage; None where somebody held it on purpose."""
    return _PAUSES.get(stage) if isinstance(stage, int) else None


def first(faults: Iterable[Fault], kind: Kind) -> Fault | None:
    """The first of a kind."""
    return next((fault for fault in faults if fault.kind is kind), None)


def _any_unit(value: int) -> int:
    """An AMS and its slot number themselves in the second byte and the third; the tables stand for the first of each."""
    return value & 0xFF00FFFF if value >> 24 in (0x07, 0x12) and value >> 16 & 0xFF != 0xFF else value


def _module(number: int) -> str:
    return _MODULES.get(number & 0xFF, f"part {number & 0xFF:02X}")


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
    return value if isinstance(value, int) else None
