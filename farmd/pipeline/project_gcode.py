"""The G-code inside a project file: what the slicer wrote, between the blocks a Bambu Lab machine looks for.

Such a machine counts layers by marks in the file and shows what the header promises; without them it hangs while unpacking or shows
0 of 0. The marks are the profile's to set (`layer_gcode`), they are counted here. No command is added, changed or left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from farmd.pipeline.artifact_cache import without_time

HEADER = (b"; HEADER_BLOCK_START\n", b"; HEADER_BLOCK_END\n")
CONFIG = (b"; CONFIG_BLOCK_START\n", b"; CONFIG_BLOCK_END\n")
COMMANDS = (b"; EXECUTABLE_BLOCK_START\n", b"; EXECUTABLE_BLOCK_END\n")
LAYER = b";LAYER_CHANGE"
NOTES = b"\n; filament used [mm]"
"""Where PrusaSlicer's own notes begin, behind the last command."""
NOTES_BYTES = 256 * 1024
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Promise:
    """What the header tells of the print; `filament_mm` and `height` in mm."""

    seconds: int
    filament_mm: float
    filament_grams: float
    density: float
    diameter: float
    height: float


def count_layers(gcode: Path) -> int:
    """How many layers the slicer announces. Raises OSError."""
    with gcode.open("rb") as stream:
        return sum(line.startswith(LAYER) for line in stream)


def project_gcode(gcode: Path, layers: int, promise: Promise, settings: Mapping[str, str]) -> Iterator[bytes]:
    """The whole file in pieces: header, the settings as they were handed to the slicer, commands. Raises OSError."""
    yield from (HEADER[0], *_header(layers, promise), HEADER[1], b"\n")
    yield from (CONFIG[0], *(f"; {key} = {value}\n".encode() for key, value in sorted(settings.items())), CONFIG[1], b"\n")
    yield COMMANDS[0]
    with gcode.open("rb") as stream:
        yield from commands(stream)
    yield COMMANDS[1]


def commands(stream: IO[bytes]) -> Iterator[bytes]:
    """A sliced file from its beginning up to the slicer's notes, in pieces, without the time in its first line."""
    end = _end_of_commands(stream)
    stream.seek(0)
    first = stream.readline()
    yield without_time(first)
    left = end - len(first)
    while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
        left -= len(chunk)
        yield chunk


def _end_of_commands(stream: IO[bytes]) -> int:
    size = stream.seek(0, 2)
    start = max(0, size - NOTES_BYTES)
    stream.seek(start)
    found = stream.read().find(NOTES)
    return size if found < 0 else start + found + 1


def _header(layers: int, promise: Promise) -> Iterator[bytes]:
    time = _hours(promise.seconds)
    for line in (
        "made by farmd",
        f"model printing time: {time}; total estimated time: {time}",
        f"total layer number: {layers}",
        f"total filament length [mm] : {promise.filament_mm:.2f}",
        f"total filament weight [g] : {promise.filament_grams:.2f}",
        f"filament_density: {promise.density:g}",
        f"filament_diameter: {promise.diameter:g}",
        f"max_z_height: {promise.height:.2f}",
    ):
        yield f"; {line}\n".encode()


def _hours(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h " if hours else "") + (f"{minutes}m " if hours or minutes else "") + f"{rest}s"
