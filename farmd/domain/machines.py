"""Machines that print nothing but files made for their very model: how such a file names them, and how far they reach.

A table alone, for the pipeline that makes the files and for whoever checks a configuration. A machine that is not in it takes
plain G-code, or no file of ours at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from farmd.domain.model import Size


@dataclass(frozen=True, slots=True)
class Machine:
    """One model. `code` is what it calls itself; `bed` its build volume in mm. No part may stand in `keep_out`, the x and y mm of
    the bed's front left corner; the head has places of its own outside the bed, within `reach` (least x and y, most x and y)."""

    name: str
    code: str
    title: str
    bed: Size
    reach: tuple[float, float, float, float]
    keep_out: tuple[float, float] = (0.0, 0.0)


_BOX, _CUTTER, _CHUTE = Size(256.0, 256.0, 250.0), (18.0, 28.0), (-5.0, -5.0, 261.0, 270.0)

MACHINES: Mapping[str, Machine] = {
    machine.name: machine
    for machine in (
        Machine("P1P", "C11", "Bambu Lab P1P", _BOX, _CHUTE, _CUTTER),
        Machine("P1S", "C12", "Bambu Lab P1S", _BOX, _CHUTE, _CUTTER),
        Machine("X1", "BL-P002", "Bambu Lab X1", _BOX, _CHUTE, _CUTTER),
        Machine("X1C", "BL-P001", "Bambu Lab X1 Carbon", _BOX, _CHUTE, _CUTTER),
        Machine("X1E", "C13", "Bambu Lab X1E", _BOX, _CHUTE, _CUTTER),
        Machine("A1", "N2S", "Bambu Lab A1", Size(256.0, 256.0, 256.0), (-50.0, -5.0, 270.0, 265.0)),
        Machine("A1MINI", "N1", "Bambu Lab A1 mini", Size(180.0, 180.0, 180.0), (-15.0, -5.0, 185.0, 185.0)),
    )
}


def machine_named(word: str) -> Machine | None:
    """The machine somebody calls `word`: its name in any spelling (`P1S`, `A1 mini`); None when it is not known."""
    return MACHINES.get("".join(letter for letter in word.upper() if letter.isalnum()))
