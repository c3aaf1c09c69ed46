"""The one port between a farm and its machines.

Every driver implements `Driver`; nobody above it knows which protocol is spoken. A driver reports what it sees as a stream of
`Snapshot`s (level, not edge) and obeys commands that name the print they mean. It must never conclude that a print failed
because a link was lost, and never touch a print whose token it was not given.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol


class Phase(StrEnum):
    """What the machine is doing, as far as its own words tell."""

    OFFLINE = "offline"  # no link, or a link to a server whose machine is not connected
    IDLE = "idle"  # ready; says nothing about the bed
    BUSY = "busy"  # occupied with something that is not a print (homing, transferring, starting up)
    PRINTING = "printing"
    PAUSED = "paused"
    STOPPING = "stopping"  # a cancel is being carried out
    FINISHED = "finished"  # the file named by `token`/`file` ran to its end and the machine rests
    ERROR = "error"  # the machine stopped itself and needs a person


class Capability(StrEnum):
    """What a driver can do beyond upload, start, cancel and watching. Absent means unsupported."""

    PAUSE = "pause"
    OUTCOME = "outcome"  # the machine keeps a history that outlives a lost link
    REMOVE = "remove"
    TEMPERATURES = "temperatures"
    PROGRESS = "progress"
    ANSWER = "answer"  # questions of the machine reach the farm, and can be answered from there
    SPOOLS = "spools"  # the machine says which filament lies in which of its places, and takes one of them by itself


class Concern(StrEnum):
    """What a person should see to, whatever the machine does meanwhile."""

    BAD_CABLE = "bad_cable"
    HELD = "held"  # a print waits for a person at the machine: filament, a door, a look at the first layer
    MACHINE_FAULT = "machine_fault"  # a part of the machine complains
    STORAGE = "storage"  # what the machine keeps its files on is missing, full or damaged
    LOCKED = "locked"  # the machine lets itself be watched but takes no commands


class Outcome(StrEnum):
    """How the machine's own history says a print ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"  # stopped by somebody; only where the machine tells it from a failure


@dataclass(frozen=True, slots=True)
class Temperature:
    """Degrees Celsius."""

    actual: float
    target: float


@dataclass(frozen=True, slots=True)
class Question:
    """What the machine asks a person in the middle of a print. `choices` in the order of their numbers, from 0; none: it can only
    be told to go on."""

    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wire:
    """How the print at hand fares on its way to the machine: `lines` taken, of which `resent` were needed twice, and the seconds in
    which the machine had nothing to do (None: it does not tell)."""

    lines: int
    resent: int
    stutter: float | None = None


@dataclass(frozen=True, slots=True)
class Spool:
    """Filament that the machine can feed by itself. `slot` is the driver's own word for its place, stable while the spool lies
    there. None: the machine does not know; a spool of unknown material or colour is never taken for a print."""

    slot: str
    material: str | None  # the field's word: PLA, PETG, ...
    color: str | None  # #rrggbb
    remaining: float | None = None  # 0..1


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything known about a machine at one moment.

    `token` is set when the file at hand was uploaded by a farm under that token (see `Driver.upload`); `file` is whatever name the
    machine gives. A print in progress without a token is foreign. `position` grows while a print advances (bytes of the file
    sent, or the like): it feeds the stall watchdog. `epoch` counts connections of this driver; the first snapshot of an epoch
    comes only after the machine's full state was read. A print that asks something is PAUSED until it is answered or resumed.
    `concerns` say in words what is the matter. `spools` is None where the machine does not tell what is loaded: then the farm goes
    by what a person said; an empty tuple means that nothing is loaded.
    """

    phase: Phase
    epoch: int
    token: str | None = None
    file: str | None = None
    progress: float | None = None  # 0..1
    seconds_left: int | None = None
    position: int | None = None
    temperatures: Mapping[str, Temperature] = field(default_factory=dict)
    message: str | None = None  # the machine's or the link's own words when something is wrong
    question: Question | None = None
    wire: Wire | None = None
    concerns: Mapping[Concern, str] = field(default_factory=dict)
    spools: tuple[Spool, ...] | None = None

    @property
    def active(self) -> bool:
        """A print is on the machine: moving, held, or being stopped."""
        return self.phase in (Phase.PRINTING, Phase.PAUSED, Phase.STOPPING)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the machine knows it: `path` is what the machine answered, never what was asked for."""

    path: str
    token: str
    size: int  # bytes, as confirmed by the machine


