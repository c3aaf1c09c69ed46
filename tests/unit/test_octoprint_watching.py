"""The parts of the OctoPrint watcher that need no server: what a slow reader gets, and how long a lost link is left alone."""

import asyncio

import pytest

from drivers.contract import Phase, Snapshot
from drivers.octoprint.driver import OctoPrintDriver
from drivers.octoprint.mailbox import Mailbox
from drivers.octoprint.watcher import Epochs, Watcher


def read_all(*snapshots: Snapshot) -> list[Snapshot]:
    async def go() -> list[Snapshot]:
        mailbox = Mailbox()
        for snapshot in snapshots:
            mailbox.put(snapshot)
        mailbox.end()
        read = []
        while (snapshot := await mailbox.next()) is not None:
            read.append(snapshot)
        return read

    return asyncio.run(go())


def printing(position: int, epoch: int = 1, name: str = "t-1") -> Snapshot:
    return Snapshot(Phase.PRINTING, epoch, token=name, position=position)


def test_a_slow_reader_gets_the_newest_progress() -> None:
    assert read_all(printing(1), printing(2), printing(3)) == [printing(3)]


def test_a_slow_reader_misses_no_change() -> None:
    changes = [
        printing(1),
        Snapshot(Phase.OFFLINE, 1, message="gone"),
        Snapshot(Phase.OFFLINE, 1, message="refused"),
        printing(2, epoch=2),
        printing(3, epoch=2, name="t-2"),
        Snapshot(Phase.FINISHED, 2, token="t-2"),
    ]
    assert read_all(*changes) == changes


def test_a_waiting_reader_is_woken() -> None:
    async def go() -> None:
        mailbox = Mailbox()
        reading = asyncio.create_task(mailbox.next())
        await asyncio.sleep(0)
        mailbox.put(printing(1))
        assert await reading == printing(1)
        reading = asyncio.create_task(mailbox.next())
        await asyncio.sleep(0)
        mailbox.end()
        assert await reading is None

    asyncio.run(go())


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_a_lost_link_is_left_alone_longer_and_longer_but_not_forever(jitter: float) -> None:
    async def go() -> list[float]:
        driver = OctoPrintDriver("mk3-01", "http://127.0.0.1:1", "key")
        watcher = Watcher(driver._rest, "mk3-01", Epochs(), Mailbox(), 20, lambda: jitter)
        await driver.close()
        return [watcher._delay(failures) for failures in range(2000)]

    delays = asyncio.run(go())
    assert delays == sorted(delays)
    assert 0.25 <= delays[0] <= 0.5
    assert delays[-1] == 30 * (0.5 + 0.5 * jitter)
