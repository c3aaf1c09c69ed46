"""Which of the spools that a machine feeds by itself a plate is printed with, and why none of them will do.

Pure. The machine's own word for what is loaded decides, never a wish: a spool whose material or colour the machine does not know is
passed over, and so is one with nothing left on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SPOOL_GRAMS = 1000.0
"""A full spool of the usual size. Machines tell how full a spool is, not what it holds."""
PURGED_GRAMS = 10.0
"""What a machine throws away when it takes up a filament; also the coarseness of the percents it counts in."""


@dataclass(frozen=True, slots=True)
class Spool:
    """Filament in one of a machine's places. None is unknown; `remaining` is 0..1."""

    slot: str
    material: str | None
    color: str | None
    remaining: float | None = None

    @property
    def empty(self) -> bool:
        """Nothing is left, as far as the machine tells."""
        return self.remaining is not None and self.remaining <= 0.0

    def __str__(self) -> str:
        if self.material is None or self.color is None:
            return f"slot {self.slot} unknown filament"
        return f"slot {self.slot} {self.material} {self.color}" + (" (nothing left)" if self.empty else "")


def same_word(one: str | None, other: str) -> bool:
    """Whether two names of a material or a colour mean the same; an unknown one is never the same."""
    return one is not None and one.casefold() == other.casefold()


def holds(spool: Spool, material: str, color: str) -> bool:
    """Whether this filament lies there, whatever is left of it."""
    return same_word(spool.material, material) and same_word(spool.color, color)


def spool_for(spools: Sequence[Spool], material: str, color: str, grams: float) -> Spool | None:
    """The spool to print `grams` of this filament from, or None. Ends are used up first: the emptiest that is still enough, then
    one of unknown length, then the fullest of those that will run out on the way. The same spools, the same answer."""

    def rank(spool: Spool) -> tuple[int, float, str]:
        if spool.remaining is None:
            return (1, 0.0, spool.slot)
        enough = spool.remaining * SPOOL_GRAMS >= grams + PURGED_GRAMS
        return (0, spool.remaining, spool.slot) if enough else (2, -spool.remaining, spool.slot)

    return min((spool for spool in spools if holds(spool, material, color) and not spool.empty), key=rank, default=None)


def loaded(spools: Sequence[Spool]) -> str:
    """What lies in the machine, in an owner's words."""
    return ", ".join(map(str, spools)) or "nothing"


def mismatch(slot: str | None, spools: Sequence[Spool] | None, material: str, color: str) -> str | None:
    """Why a print of this filament must not start from `slot`, or None when it may. `spools` None: the machine does not tell
    what is loaded, and no slot of it can be named."""
    if spools is None:
        return None if slot is None else f"it does not tell any more what is loaded in slot {slot}"
    if slot is None:
        return f"it tells now what is loaded ({loaded(spools)}), and a spool has to be chosen"
    there = next((spool for spool in spools if spool.slot == slot), None)
    if there is not None and holds(there, material, color) and not there.empty:
        return None
    return f"slot {slot} has to hold {material} {color}; loaded: {loaded(spools)}"
