"""A farm that came out of a backup, with printers that went on after it: nothing is started, and nothing printed twice, before the
machines were seen and a person looked."""

import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from farmd.store import printing, restored, snapshot
from farmd.store import tables as t
from farmd.store.engine import Store, Tx, open_engine
from farmd.store.rows import change
from farmd.store.schema import upgrade
from farmd.store.views import order_view
from farmd.store.work import resolve_attempt
from tests.fleet_farm import FleetFarm, bed_is, eventually, fleet_farm, printing_on, status_is
from tests.till_farm import play


@asynccontextmanager
async def kept_farm(folder: Path, count: int = 1, **virtual: Any):
    """A farm on a store that a backup can be made of."""
    engine = open_engine(f"sqlite:///{folder}/farmd.db")
    upgrade(engine)
    engine.dispose()
    async with fleet_farm(folder, count, **virtual) as farm:
        yield farm


def backup(farm: FleetFarm) -> Path:
    """The store as it is now."""
    copy = farm.folder / "backup.db"
    snapshot.take(farm.folder / "farmd.db", copy)
    return copy


async def go_back(farm: FleetFarm, copy: Path) -> None:
    """The farm is lost; the backup takes its place, and the daemon starts."""
    await farm.close()
    for ending in ("", "-wal", "-shm"):
        (farm.folder / f"farmd.db{ending}").unlink(missing_ok=True)
    shutil.copy(copy, farm.folder / "farmd.db")
    now = farm.world.now()
    snapshot.mark_restored(farm.folder / "farmd.db", now, now)
    store = Store(open_engine(farm.settings.store_url), farm.world)
    assert await store.write(restored.distrust) is not None
    assert await store.write(restored.distrust) is None, "the consequences are drawn once"
    await store.close()
    await farm.open()


async def attention(farm: FleetFarm, order: str) -> list[str]:
    return [entry["code"] for entry in (await farm.store.read(lambda c: order_view(c, order)))["attention"]]


async def state_is(farm: FleetFarm, state: str) -> bool:
    return [attempt["state"] for attempt in await farm.attempts()] == [state]


async def begun(farm: FleetFarm, printer: str = "p1") -> int:
    """How many prints the machine has begun."""
    return len(farm.virtual[printer].history)


@play
async def test_a_print_that_was_running_then_and_runs_still_is_taken_up(tmp_path):
    async with kept_farm(tmp_path) as farm:
        order = await printing_on(farm, seconds=600)
        await go_back(farm, backup(farm))
        await eventually(lambda: farm.registry.live("p1").attempt_id)
        assert await state_is(farm, "PRINTING")
        assert await farm.status(order) == "printing"
        assert await attention(farm, order) == []
        with pytest.raises(printing.NotAssignable, match="is printing"):
            await farm.clear("p1")


@play
async def test_a_print_that_ended_since_is_settled_by_the_machine(tmp_path):
    async with kept_farm(tmp_path) as farm:
        order = await printing_on(farm, seconds=3)
        copy = backup(farm)
        await eventually(lambda: status_is(farm, order, "ready"))
        await go_back(farm, copy)
        await eventually(lambda: status_is(farm, order, "ready"))
        assert await begun(farm) == 1
        assert await farm.bed("p1") != "clear"


@play
async def test_a_print_that_ended_since_and_was_followed_by_another_is_settled_by_the_history(tmp_path):
    """The second print is one the restored store knows nothing of: it is left alone, and not taken for the first."""
    async with kept_farm(tmp_path) as farm:
        order = await printing_on(farm, seconds=2)
        copy = backup(farm)
        await eventually(lambda: status_is(farm, order, "ready"))
        await printing_on(farm, seconds=600)
        await go_back(farm, copy)
        await eventually(lambda: status_is(farm, order, "ready"))
        await eventually(lambda: farm.registry.live("p1").phase == "printing")
        await eventually(lambda: bed_is(farm, "p1", "unknown"))
        assert farm.virtual["p1"].state == "Printing"
        assert await begun(farm) == 2
        assert len(await farm.attempts()) == 1


