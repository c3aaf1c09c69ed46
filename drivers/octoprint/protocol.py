"""What OctoPrint says, as values; no input or output happens here.

Answers and pushed messages come from other people's machines and plugins, so every field may be missing, null or of a wrong
type. Reading never raises and never invents a state: what cannot be understood is a `Report` without a phase, on which
nobody above may conclude anything.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.contract import (
    Busy,
    DriverError,
    Outcome,
    Phase,
    Refused,
    Snapshot,
    Temperature,
    Unauthorized,
    Unreachable,
)

FOLDER = "farmd"
SUFFIX = ".gcode"

_TOKEN = re.compile(r"[A-Za-z0-9-]{1,120}")
_OURS = re.compile(rf"{FOLDER}/({_TOKEN.pattern}){re.escape(SUFFIX)}")

# "Starting" to "Finishing" all hold the machine for one print; a pause only counts as held once the moves in flight are done.
_PHASES = {
    "Operational": Phase.IDLE,
    "Starting": Phase.PRINTING,
    "Starting print from SD": Phase.PRINTING,
    "Printing": Phase.PRINTING,
    "Printing from SD": Phase.PRINTING,
    "Pausing": Phase.PRINTING,
    "Paused": Phase.PAUSED,
    "Resuming": Phase.PRINTING,
    "Finishing": Phase.PRINTING,
    "Cancelling": Phase.STOPPING,
    "Starting to send file to SD": Phase.BUSY,
    "Sending file to SD": Phase.BUSY,
    "Transferring file to SD": Phase.BUSY,
    "Offline": Phase.OFFLINE,
    "Opening serial connection": Phase.OFFLINE,
    "Detecting serial connection": Phase.OFFLINE,
    "Connecting": Phase.OFFLINE,
    "Offline after error": Phase.ERROR,
    "Error": Phase.ERROR,
}
_ERROR_PREFIXES = ("Error:", "Offline (Error")  # how versions before 1.8 put the error into the state itself

HOLDING = frozenset({"Pausing", "Paused"})

# Their arrival means the job may have changed; what it changed to is read from /api/job.
_TELLING = (
    "Connected",
    "Disconnected",
    "Error",
    "FileDeselected",
    "FileSelected",
    "PrintCancelled",
    "PrintDone",
    "PrintFailed",
    "PrintPaused",
    "PrintResumed",
    "PrintStarted",
    "PrinterReset",
    "PrinterStateChanged",
)


@dataclass(frozen=True, slots=True)
class Report:
    """One answer about the job at hand. `phase` is None when the answer does not tell."""

    phase: Phase | None
    state: str = ""
    file: str | None = None
    token: str | None = None
    progress: float | None = None
    seconds_left: int | None = None
    position: int | None = None
    message: str | None = None

    @property
    def active(self) -> bool:
        """A print is on the machine, as far as this answer tells."""
        return self.phase in (Phase.PRINTING, Phase.PAUSED, Phase.STOPPING)

    def snapshot(self, epoch: int, temperatures: Mapping[str, Temperature]) -> Snapshot:
        """The same in the port's words; an unreadable state is OFFLINE, on which a farm never concludes."""
        return Snapshot(
            phase=self.phase or Phase.OFFLINE,
            epoch=epoch,
            token=self.token,
            file=self.file,
            progress=self.progress,
            seconds_left=self.seconds_left,
            position=self.position,
            temperatures=temperatures,
            message=self.message,
        )


@dataclass(frozen=True, slots=True)
class Current:
    """A pushed picture of the machine. It may be older than an answer already read: it never proves a change by itself."""

    report: Report
    temperatures: Mapping[str, Temperature] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Changed:
    """A pushed event after which the job has to be read again."""

    event: str


@dataclass(frozen=True, slots=True)
class ReauthRequired:
    """The session is not, or no longer, accepted; nothing more comes until somebody logs in again."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A pushed message that says nothing about the job."""


Push = Current | Changed | ReauthRequired | Ignored


def remote_path(token: str) -> str:
    """Where the file of `token` lies on OctoPrint. Raises `Refused` for a token outside A-Z, a-z, 0-9 and dash."""
    if not _TOKEN.fullmatch(token):
        raise Refused(f"token {token!r} cannot be a file name: use 1 to 120 letters, digits and dashes")
    return f"{FOLDER}/{token}{SUFFIX}"


def token_of(path: object, origin: object = "local") -> str | None:
    """The token a file was uploaded under; None for every file outside our own folder."""
    if origin != "local" or not isinstance(path, str):
        return None
    match = _OURS.fullmatch(path)
    return match[1] if match else None


def read_job(answer: object) -> Report:
    """Read `GET /api/job`."""
    body = _mapping(answer)
    return _report(body.get("state"), body.get("error"), body)


def read_temperatures(answer: object) -> dict[str, Temperature]:
    """Read the heaters out of `GET /api/printer`; a heater without a measured value is left out."""
    return _temperatures(_mapping(answer).get("temperature"))


