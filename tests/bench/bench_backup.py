"""What a backup costs the farm that goes on: how long a writer waits at most, how late the loop comes round, how long it takes.

A store of some hundred megabytes and as many in models; the backup runs on a thread of the daemon, as the hourly one does.
"""

import asyncio
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from farmd.backups.hourly import Backups, kept_backups
from farmd.config import BackupSettings
from farmd.world import SystemWorld
from tests.kept_farm import add_model, fill, kept_settings, open_kept

ROWS, MODELS, MODEL_BYTES = 100_000, 40, 5_000_000


async def measure(folder: Path) -> None:
    settings = kept_settings(folder, backup=BackupSettings(folder / "backups"))
    store = await open_kept(settings, SystemWorld())
    await store.write(lambda tx: fill(tx, settings))
    filler = [(f"x{number}", os.urandom(800).hex()) for number in range(ROWS)]
    await store.write(lambda tx: tx.connection.exec_driver_sql("INSERT INTO meta VALUES (?, ?)", filler))
    for number in range(MODELS):
        half = os.urandom(MODEL_BYTES // 2)
        await store.write(lambda tx, content=half * 2 + bytes([number]): add_model(tx, settings.files, content))
    backups = Backups(replace(settings), SystemWorld())
    for words, work in (("without a backup", asyncio.sleep(5)), ("during a backup", backups.tick())):
        began, task = time.perf_counter(), asyncio.create_task(work)
        writes, late = [], []
        while not task.done():
            start = time.perf_counter()
            await store.write(lambda tx: tx.connection.exec_driver_sql("UPDATE meta SET value = 'y' WHERE key = 'x1'"))
            writes.append(time.perf_counter() - start)
            start = time.perf_counter()
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - start - 0.01)
        writes.sort()
        took = time.perf_counter() - began
        middle, nearly_all = writes[len(writes) // 2] * 1e3, writes[len(writes) * 99 // 100] * 1e3
        slowest, latest = writes[-1] * 1e3, max(late) * 1e3
        print(f"{words}: {took:.1f} s, {len(writes)} writes, median {middle:.1f} ms, 99 % {nearly_all:.1f} ms,", end=" ")
        print(f"slowest {slowest:.0f} ms; loop late {latest:.0f} ms")
    await store.close()
    size = (folder / "farmd.db").stat().st_size
    print(f"store {size / 1e6:.0f} MB, models {MODELS * MODEL_BYTES * 3 / 1e6:.0f} MB, "
          f"backup {kept_backups(settings.backup.folder)[0][1].stat().st_size / 1e6:.0f} MB")  # fmt: skip


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(measure(Path(place)))
