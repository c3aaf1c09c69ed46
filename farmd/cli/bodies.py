"""Request bodies from what a person types: a JSON or TOML file, `-` for standard input, or `key=value` words."""

import json
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farmd.cli.complaint import Complaint


def read_body(file: Path) -> dict[str, Any]:
    """The table in a `.toml` file, or the object in any other; `-` reads standard input. Raises `Complaint`."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise Complaint(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Complaint(f"{file} is not UTF-8 text") from None
    try:
        body = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise Complaint(f"{file} cannot be understood: {error}") from None
    if not isinstance(body, dict):
        raise Complaint(f"{file} must hold one object")
    return body


def pairs(words: Sequence[str], option: str) -> dict[str, Any]:
    """`["infill=20", "color=#1a1a1a"]` as a mapping; what reads as a JSON number or true/false becomes one."""
    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise Complaint(f"write {option} as NAME=VALUE, not {word!r}")
        found[key] = _scalar(value)
    return found


def without_nothing(**fields: Any) -> dict[str, Any]:
    """The fields that were given."""
    return {key: value for key, value in fields.items() if value is not None}


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text
