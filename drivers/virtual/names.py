"""How OctoPrint turns the name it was given into the name it keeps.

A client must use the path of the answer, never the one it asked for; this module is why. No name may lead outside the
storage.
"""

import re

_DROPPED = re.compile(r'[;|&?$*<>:"\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[1-9]|lpt[1-9])")
MACHINE_CODE = frozenset({"gcode", "gco", "g"})


def clean_name(name: str) -> str:
    """One path element as it is stored. Raises `ValueError` when it holds a separator or nothing is left of it."""
    if "/" in name or "\\" in name:
        raise ValueError("name must not contain / or \\")
    cleaned = _DROPPED.sub("", name).rstrip(" .").lstrip(".")
    stem, dot, extension = cleaned.partition(".")
    if _RESERVED.fullmatch(stem):
        cleaned = f"{stem}_{dot}{extension}"
    if not cleaned:
        raise ValueError("nothing is left of the name")
    return cleaned


def clean_path(path: str) -> str:
    """A folder inside the storage, "" for its root. Raises `ValueError` when it leads outside."""
    elements: list[str] = []
    for element in path.strip("/").split("/"):
        if element == "..":
            if not elements:
                raise ValueError("path not contained in base folder")
            elements.pop()
        elif element not in ("", "."):
            elements.append(clean_name(element.strip()))
    return "/".join(elements)


def split(path: str) -> tuple[str, str]:
    """(folder, name); the folder is "" at the root."""
    folder, _, name = path.rpartition("/")
    return folder, name


def is_machine_code(name: str) -> bool:
    return name.rpartition(".")[2].lower() in MACHINE_CODE