async def bound(farm: FleetFarm, seconds: int) -> tuple[str, Path]:
    """An order whose plate was bound to p1 and not started, and a backup of that moment; then the farm goes on."""
    order = await farm.order(1, seconds=seconds)
    await farm.close()
    store = Store(open_engine(farm.settings.store_url), farm.world)

    def bind(tx: Tx) -> None:
        plate = tx.connection.execute(select(t.plates)).mappings().one()
        printing.set_bed(tx, "p1", printing.Bed.CLEAR, None)
        printing.assign(tx, plate["id"], "p1", next(iter(plate["artifacts"])), tx.world.new_id("att"))

    await store.write(bind)
    await store.close()
    return order, backup(farm)


@pytest.mark.parametrize("ended", [True, False])
@play
async def test_what_had_not_been_started_then_and_was_since_is_found_on_the_machine(tmp_path, ended):
    async with kept_farm(tmp_path) as farm:
        order, copy = await bound(farm, 2 if ended else 600)
        await farm.open()
        now = "ready" if ended else "printing"
        await eventually(lambda: status_is(farm, order, now))
        await go_back(farm, copy)
        await eventually(lambda: status_is(farm, order, now))
        assert await begun(farm) == 1
        assert await attention(farm, order) == []


@play
async def test_what_no_machine_can_tell_waits_for_a_person(tmp_path):
    async with kept_farm(tmp_path) as farm:
        order, copy = await bound(farm, 2)
        await go_back(farm, copy)
        await eventually(lambda: bed_clears(farm, "p1"))
        assert await attention(farm, order) == ["attempt_unknown"]
        assert [attempt["state"] for attempt in await farm.attempts()] == ["UNKNOWN"], "its plate is held on a clear bed too"
        (attempt,) = await farm.attempts()
        await farm.store.write(lambda tx: resolve_attempt(tx, attempt["id"], "failed", "test"))
        await eventually(lambda: status_is(farm, order, "ready"))
        assert await begun(farm) == 1


async def bed_clears(farm: FleetFarm, printer: str) -> bool:
    """Whether the operator's click was taken."""
    try:
        await farm.clear(printer)
    except printing.NotAssignable as refusal:
        return "since a backup was restored" not in str(refusal)
    return True


@play
async def test_no_bed_is_called_clear_before_its_machine_was_seen(tmp_path):
    """Also those that were clear when the backup was made; and what waits then is printed once a person has looked."""
    async with kept_farm(tmp_path, 2) as farm:
        for printer in farm.virtual:
            await farm.clear(printer)
        await farm.fleet.close()
        order = await farm.order(1, seconds=2)
        copy = backup(farm)
        await farm.virtual["p1"].go_offline()
        await go_back(farm, copy)
        assert [await farm.bed(printer) for printer in farm.virtual] == ["unknown", "unknown"]
        await eventually(lambda: farm.registry.live("p2").phase == "idle")
        assert not await bed_clears(farm, "p1")
        assert await farm.attempts() == []
        await farm.virtual["p1"].come_back()
        await eventually(lambda: bed_clears(farm, "p1"))
        await eventually(lambda: status_is(farm, order, "ready"))
        assert (await begun(farm, "p1"), await begun(farm, "p2")) == (1, 0)


@play
async def test_what_was_printed_of_an_attempt_nobody_knows_is_a_strangers(tmp_path):
    """The order, too, came after the backup: its part lies on the bed, and no row speaks of it."""
    async with kept_farm(tmp_path) as farm:
        await farm.clear("p1")
        copy = backup(farm)
        order = await farm.order(1, seconds=2)
        await eventually(lambda: status_is(farm, order, "ready"))
        await go_back(farm, copy)
        await eventually(lambda: farm.registry.live("p1").phase == "finished")
        assert await farm.attempts() == []
        assert await farm.bed("p1") == "unknown"
        await eventually(lambda: bed_clears(farm, "p1"))
        later = await farm.order(1, seconds=3)
        await eventually(lambda: status_is(farm, later, "ready"))
        assert farm.virtual["p1"].crashes == 0


@play
async def test_an_answer_and_a_wish_of_then_are_not_given_now(tmp_path):
    async with kept_farm(tmp_path) as farm:
        await printing_on(farm)
        (attempt,) = await farm.attempts()
        await farm.fleet.close()
        await farm.store.write(lambda tx: change(tx, t.attempts, attempt, wish="pause", answer=1))
        await go_back(farm, backup(farm))
        (attempt,) = await farm.attempts()
        assert (attempt["wish"], attempt["answer"], attempt["state"]) == ("", None, "PRINTING")
