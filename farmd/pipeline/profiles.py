"""From an order's words (standard, 20 %, PETG) and a printer class to the one flat set of slicer settings.

Profiles are data in a directory handed in: one flat `.ini` per kind of machine, `qualities.toml`, `materials.toml`.
Everything is checked when the directory is loaded, so a typing error stops farmd at its start and never a customer's
print. Nothing here may let a setting through that runs a program or breaks what the G-code gate relies on.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from farmd.domain.machines import MACHINES, Machine, machine_named
from farmd.domain.slicing import PrinterClass, SliceOptions, SliceRejected

T = TypeVar("T")
Settings = dict[str, str]

# What the gate and the layout rely on; an absent key counts as PrusaSlicer's own default.
PRESCRIBED = {
    "post_process": ("", "", "nothing may run after slicing"),
    "gcode_label_objects": ("1", "0", "copies on a plate are counted by their labels"),
    "complete_objects": ("0", "0", "parts of a plate stand too close to be printed one after another"),
    "spiral_vase": ("0", "0", "the printed volume is compared with the model's"),
    "raft_layers": ("0", "0", "the printed height is compared with the model's"),
    "printer_technology": ("FFF", "FFF", "farmd drives filament printers"),
}
REQUIRED = ("start_gcode", "end_gcode", "nozzle_diameter", "filament_diameter", "fill_pattern", "layer_height")
MATERIAL_KEYS = ("temperature", "first_layer_temperature", "bed_temperature", "first_layer_bed_temperature")
MADE_FOR = "farmd_machine"  # farmd's own key: models whose machines take nothing but files made for them, with commas between
NO_FILAMENT_COMMANDS = '";"'  # an empty value makes PrusaSlicer 2.5 read past the end of its own list


class ProfileError(ValueError):
    """A profile directory that cannot be used; the message names the file, the key and the cure."""


@dataclass(frozen=True, slots=True)
class Quality:
    layer_to_nozzle: float
    settings: Settings


@dataclass(frozen=True, slots=True)
class Material:
    nozzle_max_c: float
    bed_max_c: float
    settings: Settings


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything the slicer is told about one plate, and the caps its G-code is held to."""

    settings: Settings
    material: Material

    def number(self, key: str, default: float = 0.0) -> float:
        """A setting as a number, in the slicer's own unit."""
        return float(self.settings.get(key, default))

    def ini(self) -> str:
        """The flat profile, one key a line, sorted: equal recipes are equal text."""
        return "".join(f"{key} = {value}\n" for key, value in sorted(self.settings.items()))


@dataclass(frozen=True, slots=True)
class Profiles:
    """A checked directory. `models`: the profiles that make files for some models of machines alone, and for which."""

    machines: Mapping[str, Settings]
    qualities: Mapping[str, Quality]
    materials: Mapping[str, Material]
    models: Mapping[str, tuple[Machine, ...]]

    def profile_for(self, machine: Machine, nozzle: float) -> str | None:
        """The first profile that makes files for this model with this nozzle (mm)."""
        fitting = (name for name, models in self.models.items() if machine in models and self._has_nozzle(name, nozzle))
        return min(fitting, default=None)

    def _has_nozzle(self, profile: str, nozzle: float) -> bool:
        return math.isclose(float(self.machines[profile]["nozzle_diameter"]), nozzle, abs_tol=1e-6)

    def recipe(self, options: SliceOptions, cls: PrinterClass) -> Recipe:
        """The settings for `options` on `cls`. Raises SliceRejected when a name is unknown, or nozzle or model is another."""
        machine = _pick(self.machines, cls.profile, "profile")
        quality = _pick(self.qualities, options.quality, "quality")
        material = _pick(self.materials, options.material, "material")
        made, takes = self.models.get(cls.profile, (None,)), cls.made_for
        if takes not in made:
            raise SliceRejected(
                "machine_mismatch",
                f"profile {cls.profile} makes {_files(*made)}, the printer takes {_files(takes)}",
                "Give the printer a profile for its model.",
            )
        if not self._has_nozzle(cls.profile, cls.nozzle):
            raise SliceRejected(
                "nozzle_mismatch",
                f"profile {cls.profile} is made for a {machine['nozzle_diameter']} mm nozzle, the printer has {cls.nozzle:g} mm",
                "Give the printer a profile for its nozzle, or correct `nozzle` in its configuration.",
            )
        settings = machine | quality.settings | material.settings | _machine_limits(cls)
        settings["layer_height"] = f"{round(quality.layer_to_nozzle * cls.nozzle, 3):g}"
        settings |= _infill(options.infill) | _colour(options.color)
        if material.settings["filament_type"] != machine.get("filament_type"):
            # Pressure advance is tuned to one material; none at all is right enough for every other.
            settings["start_filament_gcode"] = NO_FILAMENT_COMMANDS
        return Recipe(settings, material)


def load_profiles(directory: Path) -> Profiles:
    """Read and check a whole profile directory. Raises ProfileError."""
    machines = {path.stem: _machine(path) for path in sorted(directory.glob("*.ini"))}
    models = {name: _models(directory / f"{name}.ini", settings) for name, settings in machines.items() if MADE_FOR in settings}
    if not machines:
        raise ProfileError(f"{directory}: no .ini profile here; farmd's own are in config/profiles")
    qualities = {name: _quality(where, table) for name, where, table in _tables(directory / "qualities.toml")}
    materials = {name: _material(where, table) for name, where, table in _tables(directory / "materials.toml")}
    _check_keys(directory, machines, qualities, materials)
    return Profiles(machines, qualities, materials, models)


