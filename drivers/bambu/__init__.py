"""Bambu Lab printers in LAN mode: MQTT and FTP within TLS. `factory` is what the entry point names.

The machinery is loaded with the first printer: a configuration is checked against the option names alone.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from drivers.bambu.options import NAMES, read_model, read_options
from drivers.contract import Check, Driver


class BambuFactory:
    """Builds and examines Bambu printers. Implements `drivers.contract.DriverFactory`."""

    name = "bambu"

    def option_names(self) -> frozenset[str]:
        """`host`, `serial`, `access_code`: as the printer's screen shows them. `model`: such as P1S. `mqtt_port`, `ftps_port`.
        `tls`: `pin`, `ca` (with `tls_ca`) or `insecure`. `url`: how a file is named in a start, `auto`, `ftp` or `sdcard`."""
        return NAMES

    def machine(self, options: Mapping[str, Any]) -> str | None:
        """See the port."""
        return read_model(options).name

    def create(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> Driver:
        """See the port."""
        from drivers.bambu.driver import BambuDriver

        return BambuDriver(printer_id, read_options(options), folder)

    def examine(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> AsyncIterator[Check]:  # noqa: ARG002 - the port's
        """See the port."""
        from drivers.bambu.examine import examine

        return examine(options, folder)


factory = BambuFactory()
