"""Starts a machine's streamer so that it outlives whoever started it.

Under systemd it becomes a unit of its own (`farmd-stream@PRINTER.service`): a process in farmd's own unit would be killed with it.
Elsewhere it is detached into a session of its own. Starting one that runs is harmless: the folder's lock lets only one live.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from drivers.gcode.settings import Settings

UNIT = "farmd-stream@{}.service"
SYSTEMD_SECONDS = 10.0


class NotLaunched(Exception):
    """The streamer could not be started; the message says why."""


def put_settings(folder: Path, settings: Settings) -> None:
    """Write down how to reach the machine, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = folder / "settings.draft"
    draft.write_text(json.dumps(asdict(settings)))
    draft.replace(folder / "settings.json")


async def launch(folder: Path) -> None:
    """Start the streamer of `folder`. Raises `NotLaunched`."""
    if (state := os.environ.get("STATE_DIRECTORY")) and await _under_systemd(folder, Path(state.split(":")[0])):
        return
    await asyncio.to_thread(_detached, folder)


async def _under_systemd(folder: Path, state: Path) -> bool:
    """Whether systemd knows our unit and has started it. The unit finds the printer's folder under its name in `streams`."""
    unit = UNIT.format(folder.name)
    if await _systemctl("cat", unit) != 0:
        return False
    await asyncio.to_thread(_point, state / "streams" / folder.name, folder)
    if await _systemctl("start", "--no-block", unit) != 0:
        raise NotLaunched(f"systemd would not start {unit}: see systemctl status {unit}, and systemd/farmd.polkit.rules")
    return True


def _point(link: Path, folder: Path) -> None:
    link.parent.mkdir(mode=0o700, exist_ok=True)
    draft = link.with_name(f".{link.name}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.resolve())
    draft.replace(link)


async def _systemctl(*words: str) -> int:
    quiet = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec("systemctl", *words, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        return 1
    try:
        async with asyncio.timeout(SYSTEMD_SECONDS):
            return await process.wait()
    except TimeoutError:
        return 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _detached(folder: Path) -> None:
    """A session of its own, and no child of ours: the shell between us ends at once."""
    with (folder / "log").open("ab") as log:
        started = subprocess.run(
            ["/bin/sh", "-c", 'exec setsid "$@" &', "sh", sys.executable, "-P", "-m", "drivers.gcode.streamer", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,
            cwd="/",
        )
    if started.returncode != 0:
        raise NotLaunched("the streamer could not be started")
