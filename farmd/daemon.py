"""The composition root: builds every room, runs them under one roof, and takes them down again. Nothing else builds rooms.

Crash-only: there is no shutdown work that matters. Starting is recovering, and recovering is looking at the rows and the printers.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from farmd.api.app import Rooms, create_app
from farmd.backups.hourly import TICK, Backups
from farmd.backups.migrating import bring_up_to_date, cure
from farmd.config import Settings
from farmd.dashboard import pages
from farmd.domain.ports import World
from farmd.equipment import equipped
from farmd.events.addresses import Policy
from farmd.events.feed import Feed
from farmd.events.webhooks import Courier
from farmd.fleet.dispatcher import Dispatcher
from farmd.fleet.drivers import load_factories
from farmd.fleet.fleet import Fleet
from farmd.fleet.registry import Registry
from farmd.fleet.staging import Staging
from farmd.logs import configure as configure_logs
from farmd.notify import Notifier
from farmd.ownership import AlreadyOwned, owned
from farmd.payments.build import Payments, build_payments
from farmd.payments.expiry import expire_unpaid
from farmd.pipeline.slice import SliceService
from farmd.pipeline.slicers.prusa import PrusaSlicer
from farmd.pipeline.validate import validate_model
from farmd.pipeline.worker import Worker
from farmd.shipped import shipped_config
from farmd.store import making, restored, retention
from farmd.store.engine import Store, StoreDamaged, StoreFailed, open_engine, quick_check
from farmd.store.files import sweep_incoming
from farmd.store.till import unfinished as unfinished_orders
from farmd.timers import Timers
from farmd.world import SystemWorld

GRACE = 2  # seconds an open connection gets at shutdown
STUCK_AFTER = 120.0  # seconds without a turn of the pipeline or the dispatcher, which look every 30 s at the latest
BEAT = 10.0  # seconds between signs of life when systemd does not say otherwise
log = structlog.get_logger()


@dataclass(slots=True)
class _Farm:
    """Every room of a running daemon."""

    world: World
    store: Store
    registry: Registry
    fleet: Fleet
    payments: Payments
    worker: Worker
    dispatcher: Dispatcher
    courier: Courier
    feed: Feed
    backups: Backups | None
    timers: Timers
    server: uvicorn.Server


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the daemon decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class CannotStart(Exception):
    """Why the daemon does not come up, in words for the person at the terminal."""


def serve(settings: Settings, reload: Callable[[], Settings] | None = None) -> int:
    """Run the farm until SIGTERM or SIGINT; 0 after a clean stop. `reload` is called on SIGHUP and gives the new settings, of which
    the printers are taken over. Raises `CannotStart`."""
    configure_logs()
    try:
        settings = equipped(settings)
    except ValueError as error:  # a profile, or a printer it does not fit
        raise CannotStart(str(error)) from error
    data = _data_directory(settings)
    try:
        with owned(data):
            asyncio.run(_run(settings, reload))
    except AlreadyOwned as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"{data}: {error.strerror or error}") from error
    return 0


def _data_directory(settings: Settings) -> Path:
    if settings.store_url.startswith("sqlite:///"):
        return Path(settings.store_url.removeprefix("sqlite:///")).parent
    return settings.files


async def _run(settings: Settings, reload: Callable[[], Settings] | None) -> None:
    listener = _listen(settings)
    world = SystemWorld()
    store = await _open_store(settings, world)
    await asyncio.to_thread(sweep_incoming, settings.files)
    try:
        if (mark := await store.write(restored.distrust)) is not None:
            log.warning("farmd.restored", made_at=str(mark.made_at), cure="look at every printer, then clear its bed")
        farm = _build(settings, store, world)
        await _live(farm, settings, listener, reload)
    finally:
        listener.close()
        await store.close()


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # the protocol is named because asyncio looks at it: without it Nagle's algorithm stays on and an answer takes 40 ms
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; choose another [server] port"
        ) from error
    return listener


async def _open_store(settings: Settings, world: World) -> Store:
    try:
        engine = open_engine(settings.store_url)
    except StoreFailed as error:
        raise CannotStart(str(error)) from error
    try:
        path = Path(settings.store_url.removeprefix("sqlite:///")) if settings.store_url.startswith("sqlite") else None
        await asyncio.to_thread(quick_check, engine, path)
        await asyncio.to_thread(bring_up_to_date, settings, engine, world.now())
    except StoreDamaged as error:
        engine.dispose()
        raise CannotStart(f"{error}. {cure(settings)}") from error
    except StoreFailed as error:
        engine.dispose()
        raise CannotStart(str(error)) from error
    return Store(engine, world)


def _build(settings: Settings, store: Store, world: World) -> _Farm:
    registry = Registry()
    slices_folder = settings.files / "sliced"
    slicer = PrusaSlicer(settings.slicer.command)
    try:
        slices = SliceService(
            slicer,
            slices_folder,
            settings.profiles or shipped_config() / "profiles",
            settings.slicer.workers,
            cache_bytes=settings.slicer.cache_bytes,
            pinned=lambda: _pinned(store),
        )
        policy = Policy.of(settings)
        payments = build_payments(settings, store, world)
    except ValueError as error:  # a profile or an address in the settings that cannot be
        raise CannotStart(str(error)) from error
    fleet = Fleet(store, world, registry, Staging(slices_folder), load_factories(), settings.machines)
    feed = Feed(store)
    hourly = settings.backup.every_hours > 0 and settings.store_url.startswith("sqlite:///")
    backups = Backups(settings, world) if hourly else None
    rooms = Rooms(
        settings=settings,
        store=store,
        world=world,
        registry=registry,
        feed=feed,
        validate=validate_model,
        ready=fleet.supervised,
        payments=payments.provider,
        desk=payments.stripe,
        backups=backups,
    )
    return _Farm(
        world=world,
        store=store,
        registry=registry,
        fleet=fleet,
        payments=payments,
        worker=Worker(store, world, slices, settings.files / "geometry", registry.settings),
        dispatcher=Dispatcher(store, world, registry),
        courier=Courier(store, world, policy),
        feed=feed,
        backups=backups,
        timers=Timers(world),
        server=_server(rooms),
    )


def _server(rooms: Rooms) -> _Server:
    config = uvicorn.Config(
        create_app(rooms, pages.router),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE,
        lifespan="off",
        ws="none",
        server_header=False,
    )
    return _Server(config)


def _pinned(store: Store) -> frozenset[str]:
    with store.engine.connect() as connection:
        return making.pinned_artifacts(connection)


async def _live(farm: _Farm, settings: Settings, listener: socket.socket, reload: Callable[[], Settings] | None) -> None:
    loop, stop, hangup, notifier = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event(), Notifier()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    try:
        await farm.fleet.apply(settings)
    except ValueError as error:
        raise CannotStart(str(error)) from error
    _set_timers(farm, settings)
    async with asyncio.TaskGroup() as tasks:
        forever = [
            tasks.create_task(farm.worker.run(), name="pipeline"),
            tasks.create_task(farm.dispatcher.run(), name="dispatch"),
            tasks.create_task(farm.courier.run(), name="courier"),
            tasks.create_task(_reload_on(hangup, farm, reload), name="reload"),
            tasks.create_task(_stay_alive(farm, notifier), name="watchdog"),
        ]
        if farm.payments.stripe is not None:
            forever.append(tasks.create_task(farm.payments.stripe.till.run(), name="till"))
            forever.append(tasks.create_task(farm.payments.stripe.inbox.run(), name="inbox"))
        elif unfinished := await farm.store.read(unfinished_orders):
            log.warning("payments.unfinished", orders=unfinished, cure="leave [payments.stripe] in place until they ended")
        serving = tasks.create_task(farm.server.serve(sockets=[listener]), name="api")
        log.info("farmd.started", url=f"http://{settings.host}:{settings.port}", printers=len(settings.printers))
        await stop.wait()
        notifier.send("STOPPING=1", "STATUS=stopping; running prints go on")
        log.info("farmd.stopping")
        farm.server.should_exit = True
        farm.feed.close()
        farm.timers.stop()
        for task in forever:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(farm.fleet.close(), serving, return_exceptions=True), GRACE + 1)
        if farm.payments.stripe is not None:
            await farm.payments.stripe.api.close()


def _set_timers(farm: _Farm, settings: Settings) -> None:
    """Everything that happens by the clock; what is due stands in the rows."""
    timers, desk, hours = farm.timers, farm.payments.stripe, settings.unpaid_hours
    timers.every(3600, "forget", lambda: farm.store.write(retention.forget))
    if desk is not None:
        timers.every(desk.sweep_seconds, "sweep", desk.sweep.round, at_once=True)
    if hours is not None:
        timers.every(300, "unpaid", lambda: expire_unpaid(farm.store, farm.world, farm.payments.provider, hours), at_once=True)
    if farm.backups is not None:
        timers.every(TICK, "backup", farm.backups.tick, at_once=True)
    timers.start()


async def _reload_on(hangup: asyncio.Event, farm: _Farm, reload: Callable[[], Settings] | None) -> None:
    """Take over the printers of a changed configuration; a broken one changes nothing."""
    while True:
        await hangup.wait()
        hangup.clear()
        if reload is None:
            continue
        try:
            await farm.fleet.apply(equipped(reload()))
            log.info("farmd.reloaded", printers=len(farm.registry.settings()))
        except (ValueError, StoreFailed) as error:
            log.error("farmd.reload_refused", why=str(error))


async def _stay_alive(farm: _Farm, notifier: Notifier) -> None:
    """Say READY once the door is open and every printer has its supervisor, then feed the watchdog while the farm answers."""
    beat = (notifier.watchdog_seconds() or 2 * BEAT) / 2
    ready = False
    while True:
        if farm.server.started and await _turns(farm):
            words = f"STATUS={len(farm.registry.settings())} printers supervised"
            notifier.send(*(["WATCHDOG=1"] if ready else ["READY=1"]), words)
            ready = True
        await asyncio.sleep(beat if ready else 0.05)


async def _turns(farm: _Farm) -> bool:
    """Whether the store answers, every printer has its supervisor, and the farm's loops come round."""
    try:
        await farm.store.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
    except StoreFailed as error:
        log.error("farmd.store_does_not_answer", error=str(error))
        return False
    loops = [farm.worker.turned_at, farm.dispatcher.turned_at]
    if farm.payments.stripe is not None:
        loops.append(farm.payments.stripe.till.turned_at)
    oldest = min(loops)
    return farm.fleet.supervised() and farm.world.monotonic() - oldest < STUCK_AFTER
