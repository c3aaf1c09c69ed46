"""Eyes on the heat of a machine that prints unattended: what is too hot, and whether it is still told.

Pure. A firmware watches its heaters itself; this is for the one that does not, or cannot any more. It never concludes anything
from a single report: a digit is easily lost on a cheap cable.
"""

from collections.abc import Mapping

from drivers.gcode.replies import Heat

OVER = 20.0
"""Degrees above everything that was asked of a heater."""
OVER_SECONDS = 10.0
UNTOLD_SECONDS = 60.0


class HeatWatch:
    """For one print. `untold_at` is when the silence about temperatures has lasted too long."""

    def __init__(self, heat: Mapping[str, Heat], now: float) -> None:
        # what is hot from the print before may cool down
        self._most = {heater: max(each.actual, each.target) for heater, each in heat.items()}
        self._asked: dict[str, float] = {}
        self._over: dict[str, float] = {}
        self.untold_at = now + UNTOLD_SECONDS

    def excused(self, now: float) -> None:
        """Nothing could be told until now."""
        self._over.clear()
        self.untold_at = now + UNTOLD_SECONDS

    def note(self, heat: Mapping[str, Heat], now: float) -> str | None:
        """One report. Gives words when a heater is, and has been, hotter than it was ever asked to be."""
        self.untold_at = now + UNTOLD_SECONDS
        for heater, each in heat.items():
            most = self._most.setdefault(heater, each.actual)
            if self._asked.get(heater) == each.target:  # told twice: what is garbled once must not blind
                most = self._most[heater] = max(most, each.target)
            self._asked[heater] = each.target
            if each.actual <= most + OVER:
                self._over.pop(heater, None)
            elif now >= self._over.setdefault(heater, now) + OVER_SECONDS:
                name = "the bed" if heater == "B" else "the chamber" if heater == "C" else "the nozzle"
                return f"{name} has {each.actual:.0f} degrees and was never asked for more than {most:.0f}"
        return None
