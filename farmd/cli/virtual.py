"""`farmd virtual`: printers that do not exist, on real sockets and terminals, for trying a farm out."""

import asyncio
import os
import signal
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from farmd.cli.complaint import Complaint
from farmd.fleet.virtual import printers_toml, virtual_bambus, virtual_marlins, virtual_octoprints


@dataclass(frozen=True, slots=True)
class Fleet:
    """What was asked for; `first_port` 0 means free ports, `ttys` None a new folder for the serial ports."""

    octoprints: int
    bambus: int
    marlins: int
    speed: float
    first_port: int
    ttys: Path | None
    material: str
    color: str


def serve(fleet: Fleet, write: Path | None) -> None:
    """Run the printers until SIGTERM or SIGINT. Raises `Complaint`."""
    try:
        asyncio.run(_serve(fleet, write))
    except OSError as error:
        raise Complaint(f"cannot start the virtual printers: {error}") from None


async def _serve(fleet: Fleet, write: Path | None) -> None:
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with AsyncExitStack() as stack:
        printers = await stack.enter_async_context(virtual_octoprints(fleet.octoprints, fleet.speed, fleet.first_port))
        if fleet.bambus:
            words = (fleet.speed, fleet.material, fleet.color)
            printers += await stack.enter_async_context(virtual_bambus(fleet.bambus, *words))
        if fleet.marlins:
            ttys = fleet.ttys or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="farmd-virtual-")))
            printers += await stack.enter_async_context(virtual_marlins(fleet.marlins, fleet.speed, ttys))
        text = printers_toml(printers, fleet.material, fleet.color)
        if write is None:
            print(text, flush=True)
        else:
            _put(write, text)
            print(f"{len(printers)} virtual printers answer; their configuration is in {write}", flush=True)
        await end.wait()


def _put(file: Path, text: str) -> None:
    """Write whole or not at all, and for the owner's eyes: the text holds keys."""
    draft = file.with_name(f".{file.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    draft.replace(file)
