"""What a virtual machine takes from a G-code file: how long it prints and how hot it gets.

The slicer's own estimate decides the duration where it left one; otherwise each command costs a fixed time. Reading
must never fail on strange bytes: a real machine would swallow them too.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_ESTIMATES = (
    re.compile(rb";\s*estimated printing time \(normal mode\)\s*=\s*([\ddhms ]+)"),  # PrusaSlicer and its kin
    re.compile(rb"total estimated time:\s*([\ddhms ]+)"),  # OrcaSlicer, Bambu Studio
    re.compile(rb"^;TIME:(\d+)"),  # Cura
)
_UNITS = {b"d": 86400, b"h": 3600, b"m": 60, b"s": 1, b"": 1}
_HEAT = re.compile(rb"^M(104|109|140|190)\b.*?\bS(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Plan:
    """`estimate` in seconds, None when the slicer left none; `commands` are the lines that are not comments; degrees Celsius."""

    size: int
    commands: int
    estimate: float | None
    tool: float
    bed: float

    def seconds(self, seconds_per_command: float) -> float:
        """How long the machine would print this at its natural speed."""
        return self.estimate if self.estimate is not None else self.commands * seconds_per_command


def read_plan(file: Path) -> Plan:
    """Go through the whole file once, line by line; blocks for as long as that takes."""
    with file.open("rb") as lines:
        return plan_of(lines, file.stat().st_size)


def plan_of(lines: Iterable[bytes], size: int) -> Plan:
    """The same for lines that are read elsewhere."""
    commands, estimate = 0, None
    hottest = {"tool": 0.0, "bed": 0.0}
    for line in lines:
        text = line.strip()
        if text.startswith(b";"):
            estimate = estimate or _estimate(text)
        elif text:
            commands += 1
            if heat := _HEAT.match(text):
                heater = "tool" if heat[1] in (b"104", b"109") else "bed"
                hottest[heater] = max(hottest[heater], float(heat[2]))
    return Plan(size, commands, estimate, hottest["tool"], hottest["bed"])


def _estimate(comment: bytes) -> float | None:
    for pattern in _ESTIMATES:
        if found := pattern.search(comment):
            parts = re.findall(rb"(\d+)\s*([dhms]?)", found[1])
            return float(sum(int(amount) * _UNITS[unit] for amount, unit in parts)) or None
    return None
