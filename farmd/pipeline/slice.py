"""From a validated geometry to a plate ready to print: lay out, slice, check, keep.

A plate is named by everything that goes into it, so the same order twice is sliced once: today from the cache, and in
this very moment by sharing the one run. Nothing leaves this room that has not passed the G-code gate.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import structlog

from farmd.domain.model import Size
from farmd.domain.slicing import (
    Artifact,
    Estimate,
    Extent,
    Placement,
    PrinterClass,
    SliceOptions,
    SliceRejected,
    SlicerFailed,
    SlicerUnavailable,
)
from farmd.pipeline.artifact_cache import ArtifactCache
from farmd.pipeline.gate import Expected, check_gcode
from farmd.pipeline.mesh import Mesh, MeshError, load_mesh
from farmd.pipeline.plate import layout, usable
from farmd.pipeline.printable import printable_height, skin_area
from farmd.pipeline.profiles import Recipe, load_profiles
from farmd.pipeline.project_file import SUFFIX, Project, write_project
from farmd.pipeline.project_gate import check_project
from farmd.pipeline.project_gcode import Promise
from farmd.pipeline.slicers.engine import Engine, EngineVersion, Figures
from farmd.pipeline.slicers.plate_file import write_plate

REVISION = 1  # raise it when the plate file, the layout or the gate changes what a given input becomes
PROJECT_REVISION = 1  # the same for project files
CACHE_BYTES = 20 << 30
SLICING_SHARE = 0.9  # of the progress told; the rest is checking and keeping

Plate = tuple[Artifact, Path]
Progress = Callable[[float], None]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Order:
    """One plate as it was asked for, with all that its name is made of."""

    geometry: Path
    geometry_sha: str
    size: Size
    volume_mm3: float
    recipe: Recipe
    options: SliceOptions
    cls: PrinterClass
    placements: tuple[Placement, ...]
    engine: EngineVersion

    @property
    def key(self) -> str:
        parts: dict[str, object] = {
            "revision": REVISION,
            "geometry": self.geometry_sha,
            "settings": hashlib.sha256(self.recipe.ini().encode()).hexdigest(),
            "layout": [[spot.x, spot.y, spot.rotation_deg] for spot in self.placements],
            "engine": str(self.engine),
        }
        if self.cls.machine:
            parts["project"] = [PROJECT_REVISION, self.cls.machine, self.options.material, self.options.color]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(slots=True)
class _Flight:
    """One run that several requests wait for."""

    task: "asyncio.Task[Plate]"
    waiters: int = 0


@dataclass(slots=True)
class _Audience:
    """Everybody who wants to hear of a run's progress. One bad listener must not harm the others' plate."""

    listeners: list[Progress] = field(default_factory=list)

    def tell(self, share: float) -> None:
        for listener in self.listeners:
            try:
                listener(share)
            except Exception:  # supervised edge: a listener is somebody else's code
                log.exception("progress_listener_failed")


class SliceService:
    """Makes plates, each at most once, at most `workers` at a time. One service per `cache_dir`.

    Raises ProfileError when `profiles_dir` cannot be used. `pinned` names the artifact keys that must not be evicted.
    """

    def __init__(
        self,
        engine: Engine,
        cache_dir: Path,
        profiles_dir: Path,
        workers: int,
        *,
        cache_bytes: int = CACHE_BYTES,
        pinned: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._engine = engine
        self._profiles = load_profiles(profiles_dir)
        self._cache = ArtifactCache(cache_dir, cache_bytes, pinned)
        self._slots = asyncio.Semaphore(workers)
        self._flights: dict[str, tuple[_Flight, _Audience]] = {}

    async def artifact(
        self,
        geometry: Path,
        geometry_sha: str,
        model_size: Size,
        mesh_volume: float,
        options: SliceOptions,
        cls: PrinterClass,
        copies: int,
        on_progress: Progress | None = None,
    ) -> Plate:
        """The plate of `copies` parts for printers of class `cls`, and the path of its file: G-code, or a project file where
        the class is of machines that take nothing else.

        `mesh_volume` is in mm3; `on_progress` hears 0 to 1. The path is good until the entry is evicted: whoever needs
        it later pins the key or asks again. Cancelling is safe: the slicer dies with its last waiter.
        Raises SliceRejected (GateRefused is one) for good, SlicerUnavailable when jobs must wait, SlicerFailed when
        another try may help.
        """
        recipe = self._profiles.recipe(options, cls)
        placements = layout(model_size, copies, cls)
        if placements is None:
            raise _does_not_fit(model_size, copies, cls)
        engine = await self._engine.probe()
        if engine is None:
            raise SlicerUnavailable("no slicer is installed: install prusa-slicer, or correct [slicer] command")
        order = _Order(geometry, geometry_sha, model_size, mesh_volume, recipe, options, cls, placements, engine)
        return await self._share(order, on_progress)

    async def _share(self, order: _Order, on_progress: Progress | None) -> Plate:
        """Join the run already under way for this key, or start it; the last waiter to leave ends it."""
        key = order.key
        if key not in self._flights:
            audience = _Audience()
            task = asyncio.create_task(self._obtain(order, key, audience.tell), name=f"slice {key[:12]}")
            task.add_done_callback(lambda done: self._land(key, done))
            self._flights[key] = (_Flight(task), audience)
        flight, audience = self._flights[key]
        if on_progress is not None:
            audience.listeners.append(on_progress)
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if on_progress is not None:
                audience.listeners.remove(on_progress)
            if flight.waiters == 0 and not flight.task.done():
                self._forget(key, flight.task)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    def _land(self, key: str, task: "asyncio.Task[Plate]") -> None:
        self._forget(key, task)
        if not task.cancelled():
            task.exception()  # its waiters have heard it; asyncio need not complain when there are none left

    def _forget(self, key: str, task: "asyncio.Task[Plate]") -> None:
        if key in self._flights and self._flights[key][0].task is task:
            del self._flights[key]

    async def _obtain(self, order: _Order, key: str, tell: Progress) -> Plate:
        try:
            plate = await asyncio.to_thread(self._cache.find, key)
            if plate is None:
                async with self._slots:
                    plate = await self._make(order, key, tell)
        except OSError as error:
            raise SlicerFailed(f"slicing could not use the disk: {error}; free some space, then retry") from error
        tell(1.0)
        return plate

    async def _make(self, order: _Order, key: str, tell: Progress) -> Plate:
        work = self._cache.work_directory(key)
        plate, settings, gcode = work / "plate.3mf", work / "settings.ini", work / "plate.gcode"
        try:
            expected = await asyncio.to_thread(_prepare, order, plate, settings)
            try:
                figures = await self._engine.slice(plate, settings, gcode, lambda done: tell(done * SLICING_SHARE))
                extent = await asyncio.to_thread(check_gcode, gcode, expected)
                file = await asyncio.to_thread(_packed, order, gcode, figures, extent)
            except SliceRejected as rejection:
                log.info("plate_rejected", key=key, code=rejection.code, detail=rejection.detail)
                with suppress(OSError):  # a full disk must not hide the answer
                    await asyncio.to_thread(self._cache.reject, key, rejection)
                raise
            estimate = Estimate(figures.seconds, figures.filament_grams, figures.filament_mm, order.size.z)
            return await asyncio.to_thread(
                self._cache.publish,
                key,
                file,
                estimate=estimate,
                copies=len(order.placements),
                bbox=extent,
                engine=str(order.engine),
            )
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _prepare(order: _Order, plate: Path, settings: Path) -> Expected:
    """Write what the slicer reads. Raises SliceRejected when the geometry file is damaged, OSError."""
    try:
        mesh = load_mesh(order.geometry)
    except (MeshError, FileNotFoundError) as error:
        detail = f"the geometry of this model cannot be read: {error}"
        raise SliceRejected("geometry_damaged", detail, "Upload the model again.") from error
    write_plate(plate, mesh, order.size, order.placements)
    settings.write_text(order.recipe.ini(), encoding="utf-8")
    return _expected(order, mesh)


def _packed(order: _Order, gcode: Path, figures: Figures, extent: Extent) -> Path:
    """The file the printer takes. Raises GateRefused, OSError."""
    machine, recipe = order.cls.made_for, order.recipe
    if machine is None:
        return gcode
    project = Project(
        machine=machine,
        nozzle=order.cls.nozzle,
        bed=order.cls.bed,
        size=order.size,
        placements=order.placements,
        material=order.options.material,
        color=order.options.color,
        promise=Promise(
            seconds=figures.seconds,
            filament_mm=figures.filament_mm,
            filament_grams=figures.filament_grams,
            density=recipe.number("filament_density"),
            diameter=recipe.number("filament_diameter"),
            height=extent.max_z,
        ),
        extent=extent,
        settings=recipe.settings,
    )
    path = gcode.with_name(f"plate{SUFFIX}")
    write_project(path, gcode, project)
    check_project(path, gcode, project)
    return path


def _expected(order: _Order, mesh: Mesh) -> Expected:
    recipe = order.recipe
    layer, nozzle = recipe.number("layer_height"), order.cls.nozzle
    walls = recipe.number("perimeters", 3) * nozzle * 1.2
    floors = max(recipe.number("top_solid_layers", 3), recipe.number("bottom_solid_layers", 3)) * layer
    return Expected(
        height=order.size.z,
        least_height=printable_height(mesh, nozzle, layer),
        copies=len(order.placements),
        volume_mm3=order.volume_mm3,
        area_mm2=skin_area(mesh),
        infill=order.options.infill / 100,
        layer_height=layer,
        skin=max(walls, floors, recipe.number("top_solid_min_thickness"), recipe.number("bottom_solid_min_thickness")),
        nozzle=nozzle,
        filament_diameter=recipe.number("filament_diameter"),
        flow=recipe.number("extrusion_multiplier", 1),
        bed=order.cls.bed,
        nozzle_max_c=recipe.material.nozzle_max_c,
        bed_max_c=recipe.material.bed_max_c,
        reach=order.cls.made_for.reach if order.cls.made_for else None,
    )


def _does_not_fit(size: Size, copies: int, cls: PrinterClass) -> SliceRejected:
    parts = "1 part" if copies == 1 else f"{copies} parts"
    detail = f"{parts} of {size} do not fit the {usable(cls.bed)} usable on a {cls.key}"
    return SliceRejected("does_not_fit", detail, "Choose a smaller part, a larger printer, or fewer copies.")
