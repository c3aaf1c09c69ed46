"""The bed of a virtual machine: the one thing no protocol tells.

A real bed remembers a part through reboots, lost links and replaced software. This one does too, and counts every print
begun on top of a part: the physical judge of whoever drives the machine. It must never be cleared by anything but a
hand or an ejection.
"""

import contextlib
import json
from pathlib import Path


class Bed:
    """`memory`, when given, is a file that keeps the bed's state over the life of the process."""

    def __init__(self, *, ejects: bool = False, memory: Path | None = None) -> None:
        self.ejects = ejects
        self.occupied = False
        self.crashes = 0
        self._memory = memory
        if memory is not None:
            self._recall(memory)

    def begin_print(self) -> None:
        """Plastic meets the bed; a part that still lies there is hit."""
        if self.occupied:
            self.crashes += 1
        self.occupied = True
        self._remember()

    def end_print(self) -> None:
        """The file ran to its end, and with it the ejection where there is one."""
        if self.ejects:
            self.occupied = False
        self._remember()

    def clear(self) -> None:
        """An operator takes the part off."""
        self.occupied = False
        self._remember()

    def _recall(self, memory: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            state = json.loads(memory.read_text())
            self.occupied, self.crashes = state["occupied"], state["crashes"]

    def _remember(self) -> None:
        if self._memory is not None:
            self._memory.write_text(json.dumps({"occupied": self.occupied, "crashes": self.crashes}))
