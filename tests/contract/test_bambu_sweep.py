"""A part of the fault sweep of the Bambu driver, every trouble at least once; the whole is `bambu_sweep.py`, by hand. And a proof
that its judge can say no: drivers and people that do what must never be done."""

import asyncio
import logging
import sys

import pytest

from drivers.bambu.driver import BambuDriver
from drivers.contract import Outcome, RemoteFile, Unreachable
from farmd.store import printing
from tests.contract.bambu_sweep import STEPS, Case, QuickFactory, cases, hurried, run, summary, sweep
from tests.contract.bambu_troubles import TROUBLES
from tests.contract.test_fleet_bambu import BambuFarm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

EVERY = 7
"""Each so many-th case is played here; with 9 steps a trouble, that is each trouble at one or two of them."""


def test_every_case_is_played_or_told_why_not() -> None:
    played = {(case.trouble.name, case.at) for case in cases()}
    spared = {(trouble.name, at) for trouble in TROUBLES for at in trouble.spares}
    assert played | spared == {(trouble.name, at) for trouble in TROUBLES for at in STEPS}
    assert not played & spared
    assert all(reason for trouble in TROUBLES for reason in trouble.spares.values())


def test_whatever_goes_wrong_nothing_is_started_twice_and_every_order_comes_to_its_end(capsys) -> None:
    logging.disable(logging.CRITICAL)
    by_trouble: dict[str, list[Case]] = {}
    for case in cases():
        by_trouble.setdefault(case.trouble.name, []).append(case)
    chosen = [mine[number * EVERY % len(mine)] for number, mine in enumerate(by_trouble.values())]
    try:
        told = asyncio.run(sweep(chosen, 6, lambda _told: None))
    finally:
        logging.disable(logging.NOTSET)
    with capsys.disabled():
        sys.stdout.write(f"\nbambu sweep: {summary(told)}\n")
    assert {each.case.trouble.name for each in told} == {trouble.name for trouble in TROUBLES}
    assert [(each.case.name, each.wrong) for each in told if each.wrong] == []


class StartsAgain(BambuDriver):
    """Sends a start once more when nothing was heard of it."""

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:
        try:
            await super().start(remote, slot)
        except Unreachable:
            self._session.launch = None
            await super().start(remote, slot)


class TakesSilenceForSuccess(BambuDriver):
    """Believes that a print it knows nothing of went well."""

    async def outcome(self, token: str) -> Outcome | None:
        return await super().outcome(token) or Outcome.SUCCEEDED


class ClicksWithoutLooking(BambuFarm):
    """Its operator confirms a bed from his chair."""

    async def clear(self, printer: str) -> None:
        await self.store.write(lambda tx: printing.clear_bed(tx, printer, "chair"))


def caught(
    trouble: str, at: str, words: str, *, driver: type[BambuDriver] = BambuDriver, farm_of: type[BambuFarm] = BambuFarm
) -> bool:
    case = next(case for case in cases() if (case.trouble.name, case.at) == (trouble, at))
    factory = QuickFactory()
    factory.driver = driver

    async def play() -> list[str]:
        return (await run(case, factory, farm_of=farm_of)).wrong

    with hurried():
        return any(words in wrong for wrong in asyncio.run(play()))


def test_a_driver_that_starts_again_is_caught() -> None:
    assert caught("no report comes, and nothing wakes it", "start arrives", "starts were sent for", driver=StartsAgain)


def test_a_driver_that_takes_silence_for_success_is_caught() -> None:
    assert caught("the power is lost", "printing", "is called a success and was none", driver=TakesSilenceForSuccess)


def test_a_bed_confirmed_without_looking_is_caught() -> None:
    assert caught("the power is lost", "printing", "was started on a part", farm_of=ClicksWithoutLooking)
