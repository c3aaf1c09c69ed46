"""A `.gcode.3mf` as a printer reads it: a zip with a plate's G-code, its checksum, and what the slicer meant it for.

Reading tells what the real firmware would complain of. The writer makes the smallest file that the firmware takes, for prints that
somebody starts at the machine and for tests; it must never be taken for a slicer.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from drivers.virtual.plan import Plan, plan_of

_LAYERS = re.compile(rb"^; total layer number:\s*(\d+)", re.MULTILINE)
_LAYER_MARK = re.compile(rb"^(?:M73 L\d+|; CHANGE_LAYER|;LAYER_CHANGE)", re.MULTILINE)
_MINUTES = re.compile(rb"^M73 P0 R(\d+)", re.MULTILINE)
SECONDS_PER_COMMAND = 0.01
SUFFIX = ".gcode.3mf"


class Unreadable(Exception):
    """What the screen would say is: cannot parse the file."""


@dataclass(frozen=True, slots=True)
class Filament:
    """One filament of a plate; `number` counts the project's from 1."""

    number: int
    kind: str
    color: str


@dataclass(frozen=True, slots=True)
class Project:
    """One plate of one file. `model` and `nozzle` are empty where the file does not say."""

    plate: int
    plan: Plan
    seconds: float
    layers: int
    model: str
    nozzle: str
    filaments: tuple[Filament, ...]


def read_project(file: Path, member: str) -> Project:
    """The plate whose G-code is `member` of the zip. Raises `Unreadable` as the firmware would refuse it, `OSError` when there is
    no such file; blocks for the whole file."""
    found = re.fullmatch(r"Metadata/plate_(\d+)\.gcode", member)
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if found is None or member not in names:
                raise Unreadable(f"there is no {member}")
            gcode = archive.read(member)
            if f"{member}.md5" in names and archive.read(f"{member}.md5").decode().strip() != md5_of(gcode):
                raise Unreadable(f"the checksum of {member} is another file's")
            info = archive.read("Metadata/slice_info.config") if "Metadata/slice_info.config" in names else b"<config/>"
            return _project(int(found[1]), gcode, ElementTree.fromstring(info))  # noqa: S314 - what our own slicer wrote
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ElementTree.ParseError, UnicodeDecodeError, EOFError) as error:
        raise Unreadable(str(error)) from None


def md5_of(gcode: bytes) -> str:
    """As it stands beside the G-code."""
    return hashlib.md5(gcode, usedforsecurity=False).hexdigest().upper()


def _project(plate: int, gcode: bytes, info: ElementTree.Element) -> Project:
    plan = plan_of(gcode.splitlines(), len(gcode))
    told, filaments = _plate(info, plate)
    minutes, layers = _MINUTES.search(gcode), _LAYERS.search(gcode)
    estimate = plan.estimate or float(told.get("prediction") or 0) or (int(minutes[1]) * 60.0 if minutes else 0.0)
    return Project(
        plate,
        plan,
        estimate or plan.commands * SECONDS_PER_COMMAND,
        int(layers[1]) if layers else len(_LAYER_MARK.findall(gcode)),
        told.get("printer_model_id", ""),
        told.get("nozzle_diameters", "").split(",")[0],
        filaments,
    )


def _plate(info: ElementTree.Element, number: int) -> tuple[dict[str, str], tuple[Filament, ...]]:
    for plate in info.iter("plate"):
        told = {each.get("key", ""): each.get("value", "") for each in plate.iter("metadata")}
        if told.get("index", str(number)) == str(number):
            used = [
                Filament(int(each.get("id", "1")), each.get("type", ""), each.get("color", "")) for each in plate.iter("filament")
            ]
            return told, tuple(used)
    return {}, ()


def make_project(
    seconds: float,
    *,
    model: str,
    layers: int = 20,
    nozzle: str = "0.4",
    filaments: Sequence[Filament] = (Filament(1, "PLA", "#1A1A1A"),),
    plate: int = 1,
) -> bytes:
    """A file that prints for `seconds` on the machine whose code is `model`; the same bytes for the same words."""
    gcode = _gcode(seconds, layers)
    files = {
        "[Content_Types].xml": b'<?xml version="1.0" encoding="UTF-8"?>\n<Types/>',
        "_rels/.rels": b'<?xml version="1.0" encoding="UTF-8"?>\n<Relationships/>',
        "3D/3dmodel.model": b'<?xml version="1.0" encoding="UTF-8"?>\n<model unit="millimeter"><resources/><build/></model>',
        f"Metadata/plate_{plate}.gcode": gcode,
        f"Metadata/plate_{plate}.gcode.md5": md5_of(gcode).encode(),
        "Metadata/model_settings.config": b"<config/>",
        "Metadata/slice_info.config": _slice_info(seconds, model, nozzle, filaments, plate),
        f"Metadata/plate_{plate}.json": json.dumps(
            {
                "bed_type": "textured_plate",
                "filament_colors": [each.color for each in filaments],
                "filament_ids": [each.number - 1 for each in filaments],
                "nozzle_diameter": float(nozzle),
                "is_seq_print": False,
                "first_extruder": 0,
                "version": 2,
            }
        ).encode(),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _slice_info(seconds: float, model: str, nozzle: str, filaments: Sequence[Filament], plate: int) -> bytes:
    told = {"index": str(plate), "printer_model_id": model, "nozzle_diameters": nozzle, "prediction": str(round(seconds))}
    rows = [f"<metadata key={quoteattr(key)} value={quoteattr(value)}/>" for key, value in told.items()]
    rows += [
        f'<filament id="{each.number}" tray_info_idx="GFL99" type={quoteattr(each.kind)} color={quoteattr(each.color)} '
        f'used_m="1.00" used_g="3.00"/>'
        for each in filaments
    ]
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<config><plate>{"".join(rows)}</plate></config>'.encode()


def _gcode(seconds: float, layers: int) -> bytes:
    head = f"""; HEADER_BLOCK_START
; BambuStudio 02.00.00.00
; model printing time: {round(seconds)}s; total estimated time: {round(seconds)}s
; total layer number: {layers}
; HEADER_BLOCK_END
; EXECUTABLE_BLOCK_START
M73 P0 R{round(seconds / 60)}
M140 S60
M104 S220
M190 S60
M109 S220
"""
    body = "".join(
        f"M73 L{layer}\nM991 S0 P{layer}\nG1 Z{layer * 0.2:.1f} F600\nG1 X{10 + layer} Y10 E1 F9000\n" for layer in range(layers)
    )
    return f"{head}{body}M104 S0\nM140 S0\n; EXECUTABLE_BLOCK_END\n".encode()
