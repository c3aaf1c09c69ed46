"""What a client asks to be printed, and what the firmware makes of it: where the file lies, which spools it takes, and why not.

The checks are the printer's own and lenient where it is: a field that the firmware ignores is not looked at. What a printer would
let pass and a careful client must not send is told as a complaint.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drivers.virtual.bambu import faults
from drivers.virtual.bambu.ams import NONE, OUTSIDE, Feeder
from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.models import Model
from drivers.virtual.bambu.project import Project, Unreadable, read_project

LARGEST_ID = 2**31 - 1
_URL = re.compile(r"(ftp:///?|file:///mnt/sdcard/|file:///sdcard/|file:///)(.*)")


@dataclass(frozen=True, slots=True)
class Names:
    """How a job is called. The ids are decimal texts."""

    subtask_name: str = ""
    subtask_id: str = "0"
    task_id: str = "0"
    project_id: str = "0"
    profile_id: str = "0"


@dataclass(frozen=True, slots=True)
class Order:
    """A `project_file` as it was understood. `path` is the file's on the card; `mapping` the place for each filament."""

    names: Names
    url: str
    path: str
    member: str
    use_ams: bool
    mapping: tuple[int, ...]


class Turned(Exception):
    """The firmware does not print it: `error` on the screen. `gives_up`: the state becomes FAILED, otherwise it stays."""

    def __init__(self, error: int, *, gives_up: bool) -> None:
        super().__init__(f"{error:08X}")
        self.error, self.gives_up = error, gives_up


def read_order(body: Mapping[str, Any]) -> Order:
    """Never fails: what is missing or of a wrong type is what the firmware takes for nothing."""
    names = Names(*(str(body.get(key, default)) for key, default in _NAMES))
    url = str(body.get("url", ""))
    found = _URL.fullmatch(url)
    mapping = body.get("ams_mapping")
    places = tuple(place for place in mapping if isinstance(place, int)) if isinstance(mapping, list) else ()
    return Order(
        names,
        url,
        "/" + found[2].lstrip("/") if found else "",
        str(body.get("param", "")),
        body.get("use_ams") is True,
        places,
    )


_NAMES = (("subtask_name", ""), ("subtask_id", "0"), ("task_id", "0"), ("project_id", "0"), ("profile_id", "0"))


def complaints_of(body: Mapping[str, Any]) -> list[str]:
    """What is wrong with a start that the printer may well let pass."""
    found = []
    for key in ("subtask_id", "task_id", "project_id", "profile_id"):
        value = body.get(key)
        if not isinstance(value, str) or not value.isdecimal():
            found.append(f"{key} {value!r} is no decimal text")
        elif int(value) > LARGEST_ID:
            found.append(f"{key} {value} is above {LARGEST_ID}")
    flat, pairs = body.get("ams_mapping"), body.get("ams_mapping2")
    if isinstance(flat, list) and isinstance(pairs, list) and len(flat) != len(pairs):
        found.append("ams_mapping and ams_mapping2 differ in length")
    if isinstance(flat, list) and OUTSIDE in flat:
        found.append("ams_mapping names the spool outside by its number")
    return found


def load(order: Order, card: Card, model: Model) -> Project:
    """The plate to be printed. Raises `Turned`; blocks for the reading of the file."""
    if not order.path or (order.url.startswith("file:") and not model.sdcard_word):
        raise Turned(faults.BAD_PATH, gives_up=False)
    if order.url.startswith("ftp:") and order.path.count("/") > 1 and not model.sub_folders:
        raise Turned(faults.STORAGE_EXCEPTION, gives_up=False)
    if not card.readable or card.size(order.path) is None:
        raise Turned(faults.STORAGE_EXCEPTION, gives_up=False)
    try:
        project = read_project(card.file(order.path), order.member)
    except Unreadable:
        raise Turned(faults.CANNOT_PARSE, gives_up=True) from None
    except OSError:
        raise Turned(faults.STORAGE_EXCEPTION, gives_up=False) from None
    if project.model and project.model != model.code:
        raise Turned(faults.WRONG_MODEL, gives_up=True)
    return project


def places_of(order: Order, project: Project, feeder: Feeder) -> tuple[int, ...] | None:
    """Where each filament of the plate comes from; None when the mapping names a place that cannot feed. A list of `NONE` alone
    means no feeder at all: then it is the spool outside."""
    if not order.use_ams:
        return tuple(OUTSIDE for _ in project.filaments)
    places = []
    for filament in project.filaments:
        place = order.mapping[filament.number - 1] if filament.number <= len(order.mapping) else NONE
        if place == OUTSIDE or feeder.loaded(place) is None:
            return None
        places.append(place)
    return tuple(places)
