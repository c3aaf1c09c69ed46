"""A print that asks something: a real streamer on a board that waits for a person, a real supervisor, an answer from outside."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from drivers.gcode.factory import factory
from drivers.gcode.once import dismiss
from drivers.virtual.marlin import Board, Firmware
from drivers.virtual.marlin.port import Port
from farmd.config import PrinterSettings
from farmd.store.work import answer_printer, ask_printer
from tests.fleet_farm import FleetFarm, eventually, one_in, status_is

ASKING = b"G28\nM0 look\n" + b"G1 X10 F6000\nG1 X20 F6000\n" * 20


@asynccontextmanager
async def serial_farm(folder: Path) -> AsyncIterator[FleetFarm]:
    port = Port(Firmware(Board()), folder / "ttyVIRT0", speed=10.0)
    port.open()
    farm = FleetFarm(folder, {})
    farm.factories["gcode"] = factory
    options = {"port": str(port.path), "baud": 250_000}
    printer = PrinterSettings("p1", "gcode", options, material="PLA", color="#1a1a1a", bed_clear="auto")
    farm.settings = replace(farm.settings, printers=(printer,))
    await farm.open()
    try:
        yield farm
    finally:
        await farm.close()
        await dismiss(folder / "machines" / "p1")
        port.close()


def test_a_person_answers_and_the_print_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with serial_farm(tmp_path) as farm:
            order = await farm.order(1, content=ASKING)
            question = await eventually(lambda: farm.registry.live("p1").question)
            await eventually(lambda: one_in(farm, "PAUSED"))
            assert "question" in [entry["code"] for entry in farm.registry.live("p1").attention]
            await farm.store.write(lambda tx: answer_printer(tx, "p1", 0, question.choices))
            await eventually(lambda: status_is(farm, order, "ready"))
            assert [attempt["answer"] for attempt in await farm.attempts()] == [None]
            assert farm.registry.live("p1").question is None

    asyncio.run(run())


def test_to_resume_is_an_answer_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with serial_farm(tmp_path) as farm:
            order = await farm.order(1, content=ASKING)
            await eventually(lambda: one_in(farm, "PAUSED"))
            await farm.store.write(lambda tx: ask_printer(tx, "p1", "resume"))
            await eventually(lambda: status_is(farm, order, "ready"))

    asyncio.run(run())
