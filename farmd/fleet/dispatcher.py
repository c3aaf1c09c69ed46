"""Offers waiting plates to idle printers whenever something changed that could make a match.

It only reads, ranks (in `domain.dispatch`) and writes attempt rows; the supervisors take it from there. The write checks
everything again, so a decision on stale facts costs nothing.
"""

import structlog

from farmd.domain.dispatch import Match, assign
from farmd.domain.ports import World
from farmd.fleet.offers import plate_views, printer_views
from farmd.fleet.registry import Registry
from farmd.store import printing
from farmd.store.engine import Conflict, Store, StoreFailed

LOOK_AGAIN = 30.0
log = structlog.get_logger()


class Dispatcher:
    """Runs for ever; `run` returns only when cancelled."""

    def __init__(self, store: Store, world: World, registry: Registry) -> None:
        self._store, self._world, self._registry = store, world, registry
        self._bell = store.watch("jobs", "attempts", "printers")
        self._known: dict[str, tuple[object, ...]] = {}
        self.turned_at = world.monotonic()  # when the loop last came round, for the watchdog
        registry.listen(self._sighted)

    def _sighted(self, printer_id: str) -> None:
        live = self._registry.live(printer_id)
        seen = (live.phase, live.connected, live.spools)
        if self._known.get(printer_id) != seen:
            self._known[printer_id] = seen
            self._bell.ring()

    async def run(self) -> None:
        """Match, then wait for the next change."""
        while True:
            self.turned_at = self._world.monotonic()
            try:
                await self.match()
            except StoreFailed as error:
                log.error("dispatch.store_failed", error=str(error))
            except Exception:  # the supervised edge: without its dispatcher the whole farm stands still
                log.exception("dispatch.broke")
            await self._bell.wait(LOOK_AGAIN)

    async def match(self) -> int:
        """Bind every plate that can start now; returns how many attempts were written."""
        now = self._world.now()
        printers = await self._store.read(lambda c: printer_views(c, self._registry))
        plates = await self._store.read(lambda c: plate_views(c, now))
        classes = {printer.id: printer.class_key for printer in printers}
        made = 0
        for match in assign(plates, printers):
            token = await self._bind(match, classes[match.printer_id])
            if token is None:
                continue
            made += 1
            log.info("dispatch.assigned", attempt=token, plate=match.plate_id, printer=match.printer_id, slot=match.slot)
        return made

    async def _bind(self, match: Match, class_key: str) -> str | None:
        """Write the attempt, unless the plate or the printer was taken meanwhile."""
        token, spools = self._world.new_id("att"), self._registry.live(match.printer_id).spools
        try:
            return await self._store.write(
                lambda tx: printing.assign(tx, match.plate_id, match.printer_id, class_key, token, slot=match.slot, spools=spools)
            )
        except (printing.NotAssignable, Conflict) as error:
            log.info("dispatch.overtaken", why=str(error))
            return None
        except StoreFailed:
            raise
        except Exception:  # the supervised edge: rows that contradict each other keep their own plate back, not the others
            log.exception("dispatch.not_bound", plate=match.plate_id, printer=match.printer_id)
            return None
