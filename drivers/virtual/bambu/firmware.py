"""A virtual Bambu printer without its network: messages in, messages out, in a time that is handed in.

It understands every command that a client of the local network sends and answers as the model does: an acknowledgement means
queued, the effect is in the reports. It must never look at a clock or a socket; the card is a folder and the only thing it reads.
"""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import orjson

from drivers.virtual.bambu import reports, requests
from drivers.virtual.bambu.agenda import Agenda
from drivers.virtual.bambu.ams import Feeder
from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.faults import UNSIGNED, UNSIGNED_HMS, Faults, Unsigned
from drivers.virtual.bambu.job import Pace
from drivers.virtual.bambu.machine import Machine
from drivers.virtual.bambu.models import Model
from drivers.virtual.bambu.record import Record
from drivers.virtual.bed import Bed

_ANSWERING = 0.05  # seconds of its own time until a command is acknowledged
_PUSHALL_PAUSE = 3.0  # the vendor's own program waits that long
Body = Mapping[str, Any]


class Firmware:
    """A printer that is switched on. Moments are seconds of its own time, from 0 on, never before one given earlier.

    `report_every`: seconds between two reports in which nothing happens. After any call `take` has what is to be published, and
    `next_event` says when to call again.
    """

    def __init__(
        self,
        model: Model,
        serial: str,
        card: Card,
        bed: Bed,
        feeder: Feeder,
        *,
        faults: Faults | None = None,
        record: Record | None = None,
        pace: Pace | None = None,
        report_every: float = 2.0,
    ) -> None:
        self.model, self.serial = model, serial
        self.faults, self.record = faults or Faults(), record or Record()
        self.agenda = Agenda()
        self.machine = Machine(
            model, card, bed, feeder, self.faults, self.record, self.agenda, pace or Pace(), lambda: self._report(self._beat)
        )
        self._every = report_every
        self._beat = self._own_number = 0
        self._said: dict[str, Any] = {}  # what everybody was told last, field by field
        self._out: list[bytes] = []
        self._asked = False  # for everything, since the last client came in
        self._beating()

    # --- the wire ---

    def receive(self, payload: bytes, now: float) -> None:
        """A message on the request topic. What is no command is ignored, as it is by the real one."""
        self.advance(now)
        if self.faults.wire.deaf:
            return
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            self.record.complaints.append("sent what is no JSON")
            return
        for section, body in message.items() if isinstance(message, dict) else ():
            if isinstance(body, dict):
                self._obey(section, body)

    def joined(self, now: float) -> None:
        """A client listens from now on."""
        self.advance(now)
        self._asked = False
        self.machine.met()

    def advance(self, now: float) -> None:
        """Let everything happen up to and including `now`."""
        self.agenda.advance(now)

    def next_event(self) -> float:
        return self.agenda.next_at

    def take(self) -> list[bytes]:
        """What is to be published, in its order."""
        out, self._out = self._out, []
        return out

    # --- power ---

    def switch_off(self, now: float) -> None:
        """Every plan, every field and every message that was not sent is gone."""
        self.advance(now)
        self.machine.lose_power()
        self._said, self._out = {}, []

    def switch_on(self, now: float, *, ghost: bool = False) -> None:
        """Idle, as if nothing had been; `ghost` prints the file of the last job again."""
        self.advance(now)
        self._beating()
        self.machine.power_up(ghost=ghost)

    # --- commands ---

    def _obey(self, section: str, body: Body) -> None:
        command = str(body.get("command", ""))
        self.record.commands.append(f"{section}.{command}")
        if section == "pushing":
            self._push(command)
        elif section == "info" and command == "get_version":
            modules = reports.version(self.machine, self.serial)
            self._answer_with("info", {"command": command, "sequence_id": body.get("sequence_id"), "module": modules})
        elif section == "print":
            self._command(body, command)
        elif section == "system":
            self._system(body, command)
        elif section in ("camera", "xcam", "upgrade"):
            self._acknowledge(section, body)

    def _push(self, command: str) -> None:
        if command == "pushall":
            asked = self.record.pushalls
            if self._asked and self.agenda.now - asked[-1] < min(_PUSHALL_PAUSE, self._every * 1.5):
                self.record.complaints.append("asked for the whole state twice at once")
            self._asked = True
            asked.append(self.agenda.now)
            self.agenda.later(_ANSWERING, lambda: self._report_all())
        elif command == "start":
            self.faults.wire.silent = self.faults.wire.silent and not self.faults.wire.wakes
            self._report(self._beat)

    def _command(self, body: Body, command: str) -> None:
        unsigned = self.faults.wire.unsigned
        if unsigned is not None and "header" not in body:
            self._refuse_unsigned(unsigned, body)
            return
        action = self._action(body, command)
        if action is None:
            self._acknowledge("print", body, error=84033545, reason="unknown command")
            return
        self._acknowledge("print", body)
        action()

    def _action(self, body: Body, command: str) -> Callable[[], None] | None:
        machine = self.machine
        if command == "project_file":
            return lambda: self._start(body)
        simple: dict[str, Callable[[], None]] = {
            "pause": machine.pause,
            "resume": machine.resume,
            "stop": machine.stop,
            "clean_print_error": machine.clear_error,
            "print_speed": lambda: machine.set_speed(_integer(body.get("param"))),
        }
        return simple.get(command) or ((lambda: None) if command in _WITHOUT_EFFECT else None)

    def _start(self, body: Body) -> None:
        self.record.complaints += requests.complaints_of(body)
        self.machine.order(requests.read_order(body))

    def _system(self, body: Body, command: str) -> None:
        self._acknowledge("system", body)
        if command in ("ledctrl", "") and body.get("led_node", "chamber_light") == "chamber_light" and "led_mode" in body:
            self.machine.light = body["led_mode"] == "on"  # a client in wide use names neither command nor lamp
            self._report(self._beat)

    # --- answers ---

    def _acknowledge(self, section: str, body: Body, *, error: int = 0, reason: str = "") -> None:
        """The command comes back with a result."""
        said = dict(body)
        if not self.model.answers_command:
            said.pop("command", None)
        word = self.model.success
        said |= {"result": "failed" if error else word, "reason": reason or word, "err_code": error}
        if not self.faults.wire.unanswered:
            self._answer_with(section, said)

    def _refuse_unsigned(self, how: Unsigned, body: Body) -> None:
        if how is Unsigned.ANSWER:
            self._acknowledge("print", body, error=UNSIGNED, reason="mqtt message verify failed")
        elif how is Unsigned.ECHO:
            self._answer_with("print", dict(body))
            if UNSIGNED_HMS not in self.machine.hms:
                self.machine.hms.append(UNSIGNED_HMS)
                self._report(self._beat)

    def _answer_with(self, section: str, body: dict[str, Any]) -> None:
        self.agenda.later(_ANSWERING + self.faults.wire.answer_after, lambda: self._send(section, body))

    # --- reports ---

    def _beating(self) -> None:
        """One report now, and the next in its time."""
        self._beat += 1
        self._report(self._beat)
        if self._every < inf:
            self.agenda.later(self._every, self._beating)

    def _report(self, beat: int) -> None:
        """What is new to everybody, or everything where the firmware always says everything."""
        fields = self._fields(beat)
        if self.model.full_reports:
            self._push_status(fields, whole=True)
        elif news := reports.difference(self._said, fields, ams_lists=self.model.ams_in_deltas):
            self._push_status(news, whole=False)
        self._said = fields

    def _report_all(self) -> None:
        self._said = fields = self._fields(self._beat)
        self._push_status(fields, whole=True)

    def _fields(self, beat: int) -> dict[str, Any]:
        return reports.whole(self.machine, signed_only=self.faults.wire.unsigned is not None, beat=beat)

    def _push_status(self, fields: dict[str, Any], *, whole: bool) -> None:
        self._own_number += 1
        envelope: dict[str, Any] = {"command": "push_status", "sequence_id": str(self._own_number)}
        if self.model.marks_full:
            envelope["msg"] = 0 if whole else 1
        self._send("print", fields | envelope)

    def _send(self, section: str, body: dict[str, Any]) -> None:
        self._out.append(self.faults.wire.spoiled(orjson.dumps({section: body})))


_WITHOUT_EFFECT = frozenset(
    {"gcode_line", "gcode_file", "skip_objects", "ams_control", "ams_change_filament", "ams_filament_setting", "calibration"}
)


def _integer(value: Any) -> int:
    return int(value) if isinstance(value, str) and value.isdecimal() else 0
