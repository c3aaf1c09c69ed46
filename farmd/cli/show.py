"""Answers for eyes: lists as tables, single things as cards. `--json` prints the daemon's own text instead."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farmd.cli.talk import Answer

Column = tuple[str, str | Callable[[Mapping[str, Any]], Any]]


def listing(answer: Answer, columns: Sequence[Column], *, as_json: bool) -> None:
    """A list's rows; a column is a title and a key, or a function of the row."""
    if as_json:
        print(answer.text)
        return
    from farmd.cli.tables import draw_list

    draw_list(answer.data, columns)


def card(answer: Answer, *, as_json: bool) -> None:
    """One thing with everything known of it."""
    if as_json:
        print(answer.text)
        return
    from farmd.cli.tables import draw_card

    draw_card(answer.data)


def done(words: str, answer: Answer, *, as_json: bool) -> None:
    """What an act came to, in one line."""
    print(answer.text if as_json else words)