def read_push(text: str | bytes) -> Push:
    """Read one message of the push socket."""
    try:
        message = _mapping(json.loads(text))
    except ValueError:
        return Ignored()
    if "reauthRequired" in message:
        return ReauthRequired()
    if "event" in message:
        name = _mapping(message["event"]).get("type")
        return Changed(name) if isinstance(name, str) and name in _TELLING else Ignored()
    if "current" not in message:
        return Ignored()
    current = _mapping(message["current"])
    state = _mapping(current.get("state"))
    history = current.get("temps")
    latest = history[-1] if isinstance(history, list) and history else None
    return Current(_report(state.get("text"), state.get("error"), current), _temperatures(latest))


def read_outcome(answer: object) -> Outcome | None:
    """Read a file's own history. OctoPrint keeps no reason: a cancelled print counts as FAILED."""
    prints = _mapping(_mapping(answer).get("prints"))
    success = _mapping(prints.get("last")).get("success")
    if isinstance(success, bool):
        return Outcome.SUCCEEDED if success else Outcome.FAILED
    return None


def read_rights(login: object) -> frozenset[str] | None:
    """The rights a login's answer lists; None where this version lists none."""
    roles = _mapping(_mapping(login).get("needs")).get("role")
    return frozenset(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else None


def auth_message(name: str, session: str) -> str:
    """What makes a fresh push socket ours. Secret: it lets its bearer act as the user."""
    return json.dumps({"auth": f"{name}:{session}"})


def subscription(throttle: int) -> tuple[str, ...]:
    """The messages that ask for what this driver reads and no more; `throttle` is in half seconds between two pictures."""
    wanted = {"state": {"logs": False, "messages": False}, "events": list(_TELLING), "plugins": False}
    return json.dumps({"subscribe": wanted}), json.dumps({"throttle": throttle})


def refusal(status: int, body: bytes, action: str) -> DriverError:
    """The error an unwelcome HTTP answer stands for. Anything from 500 up leaves open whether the call took effect."""
    said = _words(body)
    detail = f": {said}" if said else ""
    if status in (401, 403) or (status == 400 and "csrf" in said.lower()):
        # OctoPrint checks cross-site forgery before the key, so a POST with a wrong key complains of the former.
        return Unauthorized(f"OctoPrint did not let us {action}: the API key is wrong or lacks the right to do it")
    if 300 <= status < 400:
        return Refused(f"cannot {action}: the address redirects ({status}); set url to where OctoPrint itself answers")
    if status == 404:
        return Refused(f"cannot {action}: not found on this OctoPrint (404)")
    if status == 409:
        return Busy(f"OctoPrint would not {action}{detail or ' now (409)'}")
    if status == 413:
        return Refused(f"cannot {action}: too large (413); raise the body size limit of OctoPrint or the proxy before it")
    if 400 <= status < 500 and status not in (408, 425, 429):
        return Refused(f"OctoPrint would not {action} ({status}){detail}")
    return Unreachable(f"cannot {action}: OctoPrint, or a proxy before it, failed ({status}){detail}")


def _report(state: object, error: object, body: Mapping[str, Any]) -> Report:
    file = _mapping(_mapping(body.get("job")).get("file"))
    progress = _mapping(body.get("progress"))
    completion = _number(progress.get("completion"))
    path = file.get("path") or file.get("name")
    token = token_of(file.get("path"), file.get("origin"))
    phase, message = _phase(state, error)
    if phase is Phase.IDLE and token is not None and completion is not None and completion >= 100:
        phase = Phase.FINISHED
    return Report(
        phase=phase,
        state=state if isinstance(state, str) else "",
        file=path if isinstance(path, str) else None,
        token=token,
        progress=None if completion is None else min(completion / 100, 1.0),
        seconds_left=_whole(progress.get("printTimeLeft")),
        position=_whole(progress.get("filepos")),
        message=message,
    )


def _phase(state: object, error: object) -> tuple[Phase | None, str | None]:
    said = error.strip() if isinstance(error, str) and error.strip() else None
    if not isinstance(state, str):
        return None, "OctoPrint's answer about its job cannot be read"
    phase = Phase.ERROR if state.startswith(_ERROR_PREFIXES) else _PHASES.get(state)
    if phase is None:
        return None, f"OctoPrint reports a state this driver does not know: {state[:80]!r}"
    if phase is Phase.ERROR:
        return phase, said or state
    if phase is Phase.OFFLINE:
        return phase, f"OctoPrint is not connected to its printer ({said or state})"
    return phase, said


def _temperatures(heaters: object) -> dict[str, Temperature]:
    found = {}
    for name, values in _mapping(heaters).items():
        actual = _number(_mapping(values).get("actual"), least=-273.15)
        if actual is not None:
            found[name] = Temperature(actual, _number(_mapping(values).get("target")) or 0.0)
    return found


def _words(body: bytes) -> str:
    """The server's own words: its JSON error, or plain text; a proxy's HTML page says nothing."""
    text = body[:4096].decode("utf-8", "replace").strip()
    try:
        said = _mapping(json.loads(text)).get("error")
    except ValueError:
        said = "" if text.startswith("<") else text
    return " ".join(said.split())[:200] if isinstance(said, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object, least: float = 0.0) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 and math.isfinite(value) and value >= least else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
