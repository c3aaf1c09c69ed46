"""Rows and live sights turned into what `domain.dispatch` decides on: printers as they stand, plates that wait.

Pure reading. A printer that was never seen, or has no row yet, is shown in the state in which nothing would be started on it.
"""

from datetime import datetime

from farmd.config import PrinterSettings
from farmd.domain.dispatch import PlateView, PrinterView
from farmd.domain.model import Size
from farmd.domain.slicing import PrinterClass
from farmd.fleet.registry import Registry
from farmd.store.printing import Bed
from farmd.store.rows import Row
from farmd.store.work_lists import Connection, attempts_on_printers, printer_rows, waiting_plates

READY_PHASES = frozenset({"idle", "finished"})
"""Phases in which a machine takes a new print; whether its bed allows one is another matter."""


def class_of(printer: PrinterSettings) -> PrinterClass:
    """The class whose sliced files a configured printer takes."""
    return PrinterClass(printer.profile, Size(*printer.bed), printer.nozzle, printer.machine)


def printer_views(connection: Connection, registry: Registry) -> list[PrinterView]:
    """Every configured printer, in the order of the configuration."""
    rows, holders = printer_rows(connection), attempts_on_printers(connection)
    return [
        _printer(settings, registry, rows.get(printer_id), holders.get(printer_id))
        for printer_id, settings in registry.settings().items()
    ]


def _printer(settings: PrinterSettings, registry: Registry, row: Row | None, holder: Row | None) -> PrinterView:
    live = registry.live(settings.id)
    phase = live.phase if live.connected else "offline"
    return PrinterView(
        id=settings.id,
        class_key=class_of(settings).key,
        online=phase != "offline",
        idle=phase in READY_PHASES,
        phase=phase,
        bed=row["bed"] if row else Bed.UNKNOWN.value,
        enabled=row["enabled"] if row else True,
        material=row["material"] if row else settings.material,
        color=row["color"] if row else settings.color,
        nozzle=settings.nozzle,
        volume=settings.bed,
        profile=settings.profile,
        holding=holder["id"] if holder else None,
        quarantined=row["quarantined"] if row else None,
        last_color=row["color"] if row and live.spools is None else None,  # who has several changes them alone
        spools=live.spools,
    )


def plate_views(connection: Connection, now: datetime) -> list[PlateView]:
    """Every plate that may be started now, oldest first; `due` and `age` are counted in seconds from `now`."""
    return [_plate(row, now) for row in waiting_plates(connection)]


def _plate(row: Row, now: datetime) -> PlateView:
    x, y, z = row["size"]
    return PlateView(
        id=row["id"],
        job_id=row["job_id"],
        order_id=row["order_id"],
        material=row["material"],
        color=row["color"],
        size=(x, y, z),
        seconds={key: artifact["seconds"] for key, artifact in row["artifacts"].items()},
        due=(row["due_at"] - now).total_seconds(),
        age=max((now - row["paid_at"]).total_seconds(), 0.0) if row["paid_at"] else 0.0,  # a clock may be set back
        profile=row["profile"],
        avoid=frozenset(row["failed_on"]),
        grams={key: artifact["grams"] for key, artifact in row["artifacts"].items()},
    )
