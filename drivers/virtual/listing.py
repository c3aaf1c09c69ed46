"""Files and folders as OctoPrint's API shows them.

Pure shaping of what the store knows. A key that has no value yet is absent, not null: clients must cope, so this must
not be kinder.
"""

from typing import Any
from urllib.parse import quote

from drivers.virtual.files import FileStore, StoredFile
from drivers.virtual.names import split

_PLAIN = "/()!$*',;:@"


def resource(base: str, path: str) -> str:
    return f"{base}/api/files/local/{quote(path, safe=_PLAIN)}"


def refs(base: str, path: str) -> dict[str, str]:
    """Where a file is described and where its bytes are; `base` is the server's own address."""
    return {"resource": resource(base, path), "download": f"{base}/downloads/files/local/{quote(path)}"}


def describe(file: StoredFile, base: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": file.name,
        "path": file.path,
        "display": file.display,
        "origin": "local",
        "size": file.size,
        "date": file.date,
        "hash": file.hash,
        "type": "machinecode",
        "typePath": ["machinecode", "gcode"],
        "refs": refs(base, file.path),
    }
    if file.user is not None:
        entry["user"] = file.user
    if file.userdata is not None:
        entry["userdata"] = file.userdata
    if file.prints:
        successes = sum(print_["success"] for print_ in file.prints)
        entry["prints"] = {"success": successes, "failure": len(file.prints) - successes, "last": file.prints[-1]}
        entry["statistics"] = _statistics(file.durations)
    return entry


def describe_folder(store: FileStore, path: str, base: str, *, depth: int) -> dict[str, Any]:
    """A folder with `depth` levels of what it holds; sizes count everything below."""
    below = [file for file in store if file.path.startswith(f"{path}/")]
    successes = sum(print_["success"] for file in below for print_ in file.prints)
    return {
        "name": split(path)[1],
        "path": path,
        "display": split(path)[1],
        "origin": "local",
        "type": "folder",
        "typePath": ["folder"],
        "size": sum(file.size for file in below),
        "date": store.folder_date(path),
        "prints": {"success": successes, "failure": sum(len(file.prints) for file in below) - successes},
        "refs": {"resource": resource(base, path)},
        "children": listing(store, path, base, depth=depth - 1) if depth > 0 else [],
    }


def listing(store: FileStore, folder: str, base: str, *, depth: int) -> list[dict[str, Any]]:
    entries = []
    for path in store.children(folder):
        if file := store.get(path):
            entries.append(describe(file, base))
        elif store.has_folder(path):
            entries.append(describe_folder(store, path, base, depth=depth))
    return entries


def _statistics(durations: list[float]) -> dict[str, dict[str, float]]:
    if not durations:
        return {"averagePrintTime": {}, "lastPrintTime": {}}
    return {
        "averagePrintTime": {"_default": sum(durations) / len(durations)},
        "lastPrintTime": {"_default": durations[-1]},
    }
