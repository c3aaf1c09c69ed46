"""Which Bambu Lab machines there are, and in what they differ on the wire. Tables alone.

A printer names itself by a code (`C12`), its serial number begins with letters of the model, and a sliced file says for which code
it was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """One kind of machine. `codes`: what it calls itself, and what a sliced file calls it. `prefixes`: how its serial numbers
    begin. `slow`: its radio chip sends differences only and must not be asked for everything often."""

    name: str
    codes: tuple[str, ...]
    prefixes: tuple[str, ...]
    slow: bool = False
    chamber: bool = True  # it measures its chamber; the others send a 5 that means nothing
    may_be_deaf: bool = False  # some of its firmware knows no TLS for the files themselves
    vibration: bool = True  # it takes the flag of the vibration test in a start


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("X1C", ("BL-P001", "3DPrinter-X1-Carbon"), ("00M",)),
        Model("X1", ("BL-P002", "3DPrinter-X1"), ("00W",)),
        Model("X1E", ("C13",), ("03W",)),
        Model("P1P", ("C11",), ("01S",), slow=True, chamber=False),
        Model("P1S", ("C12",), ("01P",), slow=True, chamber=False),
        Model("A1MINI", ("N1",), ("030",), slow=True, chamber=False, may_be_deaf=True),
        Model("A1", ("N2S",), ("039",), slow=True, chamber=False, may_be_deaf=True),
        Model("P2S", ("N7",), ("22E",), vibration=False),
        Model("H2D", ("O1D",), ("094",)),
        Model("H2S", ("O1S",), ("093", "094")),
        Model("H2C", ("O1C", "O1C2"), ()),
        Model("X2D", ("N6",), ()),
    )
}
_OF_CODE = {code: model for model in MODELS.values() for code in model.codes}


def model_named(word: str) -> Model | None:
    """The model somebody calls `word` (`P1S`, `A1 mini`, `N1`), in whatever spelling."""
    plain = word.upper().replace(" ", "").replace("-", "").replace("_", "").removeprefix("BAMBULAB").removeprefix("BAMBU")
    return MODELS.get(plain) or _OF_CODE.get(word.strip())


def models_of_serial(serial: str) -> tuple[Model, ...]:
    """The models whose serial numbers begin like this one; none where the beginning is not known."""
    return tuple(model for model in MODELS.values() if serial[:3] in model.prefixes)
