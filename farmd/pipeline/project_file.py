"""A sliced plate as a Bambu Lab machine takes it: a `.gcode.3mf`, a zip of G-code, its checksum, descriptions and pictures.

Written from what is known of the format, of which the vendor tells little: what must be there so that the firmware takes the file,
and what the machine and its driver read before a start (model, nozzle, filament). Geometry is not in it. Equal inputs, equal bytes.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import orjson

from farmd.domain.machines import Machine
from farmd.domain.model import Size
from farmd.domain.slicing import Extent, Placement
from farmd.pipeline.project_gcode import Promise, count_layers, project_gcode
from farmd.pipeline.project_pictures import Box, colour_of, pick_picture, plate_picture

SUFFIX = ".gcode.3mf"
GCODE = "Metadata/plate_1.gcode"
CHECKSUM = "Metadata/plate_1.gcode.md5"
SLICE_INFO = "Metadata/slice_info.config"
PLACES = 5
"""What stands once for each filament is repeated for as many places as a machine with one feeder has."""
GENERIC_FILAMENTS = {"PLA": "GFL99", "PETG": "GFG99", "ABS": "GFB99", "ASA": "GFB98", "TPU": "GFU99"}
"""The vendor's names for filament of no brand."""

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_BAMBU = "http://schemas.bambulab.com/package/2021"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True)
class Project:
    """A plate of one part and one filament, on one model of machine. Lengths in mm."""

    machine: Machine
    nozzle: float
    bed: Size
    size: Size
    placements: tuple[Placement, ...]
    material: str
    color: str
    promise: Promise
    extent: Extent
    settings: Mapping[str, str]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The footprint of each copy."""
        return tuple(_box(self.size, spot) for spot in self.placements)


def write_project(path: Path, gcode: Path, project: Project) -> None:
    """Write the project file of a sliced plate. Raises OSError."""
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=6) as archive:
        digest = hashlib.md5(usedforsecurity=False)
        with archive.open(_entry(GCODE), "w") as stream:
            for piece in project_gcode(gcode, count_layers(gcode), project.promise, project.settings):
                digest.update(piece)
                stream.write(piece)
        archive.writestr(_entry(CHECKSUM), digest.hexdigest().upper())
        for name, content in _descriptions(project):
            archive.writestr(_entry(name), content)
        for name, content in _pictures(project):
            archive.writestr(_entry(name), content)


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, _ZIP_EPOCH)
    entry.compress_type = ZIP_DEFLATED
    return entry


def _descriptions(project: Project) -> Iterator[tuple[str, str | bytes]]:
    yield "[Content_Types].xml", _CONTENT_TYPES
    yield "_rels/.rels", _RELATIONS
    yield "3D/3dmodel.model", _MODEL
    yield "Metadata/_rels/model_settings.config.rels", _GCODE_RELATION
    yield "Metadata/model_settings.config", _MODEL_SETTINGS
    yield SLICE_INFO, _slice_info(project)
    yield "Metadata/plate_1.json", orjson.dumps(_plate(project), option=orjson.OPT_SORT_KEYS)
    yield "Metadata/project_settings.config", orjson.dumps(_settings(project), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2)


def _pictures(project: Project) -> Iterator[tuple[str, bytes]]:
    colour = colour_of(project.color)
    for name, side in (("plate_1", 512), ("plate_no_light_1", 512), ("plate_1_small", 128), ("top_1", 512)):
        yield f"Metadata/{name}.png", plate_picture(side, project.bed, project.boxes, colour)
    yield "Metadata/pick_1.png", pick_picture(512, project.bed, project.boxes)


def _slice_info(project: Project) -> str:
    """What a machine checks before it prints: for which model, which nozzle and which filament this is."""
    figures = {
        "index": 1,
        "printer_model_id": project.machine.code,
        "nozzle_diameters": f"{project.nozzle:g}",
        "prediction": project.promise.seconds,
        "weight": f"{project.promise.filament_grams:.2f}",
        "outside": "false",
        "support_used": "false",
        "label_object_enabled": "false",
        "filament_maps": " ".join(["1"] * PLACES),
    }
    filament = {
        "id": 1,
        "tray_info_idx": GENERIC_FILAMENTS.get(project.material.upper(), ""),
        "type": project.material,
        "color": project.color.upper(),
        "used_m": f"{project.promise.filament_mm / 1000:.2f}",
        "used_g": f"{project.promise.filament_grams:.2f}",
    }
    lines = [f'    <metadata key="{key}" value={quoteattr(str(value))}/>' for key, value in figures.items()]
    lines += [
        f'    <object identify_id="{number}" name="part {number}" skipped="false"/>' for number in range(1, len(project.boxes) + 1)
    ]
    lines.append("    <filament " + " ".join(f"{key}={quoteattr(str(value))}" for key, value in filament.items()) + "/>")
    header = '  <header>\n    <header_item key="X-BBL-Client-Type" value="slicer"/>\n  </header>\n'
    return f"{_XML}<config>\n{header}  <plate>\n" + "\n".join(lines) + "\n  </plate>\n</config>\n"


def _plate(project: Project) -> dict[str, object]:
    laid = project.extent
    return {
        "version": 2,
        "bed_type": "textured_plate",
        "bbox_all": [laid.min_x, laid.min_y, laid.max_x, laid.max_y],
        "bbox_objects": [
            {"id": number, "name": f"part {number}", "bbox": list(box), "layer_height": _layer(project)}
            for number, box in enumerate(project.boxes, 1)
        ],
        "filament_colors": [project.color.upper()],
        "filament_ids": [0],  # the first filament of the project: what a start maps to a slot
        "first_extruder": 0,
        "is_seq_print": False,
        "nozzle_diameter": project.nozzle,
    }


def _settings(project: Project) -> dict[str, object]:
    """The part of the settings that screens and programs show; the printer itself goes by the G-code."""
    given, nozzle = project.settings, f"{project.nozzle:g}"
    each = {
        "filament_type": project.material,
        "filament_colour": project.color.upper(),
        "filament_ids": GENERIC_FILAMENTS.get(project.material.upper(), ""),
        "filament_settings_id": f"Generic {project.material}",
        "filament_diameter": given.get("filament_diameter", ""),
        "filament_density": given.get("filament_density", ""),
        "nozzle_temperature": given.get("temperature", ""),
        "nozzle_temperature_initial_layer": given.get("first_layer_temperature", ""),
        "hot_plate_temp": given.get("bed_temperature", ""),
        "hot_plate_temp_initial_layer": given.get("first_layer_bed_temperature", ""),
        "textured_plate_temp": given.get("bed_temperature", ""),
        "textured_plate_temp_initial_layer": given.get("first_layer_bed_temperature", ""),
    }
    return {
        "from": "project",
        "name": "project_settings",
        "printer_model": project.machine.title,
        "printer_settings_id": f"{project.machine.title} {nozzle} nozzle",
        "print_compatible_printers": [f"{project.machine.title} {nozzle} nozzle"],
        "nozzle_diameter": [nozzle],
        "layer_height": f"{_layer(project):g}",
        "curr_bed_type": "Textured PEI Plate",
        **{key: [value] * PLACES for key, value in each.items()},
    }


def _layer(project: Project) -> float:
    return float(project.settings["layer_height"])


def _box(size: Size, spot: Placement) -> Box:
    wide, deep = (size.y, size.x) if spot.rotation_deg == 90 else (size.x, size.y)
    return spot.x, spot.y, round(spot.x + wide, 3), round(spot.y + deep, 3)


_CONTENT_TYPES = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>'
    '<Default Extension="png" ContentType="image/png"/>'
    '<Default Extension="gcode" ContentType="text/x.gcode"/></Types>\n'
)
_RELATIONS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    '<Relationship Id="model" Target="/3D/3dmodel.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>'
    f'<Relationship Id="picture" Target="/Metadata/plate_1.png" Type="{_PACKAGE}/relationships/metadata/thumbnail"/>'
    f'<Relationship Id="cover" Target="/Metadata/plate_1.png" Type="{_BAMBU}/cover-thumbnail-middle"/>'
    f'<Relationship Id="small" Target="/Metadata/plate_1_small.png" Type="{_BAMBU}/cover-thumbnail-small"/>'
    "</Relationships>\n"
)
_GCODE_RELATION = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="gcode" Target="/{GCODE}" Type="{_BAMBU}/gcode"/></Relationships>\n'
)
_MODEL = (
    f'{_XML}<model unit="millimeter" xml:lang="en-US" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02" '
    f'xmlns:BambuStudio="{_BAMBU}"><metadata name="Application">farmd</metadata>'
    '<metadata name="BambuStudio:3mfVersion">1</metadata><resources/><build/></model>\n'
)
_MODEL_SETTINGS = (
    f"{_XML}<config>\n  <plate>\n"
    + "".join(
        f'    <metadata key="{key}" value="{value}"/>\n'
        for key, value in {
            "plater_id": "1",
            "plater_name": "",
            "locked": "false",
            "filament_map_mode": "Auto For Flush",
            "filament_maps": " ".join(["1"] * PLACES),
            "gcode_file": GCODE,
            "thumbnail_file": "Metadata/plate_1.png",
            "thumbnail_no_light_file": "Metadata/plate_no_light_1.png",
            "top_file": "Metadata/top_1.png",
            "pick_file": "Metadata/pick_1.png",
            "pattern_bbox_file": "Metadata/plate_1.json",
        }.items()
    )
    + "  </plate>\n</config>\n"
)
