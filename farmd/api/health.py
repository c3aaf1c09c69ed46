"""Signs of life: for whoever restarts the daemon, for whoever sends it traffic, and for Prometheus. None needs a key, none tells a
secret or a customer's name."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from farmd.api.answers import answer
from farmd.api.problems import Problem
from farmd.api.rooms import Rooms
from farmd.domain.lifecycle import AttemptState, JobState, OrderStatus
from farmd.store.engine import StoreFailed
from farmd.store.figures import Figures, alive, figures, write_something
from farmd.store.views import iso

router = APIRouter(tags=["health"])
PATIENCE = 5.0  # seconds in which a healthy store answers


@router.get("/healthz")
async def healthz() -> Response:
    """The process turns."""
    return answer(200, {"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The store reads and writes, and every configured printer has its supervisor."""
    rooms: Rooms = request.app.state.rooms
    try:
        async with asyncio.timeout(PATIENCE):
            await rooms.store.read(alive)
            await rooms.store.write(write_something)
    except (TimeoutError, StoreFailed) as error:
        raise _not_ready("store", str(error) or f"the store did not answer within {PATIENCE:g} seconds") from error
    if not rooms.ready():
        raise _not_ready("printers", "not every printer has its supervisor yet")
    return answer(200, {"status": "ready"} | await asyncio.to_thread(_backups, rooms))


def _backups(rooms: Rooms) -> dict[str, Any]:
    """Whether the backups still work. One that fails does not make a farm unready: orders are taken and printed all the same."""
    if rooms.backups is None:
        return {}
    return {"backup": {"lastSuccess": iso(rooms.backups.last_success), "failure": rooms.backups.failure}}


def _not_ready(part: str, detail: str) -> Problem:
    return Problem(503, "not_ready", detail, [{"pointer": part, "detail": detail}], headers={"Retry-After": "2"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """The farm in Prometheus' text format."""
    rooms: Rooms = request.app.state.rooms
    registry = CollectorRegistry()
    registry.register(_Farm(rooms, await rooms.store.read(figures)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Farm(Collector):
    """One scrape."""

    def __init__(self, rooms: Rooms, counted: Figures) -> None:
        self._rooms, self._counted = rooms, counted

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        counted = self._counted
        yield _gauge("farmd_orders", "Orders by status", "status", _all(OrderStatus, counted.orders))
        yield _gauge("farmd_jobs", "Jobs by state", "state", _all(JobState, counted.jobs))
        yield _gauge("farmd_attempts", "Attempts by state", "state", _all(AttemptState, counted.attempts))
        yield _gauge("farmd_printers", "Printers by phase", "phase", self._phases())
        pending = GaugeMetricFamily("farmd_deliveries_pending", "Webhook deliveries on their way")
        pending.add_metric([], counted.deliveries.get("PENDING", 0))
        yield pending
        dead = GaugeMetricFamily("farmd_deliveries_dead", "Webhook deliveries given up")
        dead.add_metric([], counted.deliveries.get("DEAD", 0))
        yield dead
        yield from self._prints()
        failures = CounterMetricFamily("farmd_store_commit_failures", "Commits the store did not take since the start")
        failures.add_metric([], self._rooms.store.commit_failures)
        yield failures
        yield from self._backups()

    def _backups(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """When a backup was last made; 0 before the first, so that an alarm on its age rings for a farm that never made one."""
        if (backups := self._rooms.backups) is None:
            return
        last = backups.last_success
        made = GaugeMetricFamily("farmd_backup_last_success_timestamp_seconds", "When the newest backup was made")
        made.add_metric([], last.timestamp() if last else 0.0)
        yield made
        failed = CounterMetricFamily("farmd_backup_failures", "Backups that failed since the start")
        failed.add_metric([], backups.failures)
        yield failed

    def _prints(self) -> Iterator[GaugeMetricFamily]:
        """What is on the machines now; a series ends with its print."""
        labels = ["printer", "attempt"]
        still = GaugeMetricFamily("farmd_print_still_seconds", "Seconds for which a print has not moved on", labels=labels)
        lines = GaugeMetricFamily("farmd_print_lines", "Lines of a serial print that its printer has taken", labels=labels)
        resent = GaugeMetricFamily("farmd_print_resent_lines", "Lines of a serial print that had to be sent again", labels=labels)
        stutter = GaugeMetricFamily("farmd_print_stutter_seconds", "Seconds in which a printer's planner ran empty", labels=labels)
        for printer_id in self._rooms.registry.settings():
            live = self._rooms.registry.live(printer_id)
            names = [printer_id, live.attempt_id or ""]
            if live.attempt_id and live.still is not None:
                still.add_metric(names, live.still)
            if live.attempt_id and (wire := live.wire) is not None:
                lines.add_metric(names, wire.lines)
                resent.add_metric(names, wire.resent)
                if wire.stutter is not None:
                    stutter.add_metric(names, wire.stutter)
        yield from (still, lines, resent, stutter)

    def _phases(self) -> Mapping[str, int]:
        registry = self._rooms.registry
        return Counter(registry.live(printer_id).phase for printer_id in registry.settings())


def _all(states: type[StrEnum], counted: Mapping[str, int]) -> dict[str, int]:
    """Every state, also those that nothing is in: a series must not appear and vanish."""
    return {state.value: counted.get(state.value, 0) for state in states}


def _gauge(name: str, help_text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
