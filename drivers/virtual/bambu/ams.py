"""The filament of a virtual printer: the four places of its feeder, the spool outside, and what the wire says of them.

Numbers are strings on the wire, as the firmware sends them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from drivers.virtual.bambu.models import Ams

NONE, OUTSIDE = 255, 254
_PRODUCTS = {Ams.AMS: "AMS", Ams.LITE: "AMS Lite"}
_KNOWN = {"PLA": ("GFA00", "PLA Basic", 190, 230), "PETG": ("GFG00", "PETG Basic", 220, 260), "ABS": ("GFB00", "ABS", 240, 280)}


@dataclass(frozen=True, slots=True)
class Spool:
    """Filament in a place. `kind` empty: it is there and nobody said what it is. `remain` in percent, -1 unknown. `tagged`: it
    carries the vendor's radio tag."""

    kind: str = "PLA"
    color: str = "#1A1A1A"
    remain: int = -1
    tagged: bool = False


@dataclass(slots=True)
class Feeder:
    """`spools` by place, None where there is none. `now`, `before` and `target` are places, `NONE` or `OUTSIDE`."""

    box: Ams
    spools: list[Spool | None] = field(default_factory=lambda: [None] * 4)
    outside: Spool | None = None
    auto_refill: bool = False
    now: int = NONE
    before: int = NONE
    target: int = NONE

    def loaded(self, place: int) -> Spool | None:
        """What lies in that place, `OUTSIDE` included."""
        if place == OUTSIDE:
            return self.outside
        return self.spools[place] if self.box is not Ams.NONE and 0 <= place < len(self.spools) else None

    def feed(self, place: int) -> None:
        self.before, self.now, self.target = self.now, place, place

    def unload(self) -> None:
        self.before, self.now, self.target = self.now, NONE, NONE

    def twin(self, place: int, spent: Spool) -> int | None:
        """Another place with the same filament."""
        others = (number for number, spool in enumerate(self.spools) if number != place and spool is not None)
        alike = (n for n in others if (s := self.spools[n]) is not None and (s.kind, s.color) == (spent.kind, spent.color))
        return next(alike, None)

    def product(self) -> str | None:
        return _PRODUCTS.get(self.box)

    def report(self) -> dict[str, Any]:
        """The whole `ams`."""
        if self.box is Ams.NONE:
            return {"ams": [], "ams_exist_bits": "0", "tray_exist_bits": "0"} | self.scalars()
        trays = [_tray(number, spool) for number, spool in enumerate(self.spools)]
        unit = {"id": "0", "humidity": "5", "temp": "0.0", "tray": trays}
        return {"ams": [unit], "ams_exist_bits": "1"} | self.scalars()

    def scalars(self) -> dict[str, Any]:
        """The numbers of it alone."""
        tagged = _bits(spool is not None and spool.tagged for spool in self.spools)
        return {
            "tray_exist_bits": _bits(spool is not None for spool in self.spools) if self.box is not Ams.NONE else "0",
            "tray_is_bbl_bits": tagged,
            "tray_now": str(self.now),
            "tray_pre": str(self.before),
            "tray_tar": str(self.target),
            "tray_read_done_bits": tagged,
            "version": 3,
        }

    def outside_report(self) -> dict[str, Any]:
        """The `vt_tray`: always whole, without a type while nothing was said of it."""
        return _tray(OUTSIDE, self.outside or Spool(kind="", color="#000000"))


def _bits(flags: Iterable[bool]) -> str:
    return f"{sum(1 << place for place, flag in enumerate(flags) if flag):x}"


def _tray(number: int, spool: Spool | None) -> dict[str, Any]:
    if spool is None:
        return {"id": str(number)}
    index, brand, coolest, hottest = _KNOWN.get(spool.kind, ("", "", 0, 0))
    color = spool.color.removeprefix("#").upper() + "FF"
    return {
        "id": str(number),
        "tray_type": spool.kind,
        "tray_info_idx": index,
        "tray_sub_brands": brand if spool.tagged else "",
        "tray_color": color,
        "cols": [color],
        "nozzle_temp_min": str(coolest),
        "nozzle_temp_max": str(hottest),
        "remain": spool.remain if spool.tagged else 0,
        "tag_uid": f"{0xA0B1C2D300000100 + number:016X}" if spool.tagged else "0" * 16,
        "tray_uuid": f"{0xF00DF00D << 96 | number:032X}" if spool.tagged else "0" * 32,
        "tray_weight": "1000" if spool.tagged else "0",
        "tray_diameter": "1.75",
        "tray_id_name": f"A00-K{number % 10}" if spool.tagged else "",
        "tray_temp": "0",
        "tray_time": "0",
        "bed_temp_type": "0",
        "bed_temp": "0",
        "xcam_info": "0" * 24,
        "k": 0.02,
        "n": 1,
        "state": 3,
    }
