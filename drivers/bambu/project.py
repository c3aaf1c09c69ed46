"""A sliced file as Bambu printers take it: a zip (`.gcode.3mf`) with the G-code of a plate and the word of its slicer.

Everything that makes a printer refuse a file, or print the wrong thing, is looked for before a byte goes up: printers say little
about it themselves, and late.
"""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import orjson

from drivers.bambu.models import Model
from drivers.contract import Spool

MOST_BYTES = 4 << 30
MOST_PARTS = 2000
MOST_WORDS = 4 << 20
BLOCK = 1 << 20
_PLATE = re.compile(r"Metadata/plate_(\d{1,3})\.gcode")
_DAMAGE = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError)


class Unprintable(ValueError):
    """The file cannot be printed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Project:
    """What a file says of itself. `filaments` is the length of its filament list, `position` (0-based) and `material` those of the
    one it uses; `model_id` and `nozzle` what it was sliced for, None where it does not say."""

    plate: int
    filaments: int
    position: int
    material: str
    model_id: str | None = None
    nozzle: float | None = None


def read_project(file: Path) -> Project:
    """Read and check a file, all of it. Raises `Unprintable`; `OSError` when it cannot be read at all."""
    with file.open("rb") as stream:
        if stream.read(4) != b"PK\x03\x04":
            raise Unprintable(f"{file.name} is no .gcode.3mf: Bambu printers take G-code in a 3MF package only; slice it for them")
        stream.seek(0)
        try:
            with zipfile.ZipFile(stream) as package:
                return _read(package, file.name)
        except _DAMAGE as error:
            raise Unprintable(f"{file.name} is damaged: {error}; slice it again") from error


def misfit(project: Project, model: Model, nozzle: float | None, spools: Sequence[Spool] | None) -> str | None:
    """Why this printer must not be given this file; None when it may. `nozzle` and `spools` as the printer tells them."""
    if project.model_id is not None and project.model_id not in model.codes:
        return f"it was sliced for the printer {project.model_id}, and this is a {model.name} ({model.codes[0]})"
    if project.nozzle is not None and nozzle is not None and abs(project.nozzle - nozzle) > 0.01:
        return f"it was sliced for a nozzle of {project.nozzle:g} mm, and the printer has one of {nozzle:g} mm"
    if spools is None or not project.material:
        return None
    loaded = sorted({spool.material for spool in spools if spool.material is not None})
    if project.material.upper() in loaded:
        return None
    return f"it needs {project.material}, and loaded is {', '.join(loaded) or 'nothing'}"


def _read(package: zipfile.ZipFile, name: str) -> Project:
    parts = package.infolist()
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_BYTES:
        raise Unprintable(f"{name} is larger than any print: slice it again")
    plates = [found for part in parts if (found := _PLATE.fullmatch(part.filename)) is not None]
    if len(plates) != 1:
        raise Unprintable(
            f"{name} holds {len(plates) or 'no'} sliced plates; export exactly one, sliced (File > Export plate sliced file)"
        )
    plate = int(plates[0][1])
    digest = _check(package, plates[0][0])
    told = _words(package, f"Metadata/plate_{plate}.gcode.md5").decode("ascii", "replace").strip()
    if told.upper() != digest:
        raise Unprintable(f"{name}: the checksum beside the G-code is {told or 'missing'}, not {digest}; slice it again")
    return _describe(plate, _slice_info(_words(package, "Metadata/slice_info.config"), plate), _plate_json(package, plate), name)


def _check(package: zipfile.ZipFile, gcode: str) -> str:
    """Read every part to its end, which checks it; gives the MD5 of the G-code as the format writes it."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in package.infolist():
        with package.open(part) as stream:
            while block := stream.read(BLOCK):
                if part.filename == gcode:
                    digest.update(block)
    if package.getinfo(gcode).file_size == 0:
        raise Unprintable("the plate's G-code is empty; slice it again")
    return digest.hexdigest().upper()


def _words(package: zipfile.ZipFile, part: str) -> bytes:
    try:
        if package.getinfo(part).file_size > MOST_WORDS:
            return b""
        return package.read(part)
    except KeyError:
        return b""


def _plate_json(package: zipfile.ZipFile, plate: int) -> Mapping[str, Any]:
    try:
        told = orjson.loads(_words(package, f"Metadata/plate_{plate}.json") or b"{}")
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


@dataclass(slots=True)
class _Sliced:
    """One `<plate>` of slice_info.config."""

    metadata: dict[str, str]
    filaments: list[dict[str, str]]


def _slice_info(text: bytes, plate: int) -> _Sliced:
    """The plate of that index; the only one where none has it."""
    plates: list[_Sliced] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if tag == "plate":
            plates.append(_Sliced({}, []))
        elif plates and tag == "metadata":
            plates[-1].metadata[attributes.get("key", "")] = attributes.get("value", "")
        elif plates and tag == "filament":
            plates[-1].filaments.append(attributes)

    def no_entities(*_: object) -> None:
        raise Unprintable("its slice_info.config declares entities; slice it again")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EntityDeclHandler = no_entities
    try:
        parser.Parse(text or b"<config/>", True)
    except expat.ExpatError as error:
        raise Unprintable(f"its slice_info.config cannot be read ({error}); slice it again") from error
    fitting = [each for each in plates if each.metadata.get("index") == str(plate)] or plates
    return fitting[0] if fitting else _Sliced({}, [])


def _describe(plate: int, sliced: _Sliced, told: Mapping[str, Any], name: str) -> Project:
    numbers = [int(each["id"]) - 1 for each in sliced.filaments if each.get("id", "").isdigit() and int(each["id"]) > 0]
    ids = told.get("filament_ids")
    listed = [each for each in ids if isinstance(each, int) and 0 <= each < 64] if isinstance(ids, list) else []
    used = sorted({*(listed or numbers)})
    if len(used) > 1 or len(sliced.filaments) > 1:
        raise Unprintable(f"{name} uses {max(len(used), len(sliced.filaments))} filaments; a print of the farm uses one")
    position = used[0] if used else 0
    if position >= 64:
        raise Unprintable(f"{name} names filament {position + 1}, and no list is that long; slice it again")
    material = sliced.filaments[0].get("type", "") if sliced.filaments else ""
    return Project(
        plate,
        filaments=position + 1,
        position=position,
        material=material.strip().upper(),
        model_id=sliced.metadata.get("printer_model_id") or None,
        nozzle=_diameter(sliced.metadata.get("nozzle_diameters", "")),
    )


def _diameter(words: str) -> float | None:
    try:
        return float(words.split(",")[0])
    except ValueError:
        return None
