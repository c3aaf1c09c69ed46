"""From a paid line item to plates in the queue: take the model, check that some printer can make it, cut and slice.

Level-triggered over the job rows, so a restart goes on where the rows stand. Several jobs at a time, each its own task; a
cancelled job's slicer dies at once. What cannot be done now (no model, no slicer, no printer) is said on the job and tried again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from farmd.config import PrinterSettings
from farmd.domain.lifecycle import IllegalMove, JobSignal, JobState
from farmd.domain.model import Size
from farmd.domain.ports import World
from farmd.domain.slicing import PrinterClass, SliceOptions, SliceRejected, SlicerFailed, SlicerUnavailable
from farmd.pipeline.plate import capacity, split
from farmd.pipeline.profiles import ProfileError
from farmd.pipeline.slice import SliceService
from farmd.store import making
from farmd.store.engine import Conflict, Store, StoreFailed
from farmd.store.rows import Row
from farmd.store.work import units_without_plate

LOOK_AGAIN = 30.0
SLICER_TRIES = 3
log = structlog.get_logger()


class _Waits(Exception):
    """The job cannot go on now; the reason is for its owner."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class _Part:
    """What one copy is."""

    geometry: Path
    geometry_sha: str
    size: Size
    volume_mm3: float


def classes_of(printers: Sequence[PrinterSettings], profile: str | None) -> dict[PrinterClass, int]:
    """The kinds of printers that may make a job, with how many there are of each."""
    counted: dict[PrinterClass, int] = {}
    for printer in printers:
        if profile in (None, printer.profile):
            kind = PrinterClass(printer.profile, Size(*printer.bed), printer.nozzle, printer.machine)
            counted[kind] = counted.get(kind, 0) + 1
    return counted


def roomy(counted: Mapping[PrinterClass, int], size: Size) -> dict[PrinterClass, int]:
    """The kinds with room for a part, and how many copies each takes at once; the most common kind first, and of equally common
    ones that with the least room: the others take its plates too."""
    room = {kind: capacity(size, kind) for kind in counted}
    ranked = sorted(counted, key=lambda kind: (-counted[kind], room[kind], kind.key))
    return {kind: room[kind] for kind in ranked if room[kind] > 0}


