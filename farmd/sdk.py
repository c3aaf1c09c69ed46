"""What a driver that lives outside this project may import: the port, its words, and the suite that proves a driver.

Register the driver under the entry-point group `farmd.drivers`; nothing else of farmd is a driver's business.
"""

from drivers.conformance import CASES, run
from drivers.contract import (
    Busy,
    Capability,
    Check,
    Concern,
    Driver,
    DriverError,
    DriverFactory,
    NotOurs,
    Outcome,
    Phase,
    Progress,
    Question,
    Refused,
    RemoteFile,
    Snapshot,
    Spool,
    Temperature,
    Unauthorized,
    Unreachable,
    Wire,
)

__all__ = [
    "CASES",
    "Busy",
    "Capability",
    "Check",
    "Concern",
    "Driver",
    "DriverError",
    "DriverFactory",
    "NotOurs",
    "Outcome",
    "Phase",
    "Progress",
    "Question",
    "Refused",
    "RemoteFile",
    "Snapshot",
    "Spool",
    "Temperature",
    "Unauthorized",
    "Unreachable",
    "Wire",
    "run",
]
