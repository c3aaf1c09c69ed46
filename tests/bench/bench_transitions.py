"""How many state changes a second the store takes, durable, with history, order status and events: alone and 64 at a time.

python -m tests.bench.bench_transitions
"""

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path

from farmd.domain.lifecycle import JobSignal
from farmd.store import tables as t
from farmd.store.engine import Store
from farmd.store.rows import get
from farmd.store.transitions import advance_job
from tests import making
from tests.farm import open_store

JOBS, ROUNDS = 64, 16
CYCLE = (JobSignal.PRINT, JobSignal.REQUEUE)


async def back_and_forth(store: Store, job_id: str, rounds: int) -> None:
    """`rounds` transitions of one job, each durable before the next."""
    for number in range(rounds):
        signal = CYCLE[number % len(CYCLE)]
        await store.write(lambda tx, signal=signal: advance_job(tx, get(tx.connection, t.jobs, job_id), signal))


async def timed(store: Store, jobs: list[str], rounds: int) -> tuple[float, float]:
    """Transitions a second, and milliseconds of CPU for each."""
    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(back_and_forth(store, job_id, rounds) for job_id in jobs))
    count = len(jobs) * rounds
    return count / (time.perf_counter() - begun), (time.process_time() - cpu) / count * 1000


def floor(folder: Path, rounds: int) -> float:
    """Commits a second of one row by bare sqlite3 on the same disk with the same durability."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE floor (n INTEGER)")
    begun = time.perf_counter()
    for number in range(rounds):
        connection.execute("INSERT INTO floor VALUES (?)", (number,))
    connection.close()
    return rounds / (time.perf_counter() - begun)


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_store(Path(folder)) as store:
            jobs = [await store.write(lambda tx: making.queued(tx, 1)) for _ in range(JOBS)]
            await timed(store, jobs[:1], ROUNDS)  # the first ones also move their orders on
            alone, alone_cpu = await timed(store, jobs[:1], ROUNDS * 16)
            many, many_cpu = await timed(store, jobs, ROUNDS)
        bare = floor(Path(folder), 500)
    print(f"bare sqlite3 commit      {bare:8.0f} /s")
    print(f"transitions, 1 in flight {alone:8.0f} /s  {alone_cpu:6.2f} ms CPU each")
    print(f"transitions, {JOBS} at a time {many:7.0f} /s  {many_cpu:6.2f} ms CPU each")


if __name__ == "__main__":
    asyncio.run(main())
