"""`farmd virtual`: printers that do not exist, on real sockets, for trying a farm out."""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from farmd.cli.complaint import Complaint
from farmd.fleet.virtual import printers_toml, virtual_octoprints


@dataclass(frozen=True, slots=True)
class Fleet:
    """What was asked for; `first_port` 0 means free ports."""

    octoprints: int
    speed: float
    first_port: int
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
    async with virtual_octoprints(fleet.octoprints, fleet.speed, fleet.first_port) as printers:
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
