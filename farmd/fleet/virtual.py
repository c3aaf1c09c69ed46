"""Virtual printers for `farmd virtual` and the demo, and the configuration that makes a farm of them.

The command line's only way to them: it may not import a driver itself.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.virtual.bambu import Spool
from drivers.virtual.fleet import run_bambus, run_fleet, run_marlins
from farmd.domain.machines import MACHINES


@dataclass(frozen=True, slots=True)
class VirtualPrinter:
    """One printer that does not exist, as a farm is told of it; `options` are the driver's own keys of its block. `profile` is
    left out where it follows from the printer's model."""

    id: str
    driver: str
    options: Mapping[str, str | int]
    bed: tuple[float, float, float] = (250, 210, 210)
    profile: str | None = "generic-0.4"


@asynccontextmanager
async def virtual_octoprints(count: int, speed: float, first_port: int = 0) -> AsyncIterator[list[VirtualPrinter]]:
    """`count` OctoPrints on this host while the context lasts; an invisible hand takes each finished part off the bed.
    Raises `OSError` naming the address that is taken."""
    async with run_fleet(count, speed=speed, first_port=first_port, ejects=True) as fleet:
        yield [
            VirtualPrinter(f"octoprint-{number:02d}", "octoprint", {"url": printer.url, "api_key": printer.api_key})
            for number, printer in enumerate(fleet, start=1)
        ]


@asynccontextmanager
async def virtual_marlins(count: int, speed: float, folder: Path) -> AsyncIterator[list[VirtualPrinter]]:
    """`count` Marlin boards on pseudo terminals in `folder` while the context lasts; nobody takes a part off their beds.
    Raises `OSError` naming the terminal that is taken."""
    async with run_marlins(count, folder=folder, speed=speed) as ports:
        yield [
            VirtualPrinter(f"marlin-{number:02d}", "gcode", {"port": str(port.path), "baud": port.firmware.board.baud})
            for number, port in enumerate(ports, start=1)
        ]


@asynccontextmanager
async def virtual_bambus(count: int, speed: float, material: str, color: str) -> AsyncIterator[list[VirtualPrinter]]:
    """`count` Bambu Lab printers on this host while the context lasts, one spool in the feeder of each; an invisible
    hand takes each finished part off the bed."""
    async with run_bambus(count, speed=speed, ejects=True, spool=Spool(material, color)) as printers:
        yield [
            VirtualPrinter(
                f"bambu-{number:02d}",
                "bambu",
                {
                    "host": printer.host,
                    "serial": printer.serial,
                    "access_code": printer.access_code,
                    "model": printer.model,
                    "mqtt_port": printer.mqtt_port,
                    "ftps_port": printer.ftps_port,
                },
                bed=_bed(printer.model),
                profile=None,
            )
            for number, printer in enumerate(printers, start=1)
        ]


def printers_toml(printers: list[VirtualPrinter], material: str, color: str) -> str:
    """The `[[printers]]` blocks of a farm of these."""
    return "\n".join(_block(printer, material, color) for printer in printers)


def _block(printer: VirtualPrinter, material: str, color: str) -> str:
    own = "".join(f"{key} = {json.dumps(value)}\n" for key, value in printer.options.items())  # JSON's text is TOML's too
    bed = ", ".join(f"{side:g}" for side in printer.bed)
    profile = f'profile = "{printer.profile}"\n' if printer.profile else ""
    return (
        f'[[printers]]\nid = "{printer.id}"\ndriver = "{printer.driver}"\n{own}'
        f'bed = [{bed}]\nnozzle = 0.4\nmaterial = "{material}"\ncolor = "{color}"\n{profile}'
    )


def _bed(model: str) -> tuple[float, float, float]:
    bed = MACHINES[model].bed
    return bed.x, bed.y, bed.z