class Worker:
    """Runs for ever; `run` returns only when cancelled."""

    def __init__(
        self,
        store: Store,
        world: World,
        slices: SliceService,
        geometry: Path,
        printers: Callable[[], Mapping[str, PrinterSettings]],
    ) -> None:
        self._store, self._world, self._slices = store, world, slices
        self._geometry, self._printers = geometry, printers
        self.turned_at = world.monotonic()  # when the loop last came round, for the watchdog
        self._bell = store.watch("jobs")
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._tries: dict[str, int] = {}

    async def run(self) -> None:
        """Start what can be started, drop what was cancelled, wait for the next change."""
        try:
            while True:
                self.turned_at = self._world.monotonic()
                try:
                    await self._look()
                except StoreFailed as error:
                    log.error("pipeline.store_failed", error=str(error))
                await self._bell.wait(LOOK_AGAIN)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self) -> None:
        preparing = {row["id"]: row for row in await self._store.read(making.to_prepare)}
        lacking = {row["id"]: row for row in await self._store.read(making.to_replan)}
        wanted = preparing | lacking
        for job_id, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[job_id]
                if not task.cancelled() and (error := task.exception()) is not None:
                    log.error("job.not_written_down", job=job_id, error=str(error))  # the row stands as it was; it is tried again
            elif job_id not in wanted:
                task.cancel()
        for job_id, job in wanted.items():
            if job_id not in self._tasks:
                self._tasks[job_id] = asyncio.create_task(self._supervised(job), name=f"prepare {job_id}")

    async def _supervised(self, job: Row) -> None:
        words = log.bind(job=job["id"], order=job["order_id"])
        try:
            await self._prepare(job)
            self._tries.pop(job["id"], None)
        except _Waits as wait:
            await self._hold(job, wait.code, wait.detail)
        except SlicerUnavailable as error:
            await self._hold(job, "no_slicer", str(error))
        except SlicerFailed as error:
            words.warning("job.slicer_failed", error=str(error))
            await self._slicer_failed(job, str(error))
        except SliceRejected as error:
            await self._refuse(job, error.code, error.detail, error.cure)
        except ProfileError as error:
            await self._refuse(job, "profile", str(error), "Mend the profile, then retry the job.")
        except (Conflict, IllegalMove) as error:
            words.info("job.overtaken", why=str(error))
        except Exception:  # the supervised edge: one job must not stop the others
            words.exception("job.prepare_broke")
            await self._hold(job, "internal", "preparing this job broke; the log tells why. It is tried again.")

    async def _prepare(self, job: Row) -> None:
        state = JobState(job["state"])
        if state is JobState.CREATED:
            job = await self._store.write(lambda tx: making.step(tx, job["id"], JobSignal.VALIDATE))
            state = JobState.VALIDATING
        part = await self._part(job)
        kinds = self._kinds(job, part)
        if state is JobState.VALIDATING:
            job = await self._store.write(lambda tx: making.step(tx, job["id"], JobSignal.SLICE))
        missing = await self._store.read(lambda c: units_without_plate(c, job["id"]))
        plates = await self._cut(job, part, kinds, missing)
        await self._store.write(lambda tx: making.queue(tx, job["id"], plates))
        log.info("job.queued", job=job["id"], order=job["order_id"], plates=[plate.copies for plate in plates])

    async def _part(self, job: Row) -> _Part:
        """The validated model of this job."""
        model = await self._store.read(lambda c: making.model_of(c, job))
        if model is None:
            raise _Waits("model_missing", f"{job['sku_id']} has no model: upload one with PUT /api/skus/{job['sku_id']}/model")
        await self._store.write(lambda tx: making.pin_model(tx, job["id"], model["sha256"]))
        geometry = self._geometry / model["geometry_sha"]
        if not geometry.is_file():
            raise _Waits("model_lost", f"the geometry of {job['sku_id']} is gone from the disk: upload its model again")
        report = model["report"]
        return _Part(geometry, model["geometry_sha"], Size(**report["size"]), report["volume_mm3"])

    def _kinds(self, job: Row, part: _Part) -> dict[PrinterClass, int]:
        """What `roomy` says of the printers that may make this job. Raises `_Waits`, `SliceRejected` when it says nothing."""
        counted = classes_of(list(self._printers().values()), job["profile"])
        if not counted:
            needs = f"a printer with the profile {job['profile']}" if job["profile"] else "a printer"
            raise _Waits("no_printer", f"the farm has no such printer: add {needs} to the configuration")
        kinds = roomy(counted, part.size)
        if not kinds:
            detail = f"the part measures {part.size} and fits no printer of the farm"
            raise SliceRejected("does_not_fit", detail, "Make it smaller, split it, or add a larger printer; then retry or cancel.")
        return kinds

    async def _cut(self, job: Row, part: _Part, kinds: dict[PrinterClass, int], units: int) -> list[making.NewPlate]:
        """Plates for `units` copies: cut for the most common kind of printer, sliced for every kind that takes as many."""
        if units < 1:
            return []
        first = next(iter(kinds))
        sizes = split(units, kinds[first])
        sliced = {copies: await self._slice(job, part, kinds, copies) for copies in sorted(set(sizes))}
        return [making.NewPlate(copies, (part.size.x, part.size.y, part.size.z), sliced[copies]) for copies in sizes]

    async def _slice(self, job: Row, part: _Part, kinds: dict[PrinterClass, int], copies: int) -> dict[str, dict[str, object]]:
        options = SliceOptions(
            quality=job["options"].get("quality", "standard"),
            infill=int(job["options"].get("infill", 20)),
            material=job["material"],
            color=job["color"],
        )
        made = {}
        for kind in (kind for kind, room in kinds.items() if room >= copies):
            plate, _ = await self._slices.artifact(
                part.geometry, part.geometry_sha, part.size, part.volume_mm3, options, kind, copies
            )
            made[kind.key] = {
                "key": plate.key,
                "sha256": plate.sha256,
                "seconds": plate.estimate.seconds,
                "grams": plate.estimate.filament_grams,
            }
        return made

    async def _slicer_failed(self, job: Row, detail: str) -> None:
        self._tries[job["id"]] = self._tries.get(job["id"], 0) + 1
        if self._tries[job["id"]] < SLICER_TRIES:
            await self._hold(job, "slicer_failed", f"{detail}; it is tried again")
        else:
            del self._tries[job["id"]]
            await self._refuse(
                job, "slicer_failed", f"slicing failed {SLICER_TRIES} times: {detail}", "Then retry or cancel the job."
            )

    async def _hold(self, job: Row, code: str, detail: str) -> None:
        log.info("job.waits", job=job["id"], order=job["order_id"], code=code, detail=detail)
        await self._store.write(lambda tx: making.hold(tx, job["id"], code, detail))

    async def _refuse(self, job: Row, code: str, detail: str, cure: str) -> None:
        try:
            await self._store.write(lambda tx: making.refuse(tx, job["id"], code, detail, cure))
        except IllegalMove as error:
            log.info("job.overtaken", job=job["id"], why=str(error))
