"""What a Marlin says, line by line, as plain values. Takes any bytes: broken and unknown lines are ordinary on cheap cables.

Pure, and never raises: a line that cannot be read is `Other`, and concluding something from it is nobody's business here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

MAX_LINE = 4096
"""Bytes without a newline that are still kept; more is noise, and is dropped."""


@dataclass(frozen=True, slots=True)
class Heat:
    """Degrees Celsius."""

    actual: float
    target: float


@dataclass(frozen=True, slots=True)
class Ok:
    """One command was taken. `line` only from a firmware with ADVANCED_OK and for a numbered line; `planner` and `buffers` are
    then its free planner blocks and command slots."""

    line: int | None = None
    planner: int | None = None
    buffers: int | None = None
    heat: Mapping[str, Heat] | None = None  # the answer to M105
    axes: Mapping[str, float] | None = None  # the answer to M114, of firmware that gives it in the same line


@dataclass(frozen=True, slots=True)
class Resend:
    """The line that is wanted next; None when the number cannot be read."""

    line: int | None


@dataclass(frozen=True, slots=True)
class Busy:
    """A command blocks; `waits` when it waits for a person."""

    waits: bool


@dataclass(frozen=True, slots=True)
class Idle:
    """`wait`: the firmware has nothing to do."""


@dataclass(frozen=True, slots=True)
class Started:
    """The firmware has just booted: whatever it was doing is lost. It says so in several lines, any of which may be garbled."""


@dataclass(frozen=True, slots=True)
class Report:
    """Temperatures that came by themselves, by heater: `T`, `T1`, `B`, `C`."""

    heat: Mapping[str, Heat]


class Failing(StrEnum):
    """How bad an error is."""

    LINE = "line"  # of the transport; a Resend follows
    HALTED = "halted"  # dead until reset, heaters off
    STOPPED = "stopped"  # moves are ignored from now on, and still acknowledged
    COLD = "cold"  # the filament does not move
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error in the firmware's own words."""

    kind: Failing
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """`//action:NAME TEXT`: what the firmware asks of its host."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Firmware:
    """The fields of M115's first line."""

    fields: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.fields.get("FIRMWARE_NAME", "")


@dataclass(frozen=True, slots=True)
class Capable:
    """One `Cap:` line of M115."""

    name: str
    able: bool


@dataclass(frozen=True, slots=True)
class Position:
    """M114: logical coordinates in mm."""

    axes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SdPrint:
    """The firmware prints from its own card, at `position` of `size` bytes; None both when it does not."""

    position: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The firmware does not know a command, and took it nevertheless."""

    command: str


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else."""

    text: str = field(repr=False)


Reply = Ok | Resend | Busy | Idle | Started | Report | Failure | Action | Firmware | Capable | Position | SdPrint | Unknown | Other

OK = Ok()
_OK = re.compile(rb"ok(?: N(\d+))?(?: P(\d+))?(?: B(\d+))?\s*$")
_HEAT = re.compile(rb"(?<![A-Za-z@])([TBC]\d?):\s*(-?\d+(?:\.\d+)?)(?:\s*/\s*(-?\d+(?:\.\d+)?))?")
_RESEND = re.compile(rb"(?:resend|rs)\b[:\s]*N?(\d+)?", re.IGNORECASE)
_POSITION = re.compile(rb"([XYZE]):(-?\d+(?:\.\d+)?)")
_FIELD = re.compile(r"(?:^|\s)([A-Z_]{3,}):")
_SD = re.compile(rb"SD printing byte (\d{1,12})/(\d{1,12})")
_BANNER = re.compile(rb"start$|Marlin (?:\d|bugfix)|echo:\s?Marlin|PowerUp$|\s?(?:External|Brown out|Watchdog|Software) Reset$")
_HALTED = re.compile(rb"kill\(\)|halted|system stopped|thermal runaway|heating failed|maxtemp|mintemp|^!!|^fatal", re.IGNORECASE)
_TRANSPORT = re.compile(rb"checksum|line ?number|last line|expected line|format error", re.IGNORECASE)


