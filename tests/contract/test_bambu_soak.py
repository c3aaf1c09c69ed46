"""A Bambu printer on its worst days: prints are started, held and stopped while links break, people press buttons, reports are cut,
power fails and the daemon restarts, in random order. What the driver says of a print is compared with what happened."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from drivers.bambu.session import Timing
from drivers.bench import Watch
from drivers.contract import DriverError, Outcome, Phase, Refused, Unauthorized
from drivers.virtual.bambu import VirtualBambu
from drivers.virtual.bambu.faults import not_utf8, truncated, wrong_types
from drivers.virtual.history import Outcome as Made
from tests.contract.bambu_bench import SPEED, driver_of, sliced

TIMING = Timing(landed=1.0, begun=4.0, silence=1.0, revival=0.5, full=1.0, stopping=3.0, gap=0.3, asking=1.0, asking_quick=0.1)
STEPS = 30
SAID = {
    Outcome.SUCCEEDED: {Made.SUCCEEDED},
    Outcome.FAILED: {Made.FAILED, Made.CANCELLED, Made.LOST},
    Outcome.CANCELLED: {Made.CANCELLED, Made.LOST},
}


class Day:
    """One printer, one driver at a time, and everything that is done to them."""

    def __init__(self, printer: VirtualBambu, folder, chance: random.Random) -> None:
        self.printer, self.folder, self.chance = printer, folder, chance
        self.attempts: list[str] = []
        self.refused: set[str] = set()
        self.ghosts = 0
        self.open()

    def open(self) -> None:
        self.driver = driver_of(self.printer, self.folder / "machine", timing=TIMING)
        self.watch = Watch(self.driver, 20.0)

    async def step(self) -> None:
        deeds = [self.start] * 5 + [self.pause, self.resume, self.cancel, self.drop, self.away, self.power, self.restart]
        deeds += [self.by_hand, self.silence, self.spoil, self.outcome, self.rest, self.rest]
        await self.chance.choice(deeds)()
        await asyncio.sleep(self.chance.uniform(0, 0.4))

    async def start(self) -> None:
        self.printer.clear_bed()
        token = f"att-{len(self.attempts)}"
        seconds = self.chance.choice([0.5, 1.5, 20])
        self.printer.faults.job.start_after = self.chance.choice([None, None, 0.1, 20.0])
        with contextlib.suppress(DriverError):
            remote = await self.driver.upload(sliced(self.folder, self.printer, seconds), token, lambda _sent, _total: None)
            self.attempts.append(token)
            try:
                await self.driver.start(remote)
            except (Refused, Unauthorized):
                self.refused.add(token)
                raise

    async def upon_the_last(self, verb: str) -> None:
        if self.attempts:
            with contextlib.suppress(DriverError):
                await getattr(self.driver, verb)(self.attempts[-1])

    async def pause(self) -> None:
        await self.upon_the_last("pause")

    async def resume(self) -> None:
        await self.upon_the_last("resume")

    async def cancel(self) -> None:
        await self.upon_the_last("cancel")

    async def outcome(self) -> None:
        await self.upon_the_last("outcome")

    async def drop(self) -> None:
        self.printer.drop()

    async def away(self) -> None:
        await self.printer.cut()
        await asyncio.sleep(self.chance.uniform(0, 1.0))
        await self.printer.restore()

    async def power(self) -> None:
        await self.printer.lose_power()
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        ghost = self.chance.random() < 0.3
        self.ghosts += ghost
        await self.printer.restore_power(ghost=ghost)

    async def restart(self) -> None:
        await self.watch.__aexit__(None, None, None)
        await self.driver.close()
        self.open()
        await self.watch.__aenter__()

    async def by_hand(self) -> None:
        printer = self.printer
        deeds = [printer.pause_by_hand, printer.resume_by_hand, printer.stop_by_hand, printer.dismiss]
        if not printer.firmware.machine.busy and printer.firmware.machine.pending is None:
            deeds.append(lambda: printer.start_foreign(self.chance.choice([20.0, 200.0])))
        self.chance.choice(deeds)()

    async def silence(self) -> None:
        wire = self.printer.faults.wire
        wire.silent, wire.wakes = not wire.silent, self.chance.random() < 0.5

    async def spoil(self) -> None:
        self.printer.faults.wire.spoil_next += self.chance.choices([truncated, not_utf8, wrong_types], k=3)

    async def rest(self) -> None:
        await asyncio.sleep(self.chance.uniform(0, 1.5))

    async def evening(self) -> None:
        """Everything is well again, and what runs is let run."""
        self.printer.faults.wire.silent = False
        await self.printer.restore_power()
        await self.printer.restore()
        for _ in range(3):  # a stranger's long print, or one of ours that was held, is ended at the screen
            await self.watch.until("a link", lambda seen: seen.phase is not Phase.OFFLINE)
            if self.printer.firmware.machine.busy or self.printer.firmware.machine.pending:
                self.printer.resume_by_hand()
                self.printer.stop_by_hand()
            await asyncio.sleep(0.8)
        self.watch.fresh()
        await self.watch.until("it rests", lambda seen: seen.phase in (Phase.IDLE, Phase.FINISHED, Phase.ERROR))

    async def judge(self) -> None:
        record = self.printer.record
        starts = Counter(record.starts)
        ours = {token: [made for made in record.prints if made.subtask_name == f"farmd-{token}"] for token in self.attempts}
        # a file that the printer is about to print again by itself does not show when it comes up
        busy = [each for each in record.complaints if "while the machine was busy" in each]
        assert len(busy) <= self.ghosts, busy
        for token, known in ((token, self.driver._session.prints.get(token)) for token in self.attempts):
            assert known is not None
            assert starts[known.subtask_id] <= 1, f"{token} was started {starts[known.subtask_id]} times"
            mine = [made for made in ours[token] if made.subtask_id == known.subtask_id]
            if token in self.refused:
                assert mine == [], f"{token} was called refused, and was printed"
            said = await self.driver.outcome(token)
            if said is not None and mine:
                assert mine[0].outcome in SAID[said], f"{token} is called {said}, and was {mine[0].outcome}"
            if said is Outcome.SUCCEEDED:
                assert mine, f"{token} is called printed, and never was"


@pytest.mark.slow
@pytest.mark.parametrize("model", ["P1S", "X1C", "A1"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_of_a_print_is_what_happened(seed, model, tmp_path):
    async def go():
        async with VirtualBambu(model, speed=SPEED) as printer:
            day = Day(printer, tmp_path, random.Random(f"{seed} {model}"))
            await day.watch.__aenter__()
            try:
                for _ in range(STEPS):
                    await day.step()
                await day.evening()
                await day.judge()
            finally:
                await day.watch.__aexit__(None, None, None)
                await day.driver.close()

    asyncio.run(go())