def _files(*machines: Machine | None) -> str:
    return " or ".join(f"files for a {machine.title}" if machine else "plain G-code" for machine in machines)


def _models(path: Path, settings: Settings) -> tuple[Machine, ...]:
    """Take out the key that is not the slicer's."""
    found = []
    for name in settings.pop(MADE_FOR).split(","):
        machine = machine_named(name)
        if machine is None:
            raise ProfileError(f"{path}: {MADE_FOR} {name.strip()!r} is not known; known are {', '.join(sorted(MACHINES))}")
        found.append(machine)
    return tuple(found)


def _check_keys(
    directory: Path, machines: dict[str, Settings], qualities: dict[str, Quality], materials: dict[str, Material]
) -> None:
    """PrusaSlicer passes over a key it does not know, and the order would be printed with something else."""
    known = {key for settings in machines.values() for key in settings}
    laid_over = [("qualities.toml", name, quality.settings) for name, quality in qualities.items()]
    laid_over += [("materials.toml", name, material.settings) for name, material in materials.items()]
    for file, name, settings in laid_over:
        for key in sorted(settings.keys() - known):
            near = difflib.get_close_matches(key, known, n=1)
            cure = f"did you mean {near[0]}?" if near else "add it there first"
            raise ProfileError(f"{directory / file}: [{name}.settings] {key} is in no .ini profile; {cure}")


def _pick(known: Mapping[str, T], name: str, kind: str) -> T:
    try:
        return known[name]
    except KeyError:
        names = ", ".join(sorted(known))
        raise SliceRejected(f"unknown_{kind}", f"there is no {kind} {name!r}", f"Choose one of: {names}.") from None


def _machine_limits(cls: PrinterClass) -> Settings:
    x, y = f"{cls.bed.x:g}", f"{cls.bed.y:g}"
    return {"bed_shape": f"0x0,{x}x0,{x}x{y},0x{y}", "max_print_height": f"{cls.bed.z:g}"}


def _infill(percent: int) -> Settings:
    settings = {"fill_density": f"{percent}%"}
    if percent == 100:
        # Open patterns such as gyroid are refused at full density.
        settings["fill_pattern"] = "rectilinear"
    return settings


def _colour(color: str) -> Settings:
    plain = color.removeprefix("#")
    is_hex = len(plain) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in plain)
    return {"extruder_colour": f"#{plain.upper()}"} if is_hex else {}


def _machine(path: Path) -> Settings:
    settings: Settings = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith(("#", ";")):
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip().isidentifier():
            raise ProfileError(f"{path}:{number}: expected `key = value`, found {line[:60]!r}")
        settings[key.strip()] = value.strip()
    for key in REQUIRED:
        if not settings.get(key):
            raise ProfileError(f"{path}: {key} is missing; resolve the profile from a full vendor preset")
    for key, (wanted, default, why) in PRESCRIBED.items():
        if settings.get(key, default) != wanted:
            raise ProfileError(f"{path}: {key} must be {wanted or 'empty'}: {why}")
    return settings


def _tables(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProfileError(f"{path} is missing; copy it from farmd's config/profiles") from None
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{path}: {error}") from error
    if not content:
        raise ProfileError(f"{path}: at least one entry is needed")
    for name, table in content.items():
        if not isinstance(table, dict):
            raise ProfileError(f"{path}: {name} must be a table, [{name}]")
    return [(name, f"{path}: [{name}]", table) for name, table in content.items()]


def _quality(where: str, table: dict[str, Any]) -> Quality:
    _only(where, table, {"layer_to_nozzle", "settings"})
    return Quality(_figure(where, table, "layer_to_nozzle", 0.1, 0.8), _settings(where, table))


def _material(where: str, table: dict[str, Any]) -> Material:
    _only(where, table, {"nozzle_max_c", "bed_max_c", "settings"})
    material = Material(
        _figure(where, table, "nozzle_max_c", 150, 320),
        _figure(where, table, "bed_max_c", 0, 130),
        _settings(where, table),
    )
    if not material.settings.get("filament_type"):
        raise ProfileError(f'{where}: settings.filament_type is missing, for example "PLA"')
    _figure(where, material.settings, "filament_density", 0.5, 10)
    for key in MATERIAL_KEYS:
        cap = material.bed_max_c if "bed" in key else material.nozzle_max_c
        _figure(where, material.settings, key, 0, cap)
    return material


def _settings(where: str, table: dict[str, Any]) -> Settings:
    raw = table.get("settings", {})
    if not isinstance(raw, dict):
        raise ProfileError(f"{where}: settings must be a table of PrusaSlicer keys")
    for key, value in raw.items():
        if key in PRESCRIBED:
            raise ProfileError(f"{where}: {key} cannot be set here: {PRESCRIBED[key][2]}")
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "\n" in str(value):
            raise ProfileError(f"{where}: {key} must be one line of text or a number, not {value!r}")
    return {key: str(value) for key, value in raw.items()}


def _only(where: str, table: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(table.keys() - known):
        raise ProfileError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _figure(where: str, table: Mapping[str, Any], key: str, low: float, high: float) -> float:
    try:
        value = float(table[key])
    except KeyError:
        raise ProfileError(f"{where}: {key} is missing") from None
    except (TypeError, ValueError):
        raise ProfileError(f"{where}: {key} must be a number, not {table[key]!r}") from None
    if not low <= value <= high:
        raise ProfileError(f"{where}: {key} is {value:g}, must be {low:g} to {high:g}")
    return value
