"""One file on one machine, without a daemon: for the bench, and to see whether a cable is good.

The print is in the same hands as ever, a streamer's; whoever started it may cancel it, and it ends with the heaters off.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from drivers.contract import DriverError
from drivers.gcode.client import Client, Disconnected
from drivers.gcode.control import Declined, Message
from drivers.gcode.driver import GcodeDriver
from drivers.gcode.settings import Settings

TOKEN = "once"  # noqa: S105 - a print's name
PARTING_SECONDS = 15.0
Told = Callable[[Message], None]
"""Called with the streamer's state, again and again."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a print came to. `bytes` as they went over the wire; `reason` when it did not succeed."""

    succeeded: bool
    reason: str | None
    lines: int
    bytes: int
    seconds: float
    resends: int
    lost_oks: int


async def stream(file: Path, settings: Settings, folder: Path, told: Told, cancelled: asyncio.Event) -> Streamed:
    """Print `file`; set `cancelled` to stop it safely. `folder` is the streamer's, empty. Raises `DriverError` when it
    cannot begin."""
    driver = GcodeDriver("once", folder, settings)
    try:
        await driver.connect()
        remote = await driver.upload(file, TOKEN, lambda _read, _size: None)
        client = await Client.connect(folder)
        try:
            await client.ask("subscribe")
            begun = asyncio.get_running_loop().time()
            await driver.start(remote)
            last = await _watch(client, told, cancelled)
            seconds = asyncio.get_running_loop().time() - begun
        finally:
            await client.close()
    except Disconnected as error:
        raise DriverError(f"the streamer is gone: {error}") from error
    finally:
        await driver.close()
        await dismiss(folder)
    facts = json.loads((folder / f"{TOKEN}.json").read_text())
    tally = last["tally"]
    return Streamed(
        succeeded=last["ended"] == "succeeded",
        reason=None if last["ended"] == "succeeded" else (last["message"] or f"the print was {last['ended']}"),
        lines=facts["last"],
        bytes=facts["wire"],
        seconds=round(seconds, 3),
        resends=tally["resends"],
        lost_oks=tally["lost_oks"],
    )


async def _watch(client: Client, told: Told, cancelled: asyncio.Event) -> Message:
    """Until the print has ended; gives the last state."""
    asked = False
    stopping = asyncio.create_task(cancelled.wait())
    try:
        while True:
            news, state = client.news, client.state
            told(state)
            if state["token"] == TOKEN and state["ended"]:
                return state
            if client.broken:
                raise Disconnected("it ended before the print")
            waiting = asyncio.create_task(news.wait())
            await asyncio.wait({waiting} if asked else {waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if cancelled.is_set() and not asked:
                asked = True
                await client.ask("cancel", token=TOKEN)
    finally:
        stopping.cancel()


async def dismiss(folder: Path) -> None:
    """End the streamer of `folder`, if there is one; a print is stopped safely. Returns when it is gone, or does not answer."""
    try:
        client = await Client.connect(folder)
    except Disconnected:
        return
    try:
        os.kill((await client.ask("state"))["pid"], signal.SIGTERM)
        await client.gone(PARTING_SECONDS)
    except (Disconnected, Declined, ProcessLookupError):
        return
    finally:
        await client.close()
