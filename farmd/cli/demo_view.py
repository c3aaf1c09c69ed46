"""The demo before your eyes: on a terminal a picture that moves, elsewhere one line for each thing that happens."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

REMEMBERED = 14
COLORS = {"event": "dim", "operator": "yellow", "owner": "magenta", "customer": "cyan"}


class View:
    """Takes what is told and, when asked, what is to be seen."""

    def __init__(self, console: Console, head: str) -> None:
        self.head = head
        self._console = console
        self._told: deque[Text] = deque(maxlen=REMEMBERED)
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the context lasts, where there is a terminal."""
        if not self._console.is_terminal:
            yield
            return
        with Live(Text(self.head), console=self._console, refresh_per_second=8) as self._live:
            yield
        self._live = None

    def tell(self, who: str, words: str) -> None:
        """Something happened."""
        line = Text(f"{who:>9}  ", style=COLORS.get(who, "")).append(words, style="")
        self._told.append(line)
        if self._live is None:
            self._console.print(line, soft_wrap=True)

    def draw(self, order: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]], printers: Sequence[Mapping[str, Any]]) -> None:
        """Show the farm as it is now."""
        if self._live is not None:
            told = Panel(Group(*self._told), title="what happens", title_align="left")
            self._live.update(Group(Text(self.head), _order(order), _jobs(jobs), _printers(printers), told))


def _order(order: Mapping[str, Any]) -> RenderableType:
    if not order:
        return Text("no order yet", style="dim")
    return Text.assemble(
        ("order ", "dim"),
        order["id"],
        ("  status ", "dim"),
        (order["status"], "bold green"),
        ("  total ", "dim"),
        str(order["total"]),
    )


def _jobs(jobs: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table("job of", "state", "printed", "good", "waits for", box=None, header_style="dim", pad_edge=False)
    for job in jobs:
        units = job["units"]
        waits = (job.get("waitsFor") or {}).get("code", "")
        good = f"{units['good']} of {job['quantity']}"
        table.add_row(Text(job["skuId"]), Text(job["state"]), _bar(job["progress"]), good, Text(waits))
    return table


def _printers(printers: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table("printer", "phase", "bed", "print", "", box=None, header_style="dim", pad_edge=False)
    for printer in printers:
        heat = "  ".join(f"{name} {_degrees(reading)}" for name, reading in (printer.get("temperatures") or {}).items())
        table.add_row(printer["id"], printer["phase"], printer["bed"], _bar(printer.get("progress")), Text(heat, style="dim"))
    return table


def _degrees(reading: Any) -> str:
    actual = reading["actual"] if isinstance(reading, Mapping) else reading[0]
    return f"{float(actual):.0f} C"


def _bar(fraction: float | None) -> RenderableType:
    return Text("-", style="dim") if fraction is None else ProgressBar(total=1.0, completed=fraction, width=24)
