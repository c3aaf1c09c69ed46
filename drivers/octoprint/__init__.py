"""OctoPrint 1.8 and later, over its REST API and push socket. `factory` is what the entry point names.

The machinery is loaded with the first printer: a configuration is checked against the option names alone.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from drivers.contract import Check, Driver


class OctoPrintFactory:
    """Builds and examines OctoPrint printers. Implements `drivers.contract.DriverFactory`."""

    name = "octoprint"

    def option_names(self) -> frozenset[str]:
        """`url`: where OctoPrint's page opens, path prefix included. `api_key`: a user or application key."""
        return frozenset({"url", "api_key"})

    def machine(self, options: Mapping[str, Any]) -> str | None:  # noqa: ARG002 - the port's
        """See the port."""
        return None

    def create(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> Driver:  # noqa: ARG002 - the port's
        """See the port."""
        from drivers.octoprint.driver import OctoPrintDriver

        return OctoPrintDriver(printer_id, options.get("url", ""), options.get("api_key", ""))

    def examine(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> AsyncIterator[Check]:  # noqa: ARG002 - the port's
        """See the port."""
        from drivers.octoprint.examine import examine

        return examine(options)


factory = OctoPrintFactory()
