"""The last look at a project file: is it whole, does it hold the very commands the G-code gate passed, and is it for this machine?

A machine answers a damaged or foreign file with an error code, or with silence for ever; here it is still told in words.
"""

import hashlib
import re
from itertools import count
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile

from farmd.domain.slicing import GateRefused
from farmd.pipeline.project_file import CHECKSUM, GCODE, SLICE_INFO, Project
from farmd.pipeline.project_gcode import COMMANDS, HEADER, commands

NEEDED = (
    "[Content_Types].xml",
    "_rels/.rels",
    "3D/3dmodel.model",
    GCODE,
    CHECKSUM,
    SLICE_INFO,
    "Metadata/model_settings.config",
    "Metadata/_rels/model_settings.config.rels",
    "Metadata/plate_1.json",
    "Metadata/plate_1.png",
    "Metadata/plate_no_light_1.png",
    "Metadata/plate_1_small.png",
    "Metadata/project_settings.config",
)
PACK_AGAIN = "Retry the job; if it stays so, check the disk."
MARK_LAYERS = r"Give the profile layer_gcode = M73 L{layer_num+1}\nM991 S0 P{layer_num}, as farmd's own has it, then retry the job."

TOTAL = re.compile(rb"; total layer number: (\d+)\s*")
MARK = re.compile(rb"(?:M73 L|M991 S0 P)(\d+)\s*")


def check_project(path: Path, gcode: Path, project: Project) -> None:
    """Compare a written project file with the sliced file it was made of. Raises GateRefused, OSError."""
    try:
        with ZipFile(path) as archive:
            _check_whole(archive)
            _check_sums(archive, gcode)
            _check_layers(archive)
            _check_machine(archive.read(SLICE_INFO).decode(), project)
    except (BadZipFile, UnicodeDecodeError, EOFError) as error:
        raise GateRefused("project_damaged", f"the project file cannot be read again: {error}", PACK_AGAIN) from error


def _check_whole(archive: ZipFile) -> None:
    if (damaged := archive.testzip()) is not None:
        raise GateRefused("project_damaged", f"{damaged} in the project file is damaged", PACK_AGAIN)
    if missing := sorted({*NEEDED} - {*archive.namelist()}):
        raise GateRefused("project_damaged", f"the project file has no {missing[0]}", PACK_AGAIN)


def _check_sums(archive: ZipFile, gcode: Path) -> None:
    """The checksum is that of the G-code, and what is executed is what was sliced, to the byte."""
    whole, inside, sliced = (hashlib.md5(usedforsecurity=False) for _ in range(3))
    within = False
    with archive.open(GCODE) as stream:
        for line in stream:
            whole.update(line)
            if line == COMMANDS[1]:
                within = False
            if within:
                inside.update(line)
            within = within or line == COMMANDS[0]
    if archive.read(CHECKSUM).decode() != whole.hexdigest().upper():
        raise GateRefused("project_damaged", "the checksum in the project file is not that of its G-code", PACK_AGAIN)
    with gcode.open("rb") as stream:
        for piece in commands(stream):
            sliced.update(piece)
    if inside.digest() != sliced.digest():
        raise GateRefused("project_damaged", "the project file does not hold the commands that were sliced", PACK_AGAIN)


def _check_layers(archive: ZipFile) -> None:
    """A machine counts layers by two marks at each of them; they must be as many as the header says, in their order."""
    with archive.open(GCODE) as stream:
        total = _promised(stream)
        layers, notes = _marks(stream)
    if total < 1 or layers != total or notes != total:
        detail = f"{layers} of {total} layers are marked for the machine's display, and {notes} for its camera"
        raise GateRefused("layers_not_marked", detail, MARK_LAYERS)


def _promised(stream: IO[bytes]) -> int:
    for line in stream:
        if found := TOTAL.fullmatch(line):
            return int(found[1])
        if line == HEADER[1]:
            break
    return 0


def _marks(stream: IO[bytes]) -> tuple[int, int]:
    """How many marks of each kind follow one another without a gap, from 1 and from 0."""
    layers, notes = count(1), count(0)
    seen = [0, 0]
    for line in stream:
        if line.startswith(b"M") and (found := MARK.fullmatch(line)):
            kind = line.startswith(b"M991")
            if int(found[1]) == next(notes if kind else layers):
                seen[kind] += 1
    return seen[0], seen[1]


def _check_machine(slice_info: str, project: Project) -> None:
    """What the file says of itself is what the printer is."""
    for key, wanted in (("printer_model_id", project.machine.code), ("nozzle_diameters", f"{project.nozzle:g}")):
        found = re.search(f'key="{key}" value="([^"]*)"', slice_info)
        if found is None or found[1] != wanted:
            detail = f"the project file says {key} {found[1] if found else 'nothing'}, the printer is {wanted}"
            raise GateRefused("wrong_machine", detail, "Correct the printer's model, nozzle and profile.")
