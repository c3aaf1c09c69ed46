"""Turns one (printer, print, filament) triple of a vendor's PrusaSlicer bundle into a flat profile.

Vendors publish presets that inherit from each other; the command line wants one flat file with every key.
Values are copied verbatim (start G-code keeps its macros). `compatible_printers_condition` is an expression only
PrusaSlicer can evaluate, so this room never guesses triples: a person names them, once, at import.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

KINDS = ("print", "filament", "printer")
META_KEY = re.compile(r"inherits|compatible_.*|alias|renamed_from|default_.*_profile")
# default_acceleration is a print setting in spite of its name; these two are the meta keys that look like it.

Preset = dict[str, str]
Presets = dict[tuple[str, str], Preset]


class BundleError(ValueError):
    """The bundle cannot give this triple; the message names the preset and the nearest known name."""


def resolve_bundle(bundle: Path, printer: str, print_: str, filament: str) -> str:
    """The flat profile text of one triple of presets.

    Raises BundleError when a preset is unknown or inherits in a circle, OSError when the bundle cannot be read.
    """
    presets = _parse(bundle.read_text(encoding="utf-8"))
    flat: Preset = {}
    for kind, name in zip(KINDS, (print_, filament, printer), strict=True):
        flat |= _resolve(presets, kind, name, ())
        flat[f"{kind}_settings_id"] = name
    kept = {key: value for key, value in flat.items() if not META_KEY.fullmatch(key)}
    return "".join(f"{key} = {value}\n" for key, value in sorted(kept.items()))


def _parse(text: str) -> Presets:
    """Sections by (kind, name). configparser is no help: values hold `%`, `;` and `[...]` of their own."""
    presets: Presets = {}
    current: Preset = {}
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(\w+):(.+)\]", line.strip()):
            current = presets.setdefault((header[1], header[2].strip()), {})
        elif line.startswith("["):
            current = {}
        elif "=" in line and not line.lstrip().startswith(("#", ";")):
            key, _, value = line.partition("=")
            current[key.strip()] = value.strip()
    return presets


def _resolve(presets: Presets, kind: str, name: str, heirs: tuple[str, ...]) -> Preset:
    """One preset over its parents, left to right: later parents win over earlier ones, own keys over all."""
    if name in heirs:
        raise BundleError(f"{kind} preset {name!r} inherits from itself: {' <- '.join((*heirs, name))}")
    own = presets.get((kind, name))
    if own is None:
        raise BundleError(f"no {kind} preset {name!r} in the bundle{_nearest(presets, kind, name)}")
    resolved: Preset = {}
    for parent in _parents(own):
        resolved |= _resolve(presets, kind, parent, (*heirs, name))
    return resolved | own


def _parents(preset: Preset) -> Iterator[str]:
    return (name.strip() for name in preset.get("inherits", "").split(";") if name.strip())


def _nearest(presets: Presets, kind: str, name: str) -> str:
    known = [known for found, known in presets if found == kind and not known.startswith("*")]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
