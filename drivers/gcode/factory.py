"""What the entry point names: builds and examines serial printers from their `[[printers]]` blocks, and refuses wrong ones.

The machinery is loaded with the first printer: a configuration is checked against the option names alone.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from drivers.contract import Check, Driver
from drivers.gcode.settings import Settings
from drivers.gcode.window import RX_BUFFER


class GcodeFactory:
    """Builds and examines serial printers. Implements `drivers.contract.DriverFactory`."""

    name = "gcode"

    def option_names(self) -> frozenset[str]:
        """`port`: a device, `rfc2217://` or `socket://`. `baud`. `window`: lines that may be on their way, else learned.
        `rx_buffer`: the firmware's receive buffer in bytes."""
        return frozenset({"port", "baud", "window", "rx_buffer"})

    def machine(self, options: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - the port's
        """See the port."""
        return None

    def create(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> Driver:
        """See the port."""
        from drivers.gcode.driver import GcodeDriver

        return GcodeDriver(printer_id, folder, settings_of(options))

    def examine(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> AsyncIterator[Check]:  # noqa: ARG002 - the port's
        """See the port."""
        from drivers.gcode.examine import examine

        return examine(settings_of(options), folder)


def settings_of(options: Mapping[str, Any]) -> Settings:
    """The options of a `[[printers]]` block. Raises `ValueError` naming the one that is wrong."""
    port = options.get("port", "")
    if not isinstance(port, str) or not (port.startswith("/") or "://" in port):
        raise ValueError('port: name the device, best under /dev/serial/by-id/, or write "rfc2217://host:port"')
    return Settings(
        port,
        baud=_number(options, "baud", 115_200, 300, 4_000_000),
        window=_number(options, "window", 0, 0, 64) or None,
        rx_buffer=_number(options, "rx_buffer", RX_BUFFER, 64, 65_536),
    )


def _number(options: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not (least <= value <= most):
        raise ValueError(f"{name}: write a whole number from {least} to {most}, not {value!r}")
    return value


factory = GcodeFactory()