class DriverError(Exception):
    """Anything a driver may raise. `retryable`: the same call may succeed later without a person."""

    retryable = False

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        if retryable is not None:
            self.retryable = retryable


class Unreachable(DriverError):
    """No answer, or the link broke: whether a command arrived is not known."""

    retryable = True


class Refused(DriverError):
    """The machine answered no, and did nothing: the command certainly had no effect."""


class Busy(Refused):
    """Refused because something else occupies the machine; it may be free later."""

    retryable = True


class Unauthorized(DriverError):
    """The key or access code is wrong, or lacks the right. Certainly had no effect."""


class NotOurs(Refused):
    """The running print is not the one named; nothing was sent."""


Progress = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all) while a file goes up."""


class Driver(Protocol):
    """One machine. Commands may be called while `snapshots` is being consumed by another task, one command at a time."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    async def connect(self) -> None:
        """Open what has to be open and check the credentials. Raises `Unauthorized`, `Unreachable`; may be called again then."""

    def snapshots(self) -> AsyncIterator[Snapshot]:
        """Every change as it is seen, and at least one snapshot every `resync` seconds. A lost link is one OFFLINE snapshot;
        the driver reconnects by itself (with backoff) and goes on. Never ends, except by `close`."""

    async def upload(self, file: Path, token: str, progress: Progress) -> RemoteFile:
        """Put `file` on the machine so that `token` can be read back from its name; a repeated upload of a token replaces the
        first. Prints nothing. Raises `Refused`, `Unreachable`, `Unauthorized`."""

    async def start(self, remote: RemoteFile, slot: str | None = None) -> None:
        """Start this file, strictly: on a busy machine it raises `Busy` and nothing happens. Returning means accepted, not begun.
        `slot` names the `Spool` to print with (`Refused` when it is not there); None where the machine has one place only.
        Only `Refused`, `Busy`, `NotOurs` and `Unauthorized` prove that nothing started; after anything else ask the snapshots."""

    async def pause(self, token: str) -> None:
        """Hold the print named `token`; a no-op when it is already held. Raises `NotOurs` when another print runs."""

    async def resume(self, token: str) -> None:
        """Continue the held print named `token`; a no-op when it already runs. What the machine asks is answered with whatever lets
        the print go on. Raises `NotOurs`."""

    async def answer(self, token: str, choice: int) -> None:
        """Answer what the machine asks in the print named `token`. Raises `NotOurs`; `Refused` when there is no such choice."""

    async def cancel(self, token: str) -> None:
        """Ask the machine to stop the print named `token`; returns when it took the request, not when it rests.
        A no-op when nothing prints. Raises `NotOurs` when another print runs."""

    async def outcome(self, token: str) -> Outcome | None:
        """What the machine's own history says about `token`; None when it cannot tell (also: never printed)."""

    async def remove(self, remote: RemoteFile) -> None:
        """Delete the file; a no-op when it is gone. Raises `Busy` while it is being printed."""

    async def close(self) -> None:
        """Release the link. Leaves a running print alone."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step of a driver's self-examination, for `farmd doctor`."""

    name: str
    ok: bool
    detail: str


class DriverFactory(Protocol):
    """What an entry point of group `farmd.drivers` names."""

    name: str

    def option_names(self) -> frozenset[str]:
        """The keys this driver takes from its `[[printers]]` block, beyond those every printer has."""

    def machine(self, options: Mapping[str, Any]) -> str | None:
        """The model of machine a sliced file must be made for, as the slicing profiles name it (`P1S`); None when this driver's
        machines take any G-code. Raises `ValueError` naming the option that is missing or wrong."""

    def create(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> Driver:
        """Build a driver without touching the network or the disk. `folder` is the machine's own and outlives the daemon; it may
        not exist yet. Raises `ValueError` naming the option that is missing or wrong."""

    def examine(self, printer_id: str, options: Mapping[str, Any], folder: Path) -> AsyncIterator[Check]:
        """Go through name resolution, connection, credentials and machine state step by step; stops after the first failed step."""
