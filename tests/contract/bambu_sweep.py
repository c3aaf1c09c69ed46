"""The fault sweep of the Bambu driver: every trouble, struck at every step of a print, on the real fleet and the real driver.

Run: PYTHONPATH=. .venv/bin/python tests/contract/bambu_sweep.py [--at-once N] [PART OF A NAME...]

A case is one printer with one paid order. At its step the trouble strikes; after a while it is mended, and a person does what an
owner would do: takes parts off, settles what nobody can tell, puts messages away. The judge reads the printer's own record of what
it did, and then what the farm believes. `Case`s that cannot be are listed with the reason.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from drivers.bambu import BambuFactory, connection, ftps, starting
from drivers.bambu import driver as driver_module
from drivers.bambu.driver import BambuDriver
from drivers.bambu.options import read_options
from drivers.bambu.session import Timing
from drivers.contract import Driver
from drivers.virtual.bambu.printer import VirtualBambu
from drivers.virtual.bambu.project import make_project
from drivers.virtual.history import Outcome
from farmd.store import work
from farmd.store.printing import NotAssignable
from tests.contract.bambu_troubles import TROUBLES, Trouble
from tests.contract.test_fleet_bambu import BambuFarm
from tests.fleet_farm import eventually

SPEED = 40.0
PRINT_SECONDS = 1.5
STRUCK_SECONDS = 0.7
"""How long a trouble lasts before it is mended."""
PATIENCE = 60.0
QUICK = Timing(landed=1.0, begun=2.0, silence=1.0, revival=0.5, full=1.0, stopping=2.0, asking=1.0)
ON_MACHINE = ("STARTING", "PRINTING", "PAUSED")
SETTLED = ("SUCCEEDED", "FAILED", "CANCELLED")


class QuickFactory(BambuFactory):
    """Our driver with less patience."""

    driver: type[BambuDriver] = BambuDriver

    def create(self, printer_id: str, options: Any, folder: Path) -> Driver:
        return self.driver(printer_id, read_options(options), folder, resync=0.5, timing=QUICK)


@contextmanager
def hurried() -> Iterator[None]:
    """The driver's own waits, shortened for the whole process."""
    changes = [
        (starting, "ANSWER_SECONDS", 0.6),
        (starting, "PUT_AWAY_SECONDS", 0.3),
        (driver_module, "EFFECT_SECONDS", 1.0),
        (driver_module, "ANSWER_SECONDS", 0.6),
        (driver_module, "SWEEP_SECONDS", 0.3),
        (driver_module, "SWEEP_AGAIN_SECONDS", 0.5),
        (connection, "READY_SECONDS", 4.0),
        (connection, "LAST_PAUSE", 2.0),
        (connection, "LOCKED_OUT_PAUSE", 1.5),
        (ftps, "STALL_SECONDS", 1.5),
        (ftps, "REPLY_SECONDS", 2.0),
        (ftps, "HANDSHAKE_SECONDS", 1.5),
        (ftps, "STORED_SECONDS", 3.0),
        (ftps, "FAREWELL_SECONDS", 0.3),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    for module, name, value in changes:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class Stage(VirtualBambu):
    """A printer that tells when a command is about to arrive, and when it has."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.before: dict[bytes, Callable[[], None]] = {}
        self.after: dict[bytes, Callable[[], None]] = {}
        self.sent: Counter[bytes] = Counter()

    def _received(self, payload: bytes) -> None:
        words = next((word for word in (b'"project_file"', b'"stop"') if word in payload), b"")
        self.sent[words] += 1
        if act := self.before.pop(words, None):
            act()
        super()._received(payload)
        if act := self.after.pop(words, None):
            act()


@dataclass
class Scene:
    """One printer and its farm; `order` is what is wanted."""

    printer: Stage
    farm: BambuFarm
    order: str = ""
    cancelled: bool = False
    by_a_person: set[str] = field(default_factory=set)  # attempts a person settled, or whose printer he took out of


Step = Callable[[Scene], Awaitable[None]]
STEPS: dict[str, Step] = {}


def step(function: Step) -> Step:
    """Bring a scene to this moment; registered under its name in words."""
    STEPS[getattr(function, "__name__", "").replace("_", " ")] = function
    return function


async def ordered(scene: Scene) -> None:
    scene.order = await scene.farm.order(1, content=_project(scene), seconds=2)
    await scene.farm.clear("p1")


def _project(scene: Scene) -> bytes:
    return make_project(PRINT_SECONDS * SPEED, model=scene.printer.kind.code)


async def _when(scene: Scene, hooks: dict[bytes, Callable[[], None]], words: bytes) -> None:
    arrived = asyncio.Event()
    hooks[words] = arrived.set
    await asyncio.wait_for(arrived.wait(), 20)


@step
async def at_rest(scene: Scene) -> None:
    await eventually(lambda: scene.farm.registry.live("p1").phase == "idle")


@step
async def uploading(scene: Scene) -> None:
    scene.printer.faults.upload.rate = 2000.0
    await ordered(scene)
    await eventually(lambda: scene.farm.registry.live("p1").uploading is not None)
    scene.printer.faults.upload.rate = None


@step
async def uploaded(scene: Scene) -> None:
    await ordered(scene)
    await eventually(lambda: scene.printer.record.uploads)


@step
async def start_arrives(scene: Scene) -> None:
    waiting = asyncio.create_task(_when(scene, scene.printer.before, b'"project_file"'))
    await ordered(scene)
    await waiting


@step
async def start_heard(scene: Scene) -> None:
    scene.printer.faults.job.start_after = 20.0
    waiting = asyncio.create_task(_when(scene, scene.printer.after, b'"project_file"'))
    await ordered(scene)
    await waiting
    scene.printer.faults.job.start_after = None


@step
async def printing(scene: Scene) -> None:
    await ordered(scene)
    await eventually(lambda: scene.printer.state == "RUNNING" and scene.farm.registry.live("p1").phase == "printing")


@step
async def paused(scene: Scene) -> None:
    await printing(scene)
    await scene.farm.store.write(lambda tx: work.ask_printer(tx, "p1", "pause"))
    await eventually(lambda: scene.printer.state == "PAUSE" and scene.farm.registry.live("p1").phase == "paused")


@step
async def stopping(scene: Scene) -> None:
    await printing(scene)
    waiting = asyncio.create_task(_when(scene, scene.printer.before, b'"stop"'))
    scene.cancelled = True
    await scene.farm.cancel(scene.order)
    await waiting


@step
async def finished(scene: Scene) -> None:
    await ordered(scene)
    await eventually(lambda: any(made.outcome is Outcome.SUCCEEDED for made in scene.printer.record.prints))


async def act(scene: Scene, what: Callable[[Any], Any]) -> None:
    """Let a trouble begin or end."""
    done = what(scene)
    if done is not None:
        await done


# --- what a person does ---


def made_of(scene: Scene, attempt: str) -> list[Any]:
    return [made for made in scene.printer.record.prints if made.subtask_name == f"farmd-{attempt}"]


async def look_after(scene: Scene) -> bool:
    """One round through the shop; True when the order has come to its end."""
    farm, printer = scene.farm, scene.printer
    machine, attempts = printer.firmware.machine, await farm.attempts()
    at_rest = not machine.busy and machine.pending is None
    for attempt in attempts:
        if attempt["state"] == "UNKNOWN" and at_rest:
            good = any(made.outcome is Outcome.SUCCEEDED for made in made_of(scene, attempt["id"]))
            scene.by_a_person.add(attempt["id"])
            await farm.store.write(
                lambda tx, a=attempt, g=good: work.resolve_attempt(tx, a["id"], "succeeded" if g else "failed", "me")
            )
    shown = await farm.show()
    if shown["quarantined"]:
        await farm.store.write(lambda tx: work.enable_printer(tx, "p1"))
    if machine.state == "PAUSE":
        printer.refill(0)
        if shown["attempt"] and shown["attempt"]["state"] == "PAUSED":
            await farm.store.write(lambda tx: work.ask_printer(tx, "p1", "resume"))
        else:
            printer.resume_by_hand()
    if machine.print_error and at_rest:
        printer.dismiss()
    if at_rest and shown["bed"] != "clear" and not any(attempt["state"] in ON_MACHINE for attempt in attempts):
        with suppress(NotAssignable):  # something else was quicker; he comes again
            await farm.clear("p1")
    for job in (await farm.view(scene.order))["jobs"]:
        if job["state"] == "FAILED" and not scene.cancelled:
            await farm.store.write(lambda tx, failed=job["id"]: work.retry_job(tx, failed, "me"))
    farm.world.forward(2.0)
    return await farm.status(scene.order) in ("ready", "cancelled") and all(
        each["state"] in SETTLED for each in await farm.attempts()
    )


# --- the judge ---


def starts_too_often(scene: Scene, attempts: list[dict[str, Any]]) -> Iterator[str]:
    for made in scene.printer.record.prints:
        if made.on_occupied_bed and made.subtask_name.startswith("farmd-") and len(made_of(scene, made.subtask_name[6:])) == 1:
            yield f"{made.subtask_name} was started on a part"
    sent, asked = scene.printer.sent[b'"project_file"'], sum(each["start_sent_at"] is not None for each in attempts)
    withdrawn = sum(each["state"] == "FAILED" and each["start_sent_at"] is None for each in attempts)
    if sent > asked + withdrawn:
        yield f"{sent} starts were sent for {asked} attempts"
    yield from (words for words in scene.printer.record.complaints if "busy" in words)


def judge(scene: Scene, trouble: Trouble, attempts: list[dict[str, Any]]) -> list[str]:
    """What went wrong, in words; the record is the truth."""
    found = list(starts_too_often(scene, attempts))
    for attempt in attempts:
        made = made_of(scene, attempt["id"])
        good = any(each.outcome is Outcome.SUCCEEDED for each in made)
        if len(made) > 1 and not trouble.prints_itself:
            found.append(f"{attempt['id']} was printed {len(made)} times")
        if attempt["state"] == "SUCCEEDED" and not good:
            found.append(f"{attempt['id']} is called a success and was none")
        if attempt["state"] == "FAILED" and good and attempt["id"] not in scene.by_a_person and not trouble.prints_itself:
            found.append(f"{attempt['id']} is called a failure and was none")
    parts = sum(attempt["state"] == "SUCCEEDED" for attempt in attempts)
    if not scene.cancelled and parts != 1:
        found.append(f"{parts} parts were booked for an order of one")
    real = sum(each.outcome is Outcome.SUCCEEDED for each in scene.printer.record.prints if each.subtask_name.startswith("farmd-"))
    if not scene.cancelled and real != 1 and not trouble.prints_itself:
        found.append(f"{real} parts were made for an order of one")
    if scene.printer.firmware.machine.busy and not any(each.outcome is Outcome.RUNNING for each in scene.printer.record.prints):
        found.append("the printer still runs")
    return found


# --- cases ---


@dataclass(frozen=True)
class Case:
    trouble: Trouble
    at: str
    model: str

    @property
    def name(self) -> str:
        return f"{self.trouble.name} | {self.at} | {self.model}"


@dataclass
class Told:
    """What a case came to."""

    case: Case
    wrong: list[str]
    states: list[str]
    starts: int
    unknown: int
    seconds: float


def cases() -> Iterator[Case]:
    """Every trouble at every step where it can be; the models take turns."""
    models = ("P1S", "X1C", "A1")
    number = 0
    for trouble in TROUBLES:
        for at in STEPS:
            number += 1
            if at not in trouble.spares:
                yield Case(trouble, at, models[number % 3])


async def run(case: Case, factory: QuickFactory | None = None, *, farm_of: type[BambuFarm] = BambuFarm) -> Told:
    """Play one case to its end; with another driver or another person, to see that the judge is not blind."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bambu-sweep-") as folder:
        async with Stage(case.model, speed=SPEED) as printer:
            farm = farm_of(Path(folder), printer)
            farm.factories = {"bambu": factory or QuickFactory()}
            await farm.open()
            scene, wrong = Scene(printer, farm), []
            try:
                await at_rest(scene)
                await STEPS[case.at](scene)
                await act(scene, case.trouble.strike)
                if not scene.order:
                    await ordered(scene)
                await asyncio.sleep(STRUCK_SECONDS)
                await act(scene, case.trouble.mend)
                await eventually(lambda: look_after(scene), PATIENCE)
            except (AssertionError, TimeoutError) as error:
                wrong.append(f"it never came to an end: {error}; {await _where(scene)}")
            attempts = await farm.attempts()
            wrong += judge(scene, case.trouble, attempts)
            await farm.close()
    states = [attempt["state"] for attempt in attempts]
    return Told(case, wrong, states, printer.sent[b'"project_file"'], len(scene.by_a_person), time.monotonic() - began)


