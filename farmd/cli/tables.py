"""Tables and cards on a terminal. rich is loaded here and by the commands that draw, none of which answers `--help`."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from farmd.cli.show import Column

PIPE_WIDTH = 240


def draw_list(data: Mapping[str, Any], columns: Sequence[Column]) -> None:
    """The rows of a page, and which page it is."""
    table = _table([title for title, _ in columns])
    for row in data["data"]:
        table.add_row(*(_plain(row.get(key) if isinstance(key, str) else key(row)) for _, key in columns))
    console = _paper()
    console.print(table)
    if data.get("totalPages", 1) > 1:
        console.print(f"page {data['page']} of {data['totalPages']}, {data['total']} in all", style="dim")


def draw_card(data: Mapping[str, Any]) -> None:
    """One thing: what is single as pairs, each list of things as a table below."""
    console = _paper()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat(data):
        table.add_row(Text(key), _plain(value))
    console.print(table)
    for key, rows in data.items():
        if _is_rows(rows):
            console.print(f"\n{key}", style="bold")
            console.print(_rows(rows))


def _paper() -> Console:
    """The terminal as wide as it is; a pipe wide enough that no id is ever folded."""
    return Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)


def _table(titles: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, title in enumerate(titles):
        table.add_column(title, no_wrap=number == 0, overflow="fold")
    return table


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    titles = list(dict.fromkeys(key for row in rows for key in row))
    table = _table(titles)
    for row in rows:
        table.add_row(*(_plain(row.get(title)) for title in titles))
    return table


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _flat(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in data.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{prefix}{key}.")
        elif not _is_rows(value) and value not in (None, [], ""):
            pairs.append((prefix + key, value))
    return pairs


def _plain(value: Any) -> Text:
    """A value as text; never as markup, since names come from customers."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, list):
        return Text(", ".join(str(item) for item in value) or "-")
    if isinstance(value, dict):
        return Text(", ".join(f"{key} {item}" for key, item in value.items() if item not in (None, 0)) or "-")
    return Text(str(value))
