"""What a host says to a machine of its own accord: when a print is held, goes on, is stopped or has ended.

Pure. The order matters for safety: heaters first when a print is given up, the head up before it moves aside, and nothing ever
moves down unless the position is known.
"""

from collections.abc import Iterable, Mapping

from drivers.gcode.modes import Modes

RETRACT = 1.5  # mm
LIFT = 10.0  # mm
TRAVEL = 6000.0  # mm/min
STANDBY = 150.0
"""Degrees of a nozzle that is held for long: nothing drips, and little is to be heated again."""

GREETING = [b"M115", b"M155 S2", b"M113 S2", b"M27"]
"""Who are you; temperatures every two seconds without being asked; tell while you are busy; do you print from your own card."""


def heaters_off(tools: Iterable[int]) -> list[bytes]:
    """Every heater of a machine whose print used `tools`."""
    several = sorted(set(tools) | {0})
    nozzles = [b"M104 S0"] if several == [0] else [b"M104 T%d S0" % tool for tool in several]
    return [*nozzles, b"M140 S0", b"M141 S0"]


def give_up(tools: Iterable[int]) -> list[bytes]:
    """After a cancel: cold first, then the nozzle out of the part and aside, and the modes as at power-up."""
    return [
        *heaters_off(tools),
        b"G91",
        b"M83",
        b"G1 E-%.2f F1800" % RETRACT,
        b"G1 Z%.2f F600" % LIFT,
        b"G90",
        b"M82",
        b"G28 X Y",
        b"M220 S100",
        b"M221 S100",
        b"M106 S0",
        b"M400",
        b"M84",
    ]


def make_safe(tools: Iterable[int]) -> list[bytes]:
    """When it is not known what the machine is doing: cold, and no move at all."""
    return [*heaters_off(tools), b"M106 S0"]


def park(modes: Modes) -> list[bytes]:
    """A held print: out of the part and aside, hot. No move at all while there is no part yet."""
    if not modes.at_work:
        return [b"M400"]
    return [
        b"G91",
        b"M83",
        b"G1 E-%.2f F1800" % RETRACT,
        b"G1 Z%.2f F600" % LIFT,
        b"G90",
        b"G1 X0 Y0 F%.0f" % TRAVEL,
        b"M400",
    ]


def standby(modes: Modes) -> list[bytes]:
    """A print that is held for long: its nozzles cooler."""
    return [b"M104 T%d S%g" % (tool, min(heat, STANDBY)) for tool, heat in _by_tool(modes)] or [b"M400"]


def _by_tool(modes: Modes) -> list[tuple[int, float]]:
    return [(tool, heat) for tool, heat in modes.nozzle if heat]


def unpark(position: Mapping[str, float], modes: Modes) -> list[bytes]:
    """Back to where the print was held: hot again, primed, over the part at height, then down; every mode as it was. The opposite
    of `park`, and without a move where that made none."""
    script = [b"M104 T%d S%g" % (tool, heat) for tool, heat in _by_tool(modes) if tool != modes.tool]
    script += [b"T%d" % modes.tool] if len(modes.nozzle) > 1 else []
    if modes.bed:
        script.append(b"M190 S%g" % modes.bed)
    if modes.target:
        script.append(b"M109 S%g" % modes.target)
    if not modes.at_work:
        return script or [b"M400"]
    script += [b"G90", b"M83", b"G1 E%.2f F300" % RETRACT]
    script.append(b"G1 X%.3f Y%.3f F%.0f" % (position.get("X", 0.0), position.get("Y", 0.0), TRAVEL))
    script.append(b"G1 Z%.3f F600" % position.get("Z", 0.0))
    script.append(b"G92 E%.5f" % position.get("E", 0.0))
    if modes.feed is not None:
        script.append(b"G1 F%g" % modes.feed)
    script.append(b"M106 S%g" % modes.fan)
    script.append(b"G91" if modes.relative else b"G90")
    script.append(b"M83" if modes.relative_e else b"M82")
    return script
