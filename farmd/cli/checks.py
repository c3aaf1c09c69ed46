"""What `farmd doctor` looks at, one async function per part of the farm. Nothing is changed on the way.

Each yields a `Finding` per step and stops at the first failed one of its chain, because the steps after it would only echo it.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from farmd.backups.hourly import kept_backups
from farmd.config import PrinterSettings, Settings
from farmd.domain.model import Size
from farmd.domain.slicing import PrinterClass, SliceOptions, SliceRejected
from farmd.fleet.drivers import load_factories
from farmd.pipeline.profiles import ProfileError, Profiles, load_profiles
from farmd.pipeline.slicers.prusa import PrusaSlicer
from farmd.store.engine import StoreFailed, open_engine, quick_check
from farmd.store.schema import check, newest, revision
from farmd.world import SystemWorld

FREE_BYTES = 1_000_000_000
EXAMINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was looked at, whether it holds, and the figure or the cure."""

    area: str
    step: str
    ok: bool
    detail: str


async def check_store(settings: Settings) -> AsyncIterator[Finding]:
    """Place, integrity, schema, room on the disk."""
    database = Path(settings.store_url.removeprefix("sqlite:///")) if settings.store_url.startswith("sqlite") else None
    if database is not None:
        place = _writable(database) if database.exists() else _can_be_made(database)
        yield Finding("store", "place", place is None, place or f"{database} can be written")
        if place is not None:
            return
    if database is None or database.exists():
        finding = await asyncio.to_thread(_look_inside, settings.store_url, database)
        yield finding
        if not finding.ok:
            return
    else:
        yield Finding("store", "schema", True, "no store yet: the first start makes it")
    folder = _existing(settings.files)
    place = _can_be_made(settings.files / "anything")
    yield Finding("store", "files", place is None, place or f"{settings.files} can be written")
    for name, where in {"data": _existing(database.parent) if database else folder, "files": folder}.items():
        free = shutil.disk_usage(where).free
        cure = "" if free >= FREE_BYTES else ": free at least 1 GB, or farmd will refuse work half-way"
        yield Finding("store", f"disk for {name}", free >= FREE_BYTES, f"{free / 1e9:.1f} GB free{cure}")


async def check_backups(settings: Settings) -> AsyncIterator[Finding]:
    """Where backups go, and how old the newest is."""
    folder, every = settings.backup.folder, timedelta(hours=settings.backup.every_hours)
    if not every or not settings.store_url.startswith("sqlite:///"):
        yield Finding("backup", "hourly", True, "none are made by the clock: farmd backup FILE makes one")
        return
    place = _writable(folder) if folder.exists() else _can_be_made(folder)
    beside = _existing(folder).stat().st_dev == _existing(settings.files).stat().st_dev
    words = f"{folder} can be written" + ("; it is on the farm's own disk: carry backups elsewhere" if beside else "")
    yield Finding("backup", "folder", place is None, place or words)
    if not (kept := kept_backups(folder)):
        yield Finding("backup", "newest", True, "none yet: the daemon makes the first when it starts")
        return
    made_at, file = kept[0]
    age = SystemWorld().now() - made_at
    old = age > 2 * every + timedelta(minutes=30)
    cure = ": if farmd ran meanwhile, its log says why (backup.failed)" if old else ""
    yield Finding("backup", "newest", not old, f"{file.name}, {age.total_seconds() / 3600:.1f} hours old{cure}")