class Lines:
    """Cuts what arrives into lines, whatever their ends, and drops what has none."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now."""
        lines = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()[-MAX_LINE:]
        return [line for line in lines if line and len(line) <= MAX_LINE]

    def clear(self) -> None:
        """Forget a beginning: its end will never come."""
        self._rest = b""


def read(line: bytes) -> Reply:
    """One line from the firmware."""
    if line == b"ok":
        return OK
    text = line.strip()
    if text.startswith(b"ok"):
        return _ok(text)
    lower = text[:12].lower()
    if lower.startswith((b"resend", b"rs ")):
        number = _RESEND.match(text)
        return Resend(int(number[1]) if number and number[1] and len(number[1]) < 10 else None)
    for read_as in (_short, _error, _report, _identity):
        if (reply := read_as(text)) is not None:
            return reply
    return Other(text.decode("latin-1"))


def _ok(text: bytes) -> Reply:
    if found := _OK.match(text):
        line, planner, buffers = (int(part) if part and len(part) < 10 else None for part in found.groups())
        return Ok(line, planner, buffers)
    if axes := _axes(text[2:].strip()):
        return Ok(axes=axes)
    heat = dict(_heats(text))
    if heat:
        return Ok(heat=heat)
    return OK if text[2:3] in (b" ", b"") else Other(text.decode("latin-1"))


def _short(text: bytes) -> Reply | None:
    if _BANNER.match(text):
        return Started()
    if text == b"wait":
        return Idle()
    if text.startswith((b"echo:busy:", b"busy:")):
        return Busy(waits=b"paused for" in text)
    if text.startswith(b"//"):
        name, _, rest = text[2:].strip().decode("latin-1").removeprefix("action:").partition(" ")
        return Action(name.strip(), rest.strip()) if b"action:" in text[:12] else Other(text.decode("latin-1"))
    if text.startswith(b"echo:Unknown command:"):
        return Unknown(text[21:].strip(b' "').decode("latin-1"))
    return None


def _error(text: bytes) -> Reply | None:
    words = text.decode("latin-1")
    if b"cold extrusion" in text.lower():
        return Failure(Failing.COLD, words)
    if not text.startswith((b"Error:", b"error:", b"!!", b"fatal", b"Fatal")):
        return None
    if _HALTED.search(text):
        return Failure(Failing.HALTED, words)
    if b"stopped due to errors" in text or b"M999" in text:
        return Failure(Failing.STOPPED, words)
    return Failure(Failing.LINE if _TRANSPORT.search(text) else Failing.OTHER, words)


def _axes(text: bytes) -> dict[str, float]:
    """A position in mm; the steps that may follow it are left out."""
    if not text.startswith(b"X:") or b"Y:" not in text or not (b"Z:" in text or b"Count" in text):
        return {}
    axes: dict[str, float] = {}
    for axis, value in _POSITION.findall(text.partition(b"Count")[0]):
        axes.setdefault(axis.decode(), float(value))
    return axes


def _report(text: bytes) -> Reply | None:
    if text[:2] in (b"T:", b"T0", b"B:", b"C:") and (heat := dict(_heats(text))):
        return Report(heat)
    if axes := _axes(text):
        return Position(axes)
    if found := _SD.search(text):
        return SdPrint(int(found[1]), int(found[2]))
    if text in (b"Not SD printing", b"Done printing file"):
        return SdPrint()
    return None


def _identity(text: bytes) -> Reply | None:
    if text.startswith(b"Cap:"):
        name, _, able = text[4:].decode("latin-1").partition(":")
        return Capable(name, able.strip() == "1")
    if text.startswith(b"FIRMWARE_NAME:"):
        words = text.decode("latin-1")
        marks = [*_FIELD.finditer(words)]
        ends = [mark.start() for mark in marks[1:]] + [len(words)]
        return Firmware({mark[1]: words[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)})
    return None


def _heats(text: bytes) -> Iterator[tuple[str, Heat]]:
    for heater, actual, target in _HEAT.findall(text):
        yield heater.decode(), Heat(float(actual), float(target or 0))
