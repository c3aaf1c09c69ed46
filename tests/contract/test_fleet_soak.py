"""Many small disasters in one afternoon, by seed: whatever happens, every unit is printed exactly once and no head meets a part.

The judge is physical: the virtual machines remember every print that truly ran and every start on an occupied bed. The operator
is honest, looks at beds before clicking, and settles doubtful attempts by what really lies there.
"""

import asyncio
import random

import pytest

from drivers.virtual.history import Outcome
from farmd.domain.lifecycle import AttemptState
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.rows import get
from tests.fleet_farm import FleetFarm, fleet_farm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PLATES = ((2, 1), (1,), (3,))
RESTING = ("Operational", "Offline", "Offline after error")


def _truth(farm: FleetFarm, attempt: str) -> bool:
    """Whether this attempt's parts really came out."""
    records = [record for machine in farm.virtual.values() for record in machine.history if attempt in record.path]
    return any(record.outcome is Outcome.SUCCEEDED for record in records)


async def _operate(farm: FleetFarm) -> None:
    """One honest round of the operator."""
    attempts = await farm.attempts()
    for row in attempts:
        machine = farm.virtual[row["printer_id"]]
        if row["state"] == "UNKNOWN" and machine.state in RESTING and farm.registry.live(row["printer_id"]).connected:
            verdict = _truth(farm, row["id"])

            def write(tx, row=row, verdict=verdict) -> None:
                attempt = get(tx.connection, t.attempts, row["id"])
                if attempt["state"] == "UNKNOWN":
                    printing.succeeded(tx, attempt, ejected=False) if verdict else printing.failed(tx, attempt, "a person looked")

            await farm.store.write(write)
    held = {row["printer_id"] for row in attempts if AttemptState(row["state"]) in printing.ATTEMPT_LIVE}
    for name, machine in farm.virtual.items():
        if machine.state == "Offline after error":
            machine.link_up()
        if name not in held and await farm.bed(name) != "clear" and machine.state == "Operational":
            await farm.clear(name)
    await farm.store.write(lambda tx: _enable(tx, farm))


def _enable(tx, farm: FleetFarm) -> None:
    for name in farm.virtual:
        row = get(tx.connection, t.printers, name)
        if row["quarantined"]:
            printing.change(tx, t.printers, row, quarantined=None, failures_in_row=0, last_job_id=None)


async def _disaster(farm: FleetFarm, chance: random.Random) -> str:
    machine = chance.choice([*farm.virtual.values()])
    kind = chance.choice(
        ["restart", "restart", "lost_reply", "lost_upload", "drop_link", "offline", "power", "foreign", "hang", "blackout", "calm"]
    )
    match kind:
        case "restart":
            await farm.close()
            await asyncio.sleep(chance.random())
            await farm.open()
        case "blackout":  # the print ends and the power fails while nobody watches: no history is left of a finished part
            await farm.close()
            await asyncio.sleep(2.5)
            await machine.lose_power()
            await machine.restore_power()
            await farm.open()
        case "lost_reply":
            machine.lose_start_answer()
        case "lost_upload":
            machine.lose_answer("POST", "/api/files/local")
        case "drop_link":
            machine.drop_link()
        case "offline":
            await machine.go_offline()
            await asyncio.sleep(chance.random() * 2)
            await machine.come_back()
        case "power":
            await machine.lose_power()
            await asyncio.sleep(chance.random())
            await machine.restore_power()
        case "foreign":
            if machine.state == "Operational" and not machine.bed_occupied:
                machine.start_foreign(1)
        case "hang":
            await machine.hang()
            await asyncio.sleep(chance.random() * 2)
            await machine.unhang()
    return kind


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_unit_is_printed_exactly_once(tmp_path, seed, monkeypatch):
    monkeypatch.setattr("farmd.domain.reconcile.START_PATIENCE", 3.0)  # an afternoon in half a minute
    monkeypatch.setattr("farmd.store.printing.MAX_PLATE_FAILURES", 1000)

    async def run() -> None:
        chance, happened = random.Random(seed), []
        async with fleet_farm(tmp_path, 2) as farm:
            orders = [await farm.order(*plates, seconds=2) for plates in PLATES]
            loop = asyncio.get_running_loop()
            stop = loop.time() + 30
            while loop.time() < stop:
                happened.append(await _disaster(farm, chance))
                for _ in range(3):
                    await _operate(farm)
                    await asyncio.sleep(chance.random() * 0.4)
            deadline = loop.time() + 120
            while {await farm.status(order) for order in orders} != {"ready"}:
                assert loop.time() < deadline, (happened, [await farm.view(order) for order in orders], await farm.attempts())
                await _operate(farm)
                await asyncio.sleep(0.2)
            attempts = await farm.attempts()
            for order, plates in zip(orders, PLATES, strict=True):
                made = sum(row["copies"] for row in attempts if row["order_id"] == order and _truth(farm, row["id"]))
                assert made == sum(plates), (seed, happened)
                told = [kind for kind in await farm.told(order) if kind != "order.attention"]  # every doubt asks anew
                assert len(told) == len(set(told))
            crashes = {name: machine.crashes for name, machine in farm.virtual.items()}
            assert not any(crashes.values()), (seed, happened, crashes)

    asyncio.run(run())
