"""The picture of a printer, put together from its reports.

A difference never repeats what did not change, so every report is merged into the one before, all levels down. Fields nobody here
knows are kept like the others. Merged in place: a farm of a thousand printers does this a thousand times a second.
"""

from typing import Any

_BY_ID = ("ams", "tray", "vir_slot")
"""Lists whose elements carry an `id`; a difference may hold some of them only."""
_MOST = 64
"""Elements such a list may have: a printer has four AMS with four trays each, and a little more."""


_DEEPEST = 20
_OBJECTS = frozenset({"ams", "vt_tray", "device", "net"})
"""Fields that hold an object. Anything else in them is damage, after which the trays must not look as if they were gone."""


def merge(picture: dict[str, Any], news: dict[str, Any], *, full: bool = False, depth: int = 0) -> None:
    """Take `news` into `picture`, which afterwards owns it. `full`: the news are everything there is, so lists are replaced."""
    for key, value in news.items():
        kind = type(value)
        if kind is dict:
            old = picture.get(key)
            if type(old) is dict and depth < _DEEPEST:
                merge(old, value, full=full, depth=depth + 1)
                continue
        elif kind is list:
            old = picture.get(key)
            if type(old) is list and old and not full and key in _BY_ID:
                picture[key] = _by_id(old, value, depth)
                continue
            if type(old) is dict:
                continue
        elif key in _OBJECTS:
            continue
        picture[key] = value


def _by_id(old: list[Any], news: list[Any], depth: int) -> list[Any]:
    """An element that has no more than its id and its state is a place that was emptied: it replaces what was known of it."""
    kept = {_id(element): element for element in old[:_MOST] if type(element) is dict}
    for element in news[:_MOST]:
        if type(element) is not dict:
            continue
        known = kept.get(_id(element))
        if known is None or not element.keys() - {"id", "state"}:
            kept[_id(element)] = element
        else:
            merge(known, element, depth=depth + 1)
    return list(kept.values())


def _id(element: dict[str, Any]) -> str:
    told = element.get("id")
    return str(told) if type(told) is str or type(told) is int else ""
