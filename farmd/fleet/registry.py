"""What the farm sees of its printers at this moment, in memory only: telemetry never touches the database.

Supervisors write it, the dispatcher, the API and the dashboard read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from drivers.contract import Question, Wire
from farmd.config import PrinterSettings
from farmd.domain.spools import Spool


@dataclass(frozen=True, slots=True)
class Live:
    """One printer as last observed. `phase` is a word of `drivers.contract.Phase`; `connected` is False until the first full
    snapshot of a connection."""

    phase: str = "offline"
    connected: bool = False
    attempt_id: str | None = None  # the token of our print that is on the machine
    foreign: bool = False  # something prints that farmd did not start
    file: str | None = None
    progress: float | None = None  # 0..1
    seconds_left: int | None = None
    temperatures: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # name -> (actual, target)
    message: str | None = None
    last_seen: datetime | None = None
    uploading: float | None = None  # 0..1 while a file goes up
    attention: tuple[Mapping[str, str], ...] = ()  # [{code, detail}]
    question: Question | None = None  # what the machine asks a person
    wire: Wire | None = None  # of the print at hand
    still: float | None = None  # seconds for which a print has not moved on
    spools: tuple[Spool, ...] | None = None  # as last told, also while it is away; None where the machine does not tell


class Registry:
    """Settings and the latest sight of every printer."""

    def __init__(self) -> None:
        self._settings: dict[str, PrinterSettings] = {}
        self._live: dict[str, Live] = {}
        self._listeners: list[Callable[[str], None]] = []

    def configure(self, printers: tuple[PrinterSettings, ...]) -> None:
        """Take over a new list of printers; what is known of those that stay is kept."""
        self._settings = {printer.id: printer for printer in printers}
        self._live = {printer_id: self._live.get(printer_id, Live()) for printer_id in self._settings}

    def settings(self) -> Mapping[str, PrinterSettings]:
        """The configured printers by id."""
        return self._settings

    def live(self, printer_id: str) -> Live:
        """The latest sight; an unknown printer is offline."""
        return self._live.get(printer_id, Live())

    def see(self, printer_id: str, live: Live) -> None:
        """Replace the sight of a printer and tell the listeners."""
        if printer_id in self._settings:
            self._live[printer_id] = live
            for listener in self._listeners:
                listener(printer_id)

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener(printer_id)` on the loop's thread at every change of sight."""
        self._listeners.append(listener)
