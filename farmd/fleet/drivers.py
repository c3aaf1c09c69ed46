"""Which drivers are installed: everything that names itself in the entry-point group `farmd.drivers`.

The only way from farmd to a driver; a driver somebody else wrote is found like our own. A driver that cannot be imported is
left out with a word in the log and must not keep the other printers from working.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

import structlog

from drivers.contract import DriverFactory
from farmd.config import PrinterSettings

GROUP = "farmd.drivers"
log = structlog.get_logger()


@cache
def load_factories() -> Mapping[str, DriverFactory]:
    """Every installed driver's factory by the name of its entry point."""
    factories: dict[str, DriverFactory] = {}
    for point in entry_points(group=GROUP):
        try:
            factories[point.name] = point.load()
        except (ImportError, AttributeError) as error:
            log.error("driver.left_out", driver=point.name, module=point.value, error=str(error))
    return factories


def machine_of(printer: PrinterSettings) -> str | None:
    """The model a printer's files must be made for, by its driver's word; None where any G-code will do. Raises `ValueError` naming
    the option that is missing or wrong."""
    return load_factories()[printer.driver].machine(printer.options)


def option_names() -> Mapping[str, frozenset[str]]:
    """The keys each driver takes from its `[[printers]]` block, by driver; what the configuration is checked against."""
    return {name: factory.option_names() for name, factory in load_factories().items()}
