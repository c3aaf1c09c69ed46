"""Many virtual printers in one process, for `farmd virtual` and the demo.

All or none: when one port or name is taken, no printer stays behind.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from drivers.virtual.bambu import BLACK_PLA, Spool, VirtualBambu
from drivers.virtual.marlin import Board, Firmware, Record
from drivers.virtual.marlin.port import Port
from drivers.virtual.octoprint import VirtualOctoPrint


@asynccontextmanager
async def run_fleet(
    count: int, *, speed: float = 1.0, first_port: int = 0, ejects: bool = False, basedir: Path | None = None
) -> AsyncIterator[list[VirtualOctoPrint]]:
    """`count` printers for as long as the context lasts.

    They take the ports from `first_port` on, or free ones when it is 0; each has its own folder under `basedir`. Raises
    `OSError` naming the address that is taken, `ValueError` for a count below 0.
    """
    if count < 0:
        raise ValueError(f"count must not be below 0, not {count}")
    printers = [
        VirtualOctoPrint(
            port=first_port + number if first_port else 0,
            api_key=f"virtual-octoprint-{number + 1:02d}",  # the same after a restart, so that a written configuration holds
            speed=speed,
            ejects=ejects,
            basedir=basedir / f"octoprint-{number + 1:02d}" if basedir is not None else None,
        )
        for number in range(count)
    ]
    async with AsyncExitStack() as stack:
        for printer in printers:
            stack.push_async_callback(printer.stop)
        started = await asyncio.gather(*(printer.start() for printer in printers), return_exceptions=True)
        for failure in started:
            if failure is not None:
                raise failure
        yield printers


BAMBU_MODELS = ("P1S", "X1C", "A1")


@asynccontextmanager
async def run_bambus(
    count: int, *, speed: float = 1.0, ejects: bool = False, spool: Spool = BLACK_PLA
) -> AsyncIterator[list[VirtualBambu]]:
    """`count` printers on free ports for as long as the context lasts, of the models in `BAMBU_MODELS` by turns, `spool` in the
    first place of each. Raises `ValueError` for a count below 0."""
    if count < 0:
        raise ValueError(f"count must not be below 0, not {count}")
    async with AsyncExitStack() as stack:
        printers = []
        for number in range(count):
            model = BAMBU_MODELS[number % len(BAMBU_MODELS)]
            printers.append(VirtualBambu(model, number=number + 1, speed=speed, ejects=ejects, spools=(spool,)))
        for printer in printers:
            stack.push_async_callback(printer.stop)
        for failure in await asyncio.gather(*(printer.start() for printer in printers), return_exceptions=True):
            if failure is not None:
                raise failure
        yield printers


@asynccontextmanager
async def run_marlins(count: int, *, folder: Path, speed: float = 1.0, board: Board | None = None) -> AsyncIterator[list[Port]]:
    """`count` boards behind the pseudo terminals `folder/ttyVIRT0` and on, for as long as the context lasts.

    Raises `OSError` naming the one that is taken, `ValueError` for a count below 0.
    """
    if count < 0:
        raise ValueError(f"count must not be below 0, not {count}")
    ports = [
        Port(Firmware(board, seed=number, record=Record(keep=False)), folder / f"ttyVIRT{number}", speed=speed)
        for number in range(count)
    ]
    with ExitStack() as stack:
        for port in ports:
            stack.callback(port.close)
            port.open()
        yield ports
