"""The three other places a setting may come from: a file named by `*_file`, the environment, a systemd credential.

They are laid over the parsed TOML before anything is checked, so that a value is held to the same rules wherever it comes
from. The environment wins over a credential, a credential over the file. Never puts a value into a complaint.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from farmd.config_lines import KeyPath
from farmd.config_models import Document

PREFIX = "FARMD__"
SECRETS: tuple[KeyPath, ...] = (
    ("store", "url"),
    ("payments", "stripe", "api_key"),
    ("payments", "stripe", "webhook_secrets"),
)
SECRET_LIMIT = 64 * 1024


@dataclass(slots=True)
class Sources:
    """A document on its way to being checked: its values, the place of each that is not the file's own, and what is wrong."""

    values: dict[str, Any]
    directory: Path
    drivers: Mapping[str, frozenset[str]]
    places: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)

    def lay_over(self, environ: Mapping[str, str]) -> None:
        """Apply all three, in the order that lets the environment win."""
        if directory := environ.get("CREDENTIALS_DIRECTORY"):
            self._credentials(Path(directory))
        for name in sorted(environ):
            if name.startswith(PREFIX):
                self._variable(name, environ[name])
        for path in list(self._secret_paths()):
            self._resolve_file(path)

    def _secret_paths(self) -> Iterator[KeyPath]:
        yield from SECRETS
        for index, printer in self._printers():
            for option in sorted(self.drivers.get(str(printer.get("driver")), ())):
                yield ("printers", index, option)

    def _printers(self) -> Iterator[tuple[int, dict[str, Any]]]:
        printers = self.values.get("printers", [])
        if isinstance(printers, list):
            yield from ((index, printer) for index, printer in enumerate(printers) if isinstance(printer, dict))

    def _table(self, path: KeyPath, *, create: bool = False) -> dict[str, Any] | None:
        """The table at `path`, or None when it is not there (or is no table, which the check will tell)."""
        here: Any = self.values
        for key in path:
            if isinstance(here, dict):
                here = here.setdefault(key, {}) if create else here.get(str(key))
            elif isinstance(here, list) and isinstance(key, int):
                here = here[key]
        return here if isinstance(here, dict) else None

    def _put(self, path: KeyPath, value: Any, place: str) -> None:
        """Set a value and drop its other spelling, so that the stronger source really wins."""
        table = self._table(path[:-1], create=True)
        if table is None:
            return
        key = str(path[-1])
        other = key.removesuffix("_file") if key.endswith("_file") else f"{key}_file"
        table.pop(other, None)
        table[key] = value
        self.places[path] = place

    def _credentials(self, directory: Path) -> None:
        for path in list(self._secret_paths()):
            name = f"stripe.{path[-1]}" if path[:2] == ("payments", "stripe") else f"{self._name(path)}.{path[-1]}"
            file = directory / name
            if file.is_file() and (text := self._read(file, path)) is not None:
                self._put(path, _shape(path, text), f"credential {name}")

    def _name(self, path: KeyPath) -> str:
        table = self._table(path[:-1]) or {}
        return str(table.get("id")) if path[0] == "printers" else str(path[0])

    def _variable(self, name: str, text: str) -> None:
        path: KeyPath = tuple(name.removeprefix(PREFIX).lower().split("__"))
        if path[0] == "printers":
            found = [index for index, printer in self._printers() if _as_variable(str(printer.get("id"))) == path[1:2]]
            if len(path) != 3 or not found:
                self.problems.append(((), f"environment variable {name}: no such printer; write {PREFIX}PRINTERS__MK3_01__API_KEY"))
                return
            path = ("printers", found[0], path[2])
            before = (self._table(path[:-1]) or {}).get(str(path[-1]))
            value = text if isinstance(before, str) else _typed(_annotation(path, before), text)
        elif path[1:2] == ("rules",):
            self.problems.append(((), f"environment variable {name}: rules stand in the file alone; write them there"))
            return
        else:
            value = _typed(_annotation(path, None), text)
        self._put(path, value, f"environment variable {name}")

    def _resolve_file(self, path: KeyPath) -> None:
        table, key = self._table(path[:-1]), str(path[-1])
        named = f"{key}_file"
        if table is None or named not in table:
            return
        place: KeyPath = (*path[:-1], named)
        if key in table:
            del table[named]
            self.problems.append((place, f"{named}: give either {key} or {named}, not both"))
            return
        name = table.pop(named)
        if not isinstance(name, str):
            self.problems.append((place, f"{named}: expected the path of a file in quotes"))
            return
        if (text := self._read(self.directory / name, place)) is not None:
            table[key] = _shape(path, text)
            self.places[path] = f"file {self.directory / name}"

    def _read(self, file: Path, place: KeyPath) -> str | None:
        key = place[-1]
        try:
            with file.open(encoding="utf-8") as stream:
                text = stream.read(SECRET_LIMIT).strip()
        except (OSError, UnicodeDecodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "not text"
            self.problems.append((place, f"{key}: cannot read {file}: {words}"))
            return None
        if not text:
            self.problems.append((place, f"{key}: {file} is empty"))
            return None
        return text


def _as_variable(printer_id: str) -> tuple[str]:
    return (printer_id.replace("-", "_"),)


def _shape(path: KeyPath, text: str) -> Any:
    return text.split() if path[-1] == "webhook_secrets" else text


def _annotation(path: KeyPath, before: Any) -> Any:
    """The type the model wants at `path`; the type that stands there already for a driver's option; else text."""
    model: Any = Document
    for key in path:
        if isinstance(key, int):
            continue
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        if key not in fields:
            return type(before) if before is not None else str
        model = bare(fields[key].annotation)
    return model


def bare(annotation: Any) -> Any:
    """`annotation` without Annotated, `| None` and the list around a table."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return str
    options = [option for option in get_args(annotation) if option is not NoneType]
    if get_origin(annotation) is list and isinstance(options[0], type) and issubclass(options[0], BaseModel):
        return options[0]
    if len(options) == 1 and get_origin(annotation) is not list:
        return bare(options[0])
    return annotation


def _typed(annotation: Any, text: str) -> Any:
    """A variable's text as the type wanted; text that does not fit is left for the check to refuse."""
    if annotation is str:
        return text
    if get_origin(annotation) is list and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",")]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
