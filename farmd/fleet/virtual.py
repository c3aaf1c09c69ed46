"""Virtual printers for `farmd virtual` and the demo, and the configuration that makes a farm of them.

The command line's only way to them: it may not import a driver itself.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drivers.virtual.fleet import run_fleet


@dataclass(frozen=True, slots=True)
class VirtualPrinter:
    """One printer that does not exist, as a farm is told of it."""

    id: str
    url: str
    api_key: str


@asynccontextmanager
async def virtual_octoprints(count: int, speed: float, first_port: int = 0) -> AsyncIterator[list[VirtualPrinter]]:
    """`count` OctoPrints on this host while the context lasts; an invisible hand takes each finished part off the bed.
    Raises `OSError` naming the address that is taken."""
    async with run_fleet(count, speed=speed, first_port=first_port, ejects=True) as fleet:
        yield [
            VirtualPrinter(f"octoprint-{number:02d}", printer.url, printer.api_key) for number, printer in enumerate(fleet, start=1)
        ]


def printers_toml(printers: list[VirtualPrinter], material: str, color: str) -> str:
    """The `[[printers]]` blocks of a farm of these."""
    blocks = (
        f'[[printers]]\nid = "{printer.id}"\ndriver = "octoprint"\nurl = "{printer.url}"\napi_key = "{printer.api_key}"\n'
        f'bed = [250, 210, 210]\nnozzle = 0.4\nmaterial = "{material}"\ncolor = "{color}"\nprofile = "generic-0.4"\n'
        for printer in printers
    )
    return "\n".join(blocks)
