"""Which filament lies where: the trays of the filament changers (AMS) and the external spool, as the farm's `Spool`s.

`slot` words: `ams-<unit>-<tray>` and `external`. The start command wants the same place as numbers, at the position the filament
has in the file's own list: a wrong position prints from a wrong tray without any error, so nothing is guessed here.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from drivers.contract import Spool

EXTERNAL = "external"
NOWHERE = 255
_EXTERNAL_NOW = "254"
_SLOT = re.compile(r"ams-(\d{1,3})-(\d)")
_COLOR = re.compile(r"[0-9A-Fa-f]{8}")
TRAY_KEYS = ("ams", "vt_tray", "vir_slot")
"""The fields that are read here."""
_SINGLE = 128
"""From this id on a unit holds one tray, and its id is the tray's number."""


@dataclass(frozen=True, slots=True)
class Mapping2:
    """Where the printer takes the filament from, in the words of its start command."""

    use_ams: bool
    flat: tuple[int, ...]
    places: tuple[tuple[int, int], ...]  # (ams_id, slot_id)


def spools_of(picture: Mapping[str, Any]) -> tuple[Spool, ...] | None:
    """What the machine can print from; None when it does not tell.

    Without a changer only a spool somebody described at the machine counts; with one, the external spool only while it feeds the
    nozzle: its description stays when it is taken away.
    """
    ams, units = _changers(picture)
    outside = _external(picture)
    if not units:
        return (outside,) if outside is not None and outside.material is not None else None
    found = list(_of_changers(units, ams))
    if outside is not None and str(ams.get("tray_now")) == _EXTERNAL_NOW:
        found.append(outside)
    return tuple(found)


def has_changer(picture: Mapping[str, Any]) -> bool:
    """Whether a filament changer is connected."""
    return bool(_changers(picture)[1])


def _changers(picture: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """The `ams` of a picture and those of its units that are connected."""
    ams = picture.get("ams")
    if not isinstance(ams, dict):
        return {}, []
    listed, exist = ams.get("ams"), _bits(ams.get("ams_exist_bits"))
    units = [unit for unit in listed if isinstance(unit, dict)] if isinstance(listed, list) else []
    return ams, [
        unit for unit in units if exist is None or (number := _whole(unit.get("id"))) is None or number >= 4 or exist >> number & 1
    ]


def feeding(picture: Mapping[str, Any]) -> str | None:
    """The slot whose filament is in the nozzle; None when none is, or it is not told."""
    ams = picture.get("ams")
    number = _whole(ams.get("tray_now")) if isinstance(ams, dict) else None
    if number is None or number == NOWHERE:
        return None
    if number == int(_EXTERNAL_NOW):
        return EXTERNAL
    return f"ams-{number}-0" if number >= _SINGLE else f"ams-{number // 4}-{number % 4}"


def awaited(picture: Mapping[str, Any]) -> str | None:
    """The slot a print that ran out of filament waits for."""
    ams = picture.get("ams")
    target = ams.get("tray_tar") if isinstance(ams, dict) else None
    return feeding({"ams": {"tray_now": target}})


def mapping_for(slot: str | None, filaments: int, position: int) -> Mapping2:
    """The start's words for printing a file of `filaments` whose only used one stands at `position` (0-based) from `slot`; None is
    the one place a machine without a changer has. Raises `ValueError` for a slot that is no word of ours."""
    if slot is None or slot == EXTERNAL:
        places = tuple((NOWHERE, 0) if at == position else (NOWHERE, NOWHERE) for at in range(filaments))
        return Mapping2(use_ams=False, flat=(-1,) * filaments, places=places)
    found = _SLOT.fullmatch(slot)
    if found is None:
        raise ValueError(f"{slot!r} is no place of a Bambu printer")
    unit, tray = int(found[1]), int(found[2])
    number = unit if unit >= _SINGLE else unit * 4 + tray
    return Mapping2(
        use_ams=True,
        flat=tuple(number if at == position else -1 for at in range(filaments)),
        places=tuple((unit, tray) if at == position else (NOWHERE, NOWHERE) for at in range(filaments)),
    )


def _of_changers(units: Iterable[dict[str, Any]], ams: Mapping[str, Any]) -> Iterable[Spool]:
    exist = _bits(ams.get("tray_exist_bits"))
    for unit in units:
        number, trays = _whole(unit.get("id")), unit.get("tray")
        if number is None or not isinstance(trays, list):
            continue
        for tray in trays[:4]:
            place = _whole(tray.get("id")) if isinstance(tray, dict) else None
            if place is None or not tray.keys() - {"id", "state"}:
                continue
            if exist is not None and number < _SINGLE and not exist >> (number * 4 + place) & 1:
                continue
            yield _spool(f"ams-{number}-{place}", tray)


def _external(picture: Mapping[str, Any]) -> Spool | None:
    tray = picture.get("vt_tray")
    if not isinstance(tray, dict):
        listed = picture.get("vir_slot")
        every = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        tray = next((each for each in every if str(each.get("id")) == _EXTERNAL_NOW), None)
    return _spool(EXTERNAL, tray) if tray is not None else None


def _spool(slot: str, tray: Mapping[str, Any]) -> Spool:
    material, color = tray.get("tray_type"), tray.get("tray_color")
    known = isinstance(color, str) and _COLOR.fullmatch(color) and color != "00000000"
    return Spool(
        slot,
        material.strip().upper() if isinstance(material, str) and material.strip() else None,
        f"#{str(color)[:6].lower()}" if known else None,
        _remaining(tray),
    )


def _remaining(tray: Mapping[str, Any]) -> float | None:
    """Only a spool with a radio tag is measured; the others say 0 or -1."""
    left, tag = tray.get("remain"), tray.get("tray_uuid")
    tagged = isinstance(tag, str) and tag.strip("0") != ""
    return left / 100 if tagged and isinstance(left, int) and not isinstance(left, bool) and 0 <= left <= 100 else None


def _bits(value: object) -> int | None:
    try:
        return int(value, 16) if isinstance(value, str) and len(value) <= 16 else None
    except ValueError:
        return None


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31 else None
