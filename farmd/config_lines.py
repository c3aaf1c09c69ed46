"""Where each key of a TOML file stands, so that a complaint can name the line.

`tomllib` tells values but not places. The file is cut into its statements here (each is a TOML document of its own) and
`tomllib` itself says what every statement sets. Only files that `tomllib` already took may be given to this module.
"""

import tomllib
from collections.abc import Iterator
from typing import Any

KeyPath = tuple[str | int, ...]


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line (from 1) on which each key and table of `text` begins; `("printers", 0, "id")` is the first printer's id."""
    lines: dict[KeyPath, int] = {}
    blocks: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _open_table(content, blocks)
            lines.setdefault(table, line)
            for end in range(1, len(table)):
                lines.setdefault(table[:end], line)
        else:
            for path in _paths(content, table):
                lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(line of its beginning, text) of each header and each assignment; an assignment may span lines."""
    pending, begin = "", 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        begin = begin if pending else number
        pending += line
        try:
            content = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:
            continue  # a value that goes on in the next line
        if content:
            yield begin, pending
        pending = ""


def _open_table(content: dict[str, Any], blocks: dict[KeyPath, int]) -> KeyPath:
    """The path a header opens; `blocks` counts the `[[...]]` blocks seen so far."""
    path: KeyPath = ()
    here: Any = content
    while here:
        name, here = next(iter(here.items()))
        path += (name,)
        if isinstance(here, list):
            blocks[path] = blocks.get(path, -1) + 1
            here = here[0]
        if path in blocks:
            path += (blocks[path],)
    return path


def _paths(value: Any, at: KeyPath) -> Iterator[KeyPath]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from _paths(item, (*at, key))
