"""All supervisors together: one per configured printer, started, exchanged and stopped without disturbing the others."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from drivers.contract import Driver, DriverFactory
from farmd.config import PrinterSettings, Settings
from farmd.domain.ports import World
from farmd.fleet.hands import Hands
from farmd.fleet.registry import Registry
from farmd.fleet.staging import Staging
from farmd.fleet.supervisor import Supervisor
from farmd.store import printing
from farmd.store.engine import Store
from farmd.store.work import register_printers

log = structlog.get_logger()


class Fleet:
    """The farm's machines at work."""

    def __init__(
        self,
        store: Store,
        world: World,
        registry: Registry,
        staging: Staging,
        factories: Mapping[str, DriverFactory],
        machines: Path,
    ) -> None:
        """`machines` holds a folder for each printer's driver."""
        self._store, self._world, self._registry = store, world, registry
        self._staging, self._factories, self._machines = staging, factories, machines
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def apply(self, settings: Settings) -> None:
        """Make the running supervisors match these settings' printers. One whose block did not change is not touched; what prints
        on one that leaves goes on printing. Raises `ValueError` for a block its driver refuses; nothing changed then."""
        printers = settings.printers
        drivers = {printer.id: self._build(printer) for printer in printers}
        before = dict(self._registry.settings())
        await self._store.write(lambda tx: register_printers(tx, settings))
        self._registry.configure(printers)
        for printer_id in [*self._tasks]:
            if before.get(printer_id) != self._registry.settings().get(printer_id):
                await self._stop(printer_id)
        # only now: until here a supervisor or the dispatcher might have begun something on a printer that leaves
        await self._store.write(lambda tx: printing.abandoned(tx, drivers.keys()))
        for printer in printers:
            if printer.id not in self._tasks:
                self._start(printer, drivers[printer.id])
        self._store.ring({"jobs", "printers"})  # what waited for such a printer may go on

    def _build(self, printer: PrinterSettings) -> Driver:
        return self._factories[printer.driver].create(printer.id, printer.options, self._machines / printer.id)

    def _start(self, printer: PrinterSettings, driver: Driver) -> None:
        hands = Hands(printer, self._store, self._world, self._registry, self._staging)
        supervisor = Supervisor(printer, driver, self._store, self._world, self._registry, hands)
        self._tasks[printer.id] = asyncio.create_task(supervisor.run(), name=f"printer {printer.id}")
        log.info("printer.supervised", printer=printer.id, driver=printer.driver)

    async def _stop(self, printer_id: str) -> None:
        task = self._tasks.pop(printer_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def supervised(self) -> bool:
        """Whether every configured printer has a living supervisor."""
        return all(printer_id in self._tasks and not self._tasks[printer_id].done() for printer_id in self._registry.settings())

    async def close(self) -> None:
        """Let go of every printer; running prints go on."""
        await asyncio.gather(*(self._stop(printer_id) for printer_id in [*self._tasks]))
