"""What goes wrong with a virtual Bambu printer, on demand: knobs that a test turns before or while things happen.

Three groups, for the three places where it happens: the job, the messages, the files. Every moment is in seconds of the printer's
own time. A knob never touches what the machine really did: that stands in the record.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

CANNOT_PARSE = 0x05004003
BUSY = 0x05004004
BAD_PATH = 0x05004002
STORAGE_EXCEPTION = 0x0500C010
WRONG_MODEL = 0x05004037
WRONG_NOZZLE = 0x0500403C
CANCELLED = 0x0300400C
RUNOUT = 0x07008011
RUNOUT_LITE = 0x12008011
RUNOUT_EXTERNAL = 0x07FF8011
NO_MAPPING = 0x07008012
UNSIGNED = 0x05024007  # the err_code of an acknowledgement, never an error on the screen
UNSIGNED_HMS = (0x05000500, 0x00010007)


class Unsigned(Enum):
    """How firmware in need of signatures turns down a command without one."""

    ANSWER = "answer"  # an acknowledgement that says so
    SILENCE = "silence"
    ECHO = "echo"  # the command comes back without a result, and a health message appears


@dataclass(slots=True)
class JobFaults:
    """`starts_nothing`: a start is acknowledged and forgotten. `start_error`: it is acknowledged, nothing happens but this
    error on the screen. `reject`: the printer gives the job up with this error before it began. `start_after`: how long
    the old state stays. `busy_kills`: a start meanwhile ends the print at hand. `silent_cancel`: a stop leads to IDLE
    without a FAILED."""

    starts_nothing: bool = False
    start_error: int | None = None
    reject: int | None = None
    start_after: float | None = None
    skips_prepare: bool = False
    busy_kills: bool = False
    silent_cancel: bool = False
    hides_ids: bool = False  # it shows ids of its own for a job


@dataclass(slots=True)
class Wire:
    """`refuse_code`: every CONNECT gets it. `deaf`: commands are swallowed, reports go on. `silent`: no report leaves, though
    the connection stands. `answer_after`: how late acknowledgements are. `unsigned`: commands without a signature are
    refused. `spoil`: what is done to the payload of each report, `spoil_next` to the next ones only."""

    refuse_code: int | None = None
    withhold_pubacks: bool = False
    silent: bool = False
    wakes: bool = True  # silence ends when a client asks for reports
    deaf: bool = False
    max_clients: int | None = None
    answer_after: float = 0.0
    unanswered: bool = False  # commands are carried out, their acknowledgements lost
    unsigned: Unsigned | None = None
    spoil: Callable[[bytes], bytes] | None = None
    spoil_next: list[Callable[[bytes], bytes]] = field(default_factory=list)

    def spoiled(self, payload: bytes) -> bytes:
        """The payload as it leaves."""
        if self.spoil_next:
            return self.spoil_next.pop(0)(payload)
        return self.spoil(payload) if self.spoil is not None else payload


@dataclass(slots=True)
class Upload:
    """`rate` in bytes per second. `die_at`: both connections of an upload die after so many bytes. `lose_after`: what comes
    after so many bytes is thrown away, and the upload confirmed. `keeps_open`: no close_notify, and the data connection
    stays as it is until the next command. `deaf_data`: nobody shakes hands for TLS on a data connection.
    `confirm_after`: how late the end of an upload is confirmed, in seconds of the clock. `refuse`: an upload is
    answered with this line."""

    rate: float | None = None
    die_at: int | None = None
    lose_after: int | None = None
    keeps_open: bool = False
    deaf_data: bool = False
    confirm_after: float = 0.0
    unconfirmed: bool = False  # the control connection dies when all bytes have come
    demands_reuse: bool = True
    refuse: str | None = None
    hangs: bool = False  # connections are taken and nothing is said


@dataclass(slots=True)
class Faults:
    """Everything of one printer."""

    job: JobFaults = field(default_factory=JobFaults)
    wire: Wire = field(default_factory=Wire)
    upload: Upload = field(default_factory=Upload)


def truncated(payload: bytes) -> bytes:
    """Half of a report."""
    return payload[: len(payload) // 2]


def not_utf8(payload: bytes) -> bytes:
    """A name in a report in bytes that are no UTF-8."""
    return payload.replace(b'"print":{', b'"print":{"operator":"caf\xe9 \xff",', 1)


def huge(payload: bytes) -> bytes:
    """A report of more than a megabyte."""
    return payload.replace(b'"print":{', b'"print":{"blob":"' + b"x" * 1_200_000 + b'",', 1)


def wrong_types(payload: bytes) -> bytes:
    """A report whose fields hold what they must not."""
    wrong = b'"print":{"mc_percent":"many","layer_num":null,"ams":[],"hms":{"a":1},"nozzle_temper":"warm","gcode_state":7,'
    return payload.replace(b'"print":{', wrong, 1)