async def _where(scene: Scene) -> str:
    shown = await scene.farm.show()
    states = [(attempt["state"], attempt["reason"]) for attempt in await scene.farm.attempts()]
    told = {key: shown[key] for key in ("phase", "bed", "quarantined", "attention")}
    return f"{told}, the machine {scene.printer.state}, {states}"


async def sweep(chosen: list[Case], at_once: int, tell: Callable[[Told], None]) -> list[Told]:
    """Play these cases, so many at a time."""
    turn = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Told:
        async with turn:
            told = await run(case)
            tell(told)
            return told

    with hurried():
        return await asyncio.gather(*(one(case) for case in chosen))


def summary(told: list[Told]) -> str:
    """The figures."""
    wrong = sum(bool(each.wrong) for each in told)
    asked = sum(bool(each.unknown) for each in told)
    troubles, steps = {each.case.trouble.name for each in told}, {each.case.at for each in told}
    return (
        f"{len(told)} cases of {len(troubles)} troubles at {len(steps)} steps: {len(told) - asked - wrong} settled by the farm, "
        f"{asked} asked a person, {sum(each.starts for each in told)} starts, {wrong} wrong"
    )


def main() -> int:
    wants = argparse.ArgumentParser(description=__doc__)
    wants.add_argument("--at-once", type=int, default=4)
    wants.add_argument("parts", nargs="*")
    wishes = wants.parse_args()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chosen = [case for case in cases() if all(part in case.name for part in wishes.parts)]

    def tell(told: Told) -> None:
        sys.stdout.write(
            f"{'WRONG' if told.wrong else 'right'} {told.seconds:5.1f} s {told.case.name}: {told.states} {told.wrong or ''}\n"
        )
        sys.stdout.flush()

    told = asyncio.run(sweep(chosen, wishes.at_once, tell))
    for trouble in TROUBLES:
        for reason in sorted(set(trouble.spares.values())):
            spared = [at for at, why in trouble.spares.items() if why == reason]
            sys.stdout.write(f"not played: {trouble.name} at {', '.join(spared)}: {reason}\n")
    sys.stdout.write(summary(told) + "\n")
    return int(any(each.wrong for each in told))


if __name__ == "__main__":
    sys.exit(main())
