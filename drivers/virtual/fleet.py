"""Many virtual printers in one process, for `farmd virtual` and the demo.

All or none: when one port is taken, no printer stays behind.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

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