def _existing(folder: Path) -> Path:
    """The nearest folder above that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _writable(path: Path) -> str | None:
    if os.access(path, os.W_OK) and os.access(path if path.is_dir() else path.parent, os.W_OK | os.X_OK):
        return None
    return f"{path} cannot be written: give it to the user farmd runs as (chown, chmod u+w)"


def _can_be_made(path: Path) -> str | None:
    """What keeps a file and the folders above it from being made."""
    above = _existing(path.parent)
    return _writable(above) if above.is_dir() else f"{above} is no folder, so {path} cannot be made: name another place"


def _look_inside(url: str, database: Path | None) -> Finding:
    try:
        engine = open_engine(url)
    except StoreFailed as error:
        return Finding("store", "schema", False, str(error))
    try:
        quick_check(engine, database)
        check(engine)
        current = revision(engine)
        migrated = current == newest()
        words = (
            f"revision {current}" if migrated else f"revision {current or 'none'}, will be migrated to {newest()} at the next start"
        )
        return Finding("store", "schema", True, words)
    except StoreFailed as error:
        return Finding("store", "schema", False, str(error))
    finally:
        engine.dispose()


async def check_door(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the API can listen, or farmd listens already."""
    where = f"{settings.host}:{settings.port}"
    try:
        with socket.create_server((settings.host, settings.port), reuse_port=False):
            pass
    except OSError as error:
        running = await _farmd_answers(settings)
        cure = f"{where}: {error.strerror}; choose another [server] port or host"
        yield Finding("server", "listen", running, f"farmd runs at {where}" if running else cure)
        return
    yield Finding("server", "listen", True, f"{where} is free")


async def _farmd_answers(settings: Settings) -> bool:
    import httpx

    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            return (await client.get(f"http://{host}:{settings.port}/healthz")).is_success
    except httpx.HTTPError:
        return False


async def check_slicer(settings: Settings) -> AsyncIterator[Finding]:
    """That the slicer starts and says which it is."""
    version = await PrusaSlicer(settings.slicer.command).probe()
    cure = (
        f"{settings.slicer.command} does not run: apt-get install prusa-slicer, or correct [slicer] command; jobs wait until then"
    )
    yield Finding("slicer", "version", version is not None, str(version) if version else cure)


async def check_profiles(settings: Settings) -> AsyncIterator[Finding]:
    """That the profiles load, and that each printer's profile and material are among them."""
    try:
        profiles = load_profiles(settings.profiles)
    except (ProfileError, OSError) as error:
        yield Finding("profiles", "folder", False, str(error))
        return
    yield Finding("profiles", "folder", True, f"{len(profiles.machines)} in {settings.profiles}")
    for printer in settings.printers:
        fault = _profile_fault(profiles, printer)
        fits = f"{printer.profile}, {printer.nozzle:g} mm, {printer.material or 'no material'}"
        yield Finding("profiles", printer.id, fault is None, fault or fits)


def _profile_fault(profiles: Profiles, printer: PrinterSettings) -> str | None:
    if printer.material is not None and printer.material not in profiles.materials:
        return f"no profile for material {printer.material}; known are {', '.join(sorted(profiles.materials))}"
    options = SliceOptions(quality="standard", infill=20, material=printer.material or "PLA", color=printer.color or "#1a1a1a")
    try:
        profiles.recipe(options, PrinterClass(printer.profile, Size(*printer.bed), printer.nozzle, printer.machine))
    except SliceRejected as error:
        return str(error)
    return None


async def check_payments(settings: Settings) -> AsyncIterator[Finding]:
    """That money can come in, and be given back."""
    if settings.payment_provider == "manual":
        yield Finding("payments", "provider", True, "manual: you say when money has arrived")
        return
    if settings.stripe is None:
        yield Finding("payments", "key", False, "[payments.stripe] api_key is missing: the provider is stripe")
        return
    from farmd.payments.examine import examine_stripe  # Stripe's library is loaded where money goes through Stripe

    async for step in examine_stripe(settings.stripe, settings.currency):
        yield Finding("payments", step.name, step.ok, step.detail)


async def check_printer(printer: PrinterSettings, folder: Path) -> Sequence[Finding]:
    """The driver's own examination of one machine, in bounded time."""
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(EXAMINE_SECONDS):
            async for step in load_factories()[printer.driver].examine(printer.id, printer.options, folder):
                findings.append(Finding(printer.id, step.name, step.ok, step.detail))  # noqa: PERF401 - kept when a later step hangs
    except TimeoutError:
        cure = f"the examination was not done after {EXAMINE_SECONDS:.0f} s: restart the machine's server"
        findings.append(Finding(printer.id, "examination", False, cure))
    except Exception as error:  # a driver somebody else wrote must not end the doctor's round
        findings.append(Finding(printer.id, "examination", False, f"the driver {printer.driver} failed: {error!r}"))
    return findings
