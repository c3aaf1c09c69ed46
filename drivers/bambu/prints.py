"""The prints a farm gave to one printer, and whether the one at hand is among them. Pure; `ledger` keeps them on the disk.

A printer has no history: what it shows is one print's names, and those of a print that ended stay. Every attempt is given an id
and a name of its own, and they are written down before the start leaves, so that the names alone tell whose print runs, over
restarts of either side.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from drivers.bambu.fields import Identity
from drivers.contract import Outcome

PREFIX, SUFFIX = "farmd-", ".gcode.3mf"
MOST_IDS = 2**31 - 1
"""Greater ids are cut to this one by some firmware, and then all prints look alike."""
KEEP = 200
_TOKEN = re.compile(r"[A-Za-z0-9-]{1,80}")
_NAME = re.compile(rf"{PREFIX}({_TOKEN.pattern})(\.gcode)?(\.3mf)?")
_NO_ID = ("", "0")


@dataclass(frozen=True, slots=True)
class Print:
    """One attempt. `filaments` is how many the file's list has, `position` (0-based) the one it uses, `material` that one's.

    `subtask_id` is set as soon as its start may have left; `before` is the state the printer was in then. `begun`: it was seen
    at work. `stopped`: we sent a stop. `ended` once that is known.
    """

    token: str
    size: int
    plate: int = 1
    filaments: int = 1
    position: int = 0
    material: str = ""
    subtask_id: str = ""
    sent_at: float = 0.0  # seconds since the epoch
    before: str = ""
    begun: bool = False
    stopped: bool = False
    ended: Outcome | None = None
    removed: bool = False

    @property
    def name(self) -> str:
        return PREFIX + self.token

    @property
    def file(self) -> str:
        return self.name + SUFFIX


def is_token(token: str) -> bool:
    """Whether a file can be named by this token: 1 to 80 letters, digits and dashes."""
    return _TOKEN.fullmatch(token) is not None


def token_in(name: str) -> str | None:
    """The token in a file's or a print's name; None in names of no farm."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    return found[1] if found else None


class Prints:
    """All that is known, oldest first; the oldest are forgotten."""

    def __init__(self, known: Iterable[Print] = ()) -> None:
        self._of_token: dict[str, Print] = {each.token: each for each in known}
        self._of_id = {each.subtask_id: each.token for each in self._of_token.values() if each.subtask_id}
        self.changed = False

    def __iter__(self) -> Iterator[Print]:
        return iter([*self._of_token.values()])

    def get(self, token: str | None) -> Print | None:
        return self._of_token.get(token) if token else None

    def put(self, print_: Print) -> None:
        """Write down a new print, or what is new about it."""
        old = self._of_token.get(print_.token)
        if old == print_:
            return
        if old is not None and old.subtask_id != print_.subtask_id:
            self._of_id.pop(old.subtask_id, None)
        self._of_token[print_.token] = print_
        if print_.subtask_id:
            self._of_id[print_.subtask_id] = print_.token
        while len(self._of_token) > KEEP:
            oldest = self._of_token.pop(next(iter(self._of_token)))
            self._of_id.pop(oldest.subtask_id, None)
        self.changed = True

    def note(self, token: str, **news: object) -> None:
        """Change what is written of a known print; nothing for an unknown one."""
        if (known := self._of_token.get(token)) is not None:
            self.put(replace(known, **news))  # type: ignore[arg-type]

    def takes(self, subtask_id: str) -> bool:
        """Whether this id was never given."""
        return subtask_id not in _NO_ID and subtask_id not in self._of_id

    def whose(self, at_hand: Identity) -> str | None:
        """The token of the print at hand; None for a stranger's, and for none.

        The id is the strongest word, then the print's name, then the file's. Our name under an id that we did not give is a file
        of ours that somebody, or the printer by itself after a power cut, printed again.
        """
        if (token := self._of_id.get(at_hand.subtask_id)) is not None:
            return token
        named = token_in(at_hand.subtask_name) if at_hand.subtask_name else token_in(at_hand.file)
        known = self.get(named)
        if at_hand.subtask_id in _NO_ID:
            return named if known is None or known.subtask_id else None
        return named if known is None else None


def entries(prints: Iterable[Print]) -> list[dict[str, object]]:
    """The prints as plain values, for the disk."""
    return [{key: getattr(each, key) for key in Print.__slots__} for each in prints]


def read_entries(listed: object) -> list[Print]:
    """What `entries` wrote; whatever has another shape is left out."""
    found = []
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, Mapping) and isinstance(entry.get("token"), str):
            try:
                ended = Outcome(entry["ended"]) if entry.get("ended") else None
                found.append(Print(**{**entry, "ended": ended}))
            except (TypeError, ValueError):
                continue
    return found
