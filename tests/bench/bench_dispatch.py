"""How long a dispatch decision takes on a large farm: 50 printers, 500 waiting plates, from rows to matches.

python -m tests.bench.bench_dispatch
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from farmd.domain.dispatch import assign
from farmd.fleet.offers import plate_views, printer_views
from farmd.fleet.registry import Live, Registry
from farmd.fleet.why import why
from farmd.store import printing
from farmd.store.work import register_printers
from tests import making
from tests.farm import FarmWorld, farm_settings, open_store

PRINTERS, PLATES, ROUNDS = 50, 500, 15
COLORS = ("#1a1a1a", "#ffffff", "#ff0000", "#00ff00", "#0000ff")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of the median round, and what `work` gave."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        value = work()
        times.append((time.perf_counter() - begun) * 1000)
    return median(times), value


async def main() -> None:
    world = FarmWorld()
    machines = tuple(making.printer(f"mk3-{n:02}", color=COLORS[n % len(COLORS)]) for n in range(PRINTERS))
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder), world) as store:
            registry = Registry()
            registry.configure(machines)
            await store.write(lambda tx: register_printers(tx, farm_settings(Path(folder), printers=machines)))
            for machine in machines:
                await store.write(lambda tx, name=machine.id: printing.clear_bed(tx, name, "bench"))
                registry.see(machine.id, Live("idle", True))
            for number in range(PLATES // 5):
                await store.write(lambda tx, n=number: making.queued(tx, 4, 4, 4, 4, 4, color=COLORS[n % len(COLORS)]))
            with store.engine.connect() as connection:
                rows_ms, plates = timed(lambda: plate_views(connection, world.now()))
                sight_ms, printers = timed(lambda: printer_views(connection, registry))
                all_free, matches = timed(lambda: assign(plates, printers))
                one_free, _ = timed(lambda: assign(plates, [printers[0], *(_busy(view) for view in printers[1:])]))
                why_ms, _ = timed(lambda: why(connection, registry, plates[-1].job_id, world.now()))
    print(f"plates from rows    {rows_ms:7.1f} ms  ({len(plates)} plates)")
    print(f"printers from rows  {sight_ms:7.1f} ms  ({len(printers)} printers)")
    print(f"assign, all free    {all_free:7.1f} ms  ({len(matches)} matches)")
    print(f"assign, one free    {one_free:7.1f} ms")
    print(f"why, from rows      {why_ms:7.1f} ms")


def _busy(view: Any) -> Any:
    from dataclasses import replace

    return replace(view, holding="att-1", idle=False, phase="printing", bed="occupied")


if __name__ == "__main__":
    asyncio.run(main())
