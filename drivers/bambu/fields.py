"""The fields of a printer's picture, each as the value it stands for.

Every field may be missing, of another type or out of range: then it is None, or what was known before. Nothing is concluded here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivers.contract import Temperature

Picture = Mapping[str, Any]

REST = frozenset({"IDLE", "FINISH", "FAILED"})
PREPARING = frozenset({"PREPARE", "SLICING"})
ACTIVE = PREPARING | {"RUNNING", "PAUSE"}
STATES = REST | ACTIVE
"""Other words (`INIT`, `OFFLINE`, an empty one) tell nothing: what was known before stands."""

_SIGNED = 0x20000000
_CARD = {0: "there is no storage card in it", 2: "its storage card is damaged", 3: "its storage card is full or cannot be written"}
_ANYTHING = frozenset({"gcode_state", "nozzle_temper", "bed_temper", "mc_percent"})


@dataclass(frozen=True, slots=True)
class Identity:
    """How a printer names the print at hand, or the one before."""

    subtask_id: str
    subtask_name: str
    file: str

    @property
    def empty(self) -> bool:
        return self.subtask_id in ("", "0") and not self.subtask_name and not self.file

    def renamed(self, before: "Identity") -> bool:
        """Whether it names another print than before; names that merely went away do not."""
        pairs = ((self.subtask_id, before.subtask_id), (self.subtask_name, before.subtask_name), (self.file, before.file))
        return any(now not in ("", "0", old) for now, old in pairs)


def identity_of(picture: Picture) -> Identity:
    """The three names; an id that came as a number is taken as well."""
    return Identity(_word(picture.get("subtask_id")), _word(picture.get("subtask_name")), _word(picture.get("gcode_file")))


def looks_full(picture: Picture) -> bool:
    """Whether a report of firmware that does not mark its full ones is one."""
    return picture.keys() >= _ANYTHING


def temperatures_of(picture: Picture, *, chamber: bool) -> dict[str, Temperature]:
    """Degrees Celsius by heater. Some firmware packs two numbers into one: target in the upper half, actual in the lower."""
    found = {}
    names = (("tool0", "nozzle_temper", "nozzle_target_temper"), ("bed", "bed_temper", "bed_target_temper"))
    for name, actual, target in (*names, ("chamber", "chamber_temper", "chamber_target_temper")) if chamber else names:
        heat, goal = picture.get(actual), picture.get(target)
        if type(heat) is int and heat > 500:
            heat, goal = heat & 0xFFFF, heat >> 16
        if (now := _degrees(heat)) is not None:
            found[name] = Temperature(now, _degrees(goal) or 0.0)
    return found


def percent_of(picture: Picture) -> int | None:
    return whole(picture.get("mc_percent"), 100)


def layer_of(picture: Picture) -> int | None:
    return whole(picture.get("layer_num"), 1_000_000)


def minutes_left(picture: Picture) -> int | None:
    return whole(picture.get("mc_remaining_time"), 1_000_000)


def nozzle_of(picture: Picture) -> float | None:
    """The nozzle's diameter in mm."""
    told = picture.get("nozzle_diameter")
    if told is None:
        device = picture.get("device")
        nozzle = device.get("nozzle") if isinstance(device, dict) else None
        listed = nozzle.get("info") if isinstance(nozzle, dict) else None
        first = listed[0] if isinstance(listed, list) and listed else None
        told = first.get("diameter") if isinstance(first, dict) else None
    try:
        size = float(told) if isinstance(told, str | int | float) and not isinstance(told, bool) else 0.0
    except ValueError:
        return None
    return size if 0.05 <= size <= 3 else None


def card_trouble(picture: Picture) -> str | None:
    """What is wrong with the storage card, read from a full report: others clear these bits with a card in."""
    present = picture.get("sdcard")
    flags = picture.get("home_flag")
    if type(flags) is int:
        card = flags >> 8 & 3
    elif (aux := hexadecimal(picture.get("aux"))) is not None:
        card = aux >> 12 & 3
    else:
        return _CARD[0] if present is False else None
    return None if card == 0 and present is not False else _CARD.get(card)


def is_locked(picture: Picture) -> bool | None:
    """Whether commands must be signed (Developer Mode is off); None where the firmware does not tell."""
    fun = hexadecimal(picture.get("fun"))
    return None if fun is None else bool(fun & _SIGNED)


def hexadecimal(value: object) -> int | None:
    try:
        return int(value, 16) if isinstance(value, str) and 0 < len(value) <= 32 else None
    except ValueError:
        return None


def whole(value: object, most: int) -> int | None:
    """A whole number from 0 to `most`; some firmware writes numbers as text."""
    if type(value) is float and value.is_integer():
        value = int(value)
    elif type(value) is str and value.isascii() and value.isdigit() and len(value) < 12:
        return whole(int(value), most)
    return value if type(value) is int and 0 <= value <= most else None


def _degrees(value: object) -> float | None:
    if type(value) is not float and type(value) is not int:
        return None
    return float(value) if -300 < value < 1000 else None


def _word(value: object) -> str:
    if type(value) is str:
        return value.strip()[:300]
    return str(value) if type(value) is int else ""
