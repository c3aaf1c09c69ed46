"""What the wire of a print went through, counted: for the owner's eyes, and to tell a bad cable from an unlucky line.

Pure. Nothing is decided by it: a print on a bad cable goes on as long as its lines arrive.
"""

from dataclasses import dataclass, field, fields

BAD_CABLE, CABLE_LINES = 0.02, 1000
"""The share of lines that had to be sent again, and out of how many, that is told as a bad cable."""


@dataclass(slots=True)
class Tally:
    """Of one print. `starved` are the seconds in which the firmware's planner had run empty, as far as it tells (ADVANCED_OK);
    None when it does not. `bad_cable` once far too many lines had to be sent again."""

    lines: int = 0
    resends: int = 0
    lost_oks: int = 0
    questions: int = 0
    starved: float | None = None
    bad_cable: bool = False
    _resends_before: int = field(default=0, repr=False)
    _planner_most: int = field(default=0, repr=False)
    _empty_since: float | None = field(default=None, repr=False)

    def figures(self) -> dict[str, float | bool | None]:
        """The figures by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.name.startswith("_")}

    def taken(self) -> None:
        """A line was taken."""
        self.lines += 1
        if self.lines % CABLE_LINES == 0:
            self.bad_cable |= self.resends - self._resends_before > BAD_CABLE * CABLE_LINES
            self._resends_before = self.resends

    def planner(self, free: int, now: float) -> None:
        """So many of the planner's blocks are free. It holds at most the move it was just given when all but one are: the nozzle
        stood still before that, or is about to."""
        self._planner_most = max(self._planner_most, free)
        empty = free >= self._planner_most - 1
        spent = now - self._empty_since if empty and self._empty_since is not None else 0.0
        self.starved = (self.starved or 0.0) + spent
        self._empty_since = now if empty else None

    def busy(self) -> None:
        """A command blocks: that the planner is empty meanwhile is no fault of the wire."""
        self._empty_since = None
