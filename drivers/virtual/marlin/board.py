"""What one virtual board is: the numbers and switches its firmware was built with, and how its machine behaves.

Everything here is fixed before power comes on. The defaults are those of an ordinary 8-bit Marlin board behind a
USB-serial chip. Nothing here may depend on what a host does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_COMMAND = 95  # bytes of one line that are kept
KEEPALIVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Board:
    """Seconds, millimetres and degrees Celsius; sizes in bytes, lines or blocks as the firmware counts them.

    `baud` paces both directions with ten bits for each byte; `native_usb` ignores it and never loses a byte.
    `reset_on_open`: the edge on DTR at opening the port resets the board. `idle_wait`: seconds of idleness after which it
    says `wait`, 0 for never. `capabilities` overrules single lines of M115.
    """

    baud: int = 250_000
    native_usb: bool = False
    rx_buffer: int = 128
    command_slots: int = 4
    planner_blocks: int = 16
    advanced_ok: bool = False
    emergency_parser: bool = True
    case_insensitive: bool = False
    arcs: bool = True
    chamber: bool = False
    progress_report: bool = True
    reset_on_open: bool = False
    boot_seconds: float = 1.0
    idle_wait: float = 0.0
    max_feedrate: float = 300.0  # mm/s
    homing_seconds: float = 4.0  # each axis
    probing_seconds: float = 30.0
    ambient: float = 21.3
    nozzle_rate: float = 3.0  # degrees each second, on the way up; cooling takes four times as long
    bed_rate: float = 0.8
    residency: float = 10.0  # seconds within the window before M109 and M190 are content
    coldest_extrusion: float = 170.0
    cold_extrusion: bool = False  # filament may be moved at any temperature, as after M302 P1
    park_timeout: float = 45.0  # seconds a parked nozzle is kept hot
    firmware_name: str = "Marlin bugfix-2.1.x (Oct 13 2024 12:00:00)"
    machine_type: str = "Virtual Marlin"
    uuid: str = "cede2a2f-41a2-4748-9b12-c55c62f367ff"
    capabilities: Mapping[str, bool] = field(default_factory=dict)

    @property
    def byte_seconds(self) -> float:
        """How long one byte takes on the wire."""
        return 0.0 if self.native_usb else 10.0 / self.baud

    def firmware_lines(self) -> list[str]:
        """The answer to M115."""
        head = (
            f"FIRMWARE_NAME:{self.firmware_name} SOURCE_CODE_URL:github.com/MarlinFirmware/Marlin PROTOCOL_VERSION:1.0 "
            f"MACHINE_TYPE:{self.machine_type} KINEMATICS:Cartesian EXTRUDER_COUNT:1 UUID:{self.uuid}"
        )
        return [head, *(f"Cap:{name}:{int(able)}" for name, able in (self._abilities() | dict(self.capabilities)).items())]

    def _abilities(self) -> dict[str, bool]:
        lacking = ("SERIAL_XON_XOFF", "BINARY_FILE_TRANSFER")
        return dict.fromkeys(lacking, False) | {
            "EEPROM": True,
            "AUTOREPORT_POS": True,
            "AUTOREPORT_TEMP": True,
            "PROGRESS": False,
            "PRINT_JOB": True,
            "AUTOLEVEL": True,
            "RUNOUT": True,
            "Z_PROBE": True,
            "LEVELING_DATA": True,
            "BUILD_PERCENT": True,
            "SOFTWARE_POWER": False,
            "EMERGENCY_PARSER": self.emergency_parser,
            "HOST_ACTION_COMMANDS": True,
            "PROMPT_SUPPORT": True,
            "SDCARD": True,
            "SD_WRITE": True,
            "AUTOREPORT_SD_STATUS": True,
            "LONG_FILENAME": False,
            "LFN_WRITE": False,
            "EXTENDED_M20": False,
            "THERMAL_PROTECTION": True,
            "ARCS": self.arcs,
            "BABYSTEPPING": False,
            "CHAMBER_TEMPERATURE": self.chamber,
            "MEATPACK": False,
            "CONFIG_EXPORT": False,
        }
