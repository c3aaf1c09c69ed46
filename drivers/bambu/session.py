"""One printer's side of the talk: what it told so far, what that means for the print at hand, and what is to be asked next.

No socket and no clock: the driver hands in payloads and the time, takes out commands, and reads the `sight`. Nothing is concluded
before the first full report of a connection, and a link that is lost says nothing about a print.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drivers.bambu import fields
from drivers.bambu.commands import Command, Commands
from drivers.bambu.faults import CANCELLED, LOCKED_WORDS, Fault, Kind, hms_faults, print_fault
from drivers.bambu.fields import ACTIVE, Identity
from drivers.bambu.frames import Answer, Report, Version, read_frame
from drivers.bambu.launch import Launch, Refusal
from drivers.bambu.merge import merge
from drivers.bambu.models import Model
from drivers.bambu.prints import Print, Prints
from drivers.bambu.trays import TRAY_KEYS, feeding, has_changer, spools_of
from drivers.contract import Outcome, Spool

KEEP_ANSWERS = 16
_TELLING = (
    *("gcode_state", "subtask_id", "subtask_name", "gcode_file", "mc_percent", "layer_num"),
    *("print_error", "fail_reason", "hms", "fun", "stg_cur"),
)
"""Fields of which a change may mean something for the print at hand."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `full`: until the first full report of a connection is asked for once more. `silence`: without any report until
    the stream is woken, and `revival` more until the connection is made anew; `gap`: after which something may have been missed.
    `landed` and `begun`: how long a start may take to be known to the printer, and from there to begin. `stopping`: how long a stop
    may take to show. `asking`: between two requests for everything, where the printer is slow, and `asking_quick` elsewhere."""

    full: float = 15.0
    silence: float = 60.0
    revival: float = 15.0
    landed: float = 90.0
    begun: float = 180.0
    stopping: float = 60.0
    gap: float = 10.0
    asking: float = 300.0
    asking_quick: float = 3.0


class Session:
    """What is known of one printer over all its connections. `wall` gives seconds since the epoch."""

    __slots__ = (
        *("_asked_at", "_at_hand", "_at_work", "_doubted", "_last_code", "_layer", "_out", "_percent", "_told_at", "_wall"),
        *("_woken_at", "answers", "card", "commands", "epoch", "fault", "feeding", "firmware", "fulls", "gap"),
        *("heard_at", "hms", "launch", "model", "picture", "prints", "ready", "spools", "state"),
        *("stopping", "stranger_until", "timing", "token", "unheeded"),
    )

    def __init__(self, model: Model, prints: Prints, commands: Commands, timing: Timing, wall: Callable[[], float]) -> None:
        self.prints, self.commands, self.timing = prints, commands, timing
        self.picture: dict[str, Any] = {}
        self.ready = False  # a full report of this connection was read
        self.epoch = 0
        self.state = ""
        self.token: str | None = None  # whose print the printer names
        self.launch: Launch | None = None
        self.stopping: tuple[str, float] | None = None
        self.hms: tuple[Fault, ...] = ()
        self.fault: Fault | None = None  # of print_error
        self.card: str | None = None
        self.spools: tuple[Spool, ...] | None = None
        self.feeding: str | None = None  # the slot whose filament is in the nozzle
        self.firmware: str | None = None
        self.answers: dict[str, Answer] = {}
        self.heard_at = 0.0
        self.stranger_until = 0.0  # somebody else's start was taken, and may begin until then
        self._at_hand: Identity | None = None  # the names last told over this connection
        self.gap = False  # since the last full report there was a silence, in which a change may have been missed
        self.fulls = 0  # full reports so far
        self.unheeded = False  # a command of ours was refused for not being signed
        self.model, self._wall = model, wall
        self._out: list[Command] = []
        self._last_code = 0  # the last print_error seen while the print at hand was at work
        self._at_work: str | None = None  # our print that this connection saw at work
        self._percent = self._layer = 0  # the furthest the print at work was seen; they fall to 0 when it is stopped
        self._asked_at = self._woken_at = self._told_at = float("-inf")
        self._doubted = False

    # --- the link ---

    def opened(self, now: float) -> None:
        """A connection stands: everything is to be told anew."""
        self.picture, self.ready, self._at_work, self._last_code = {}, False, None, 0
        self.hms, self.fault, self._at_hand, self.stranger_until = (), None, None, 0.0
        self.answers.clear()
        self.heard_at, self._woken_at = now, float("-inf")
        self._ask_all(now)
        self._out.append(self.commands.tell_version())

    def lost(self) -> None:
        """The connection is gone."""
        self.ready, self._at_work = False, None
        self._out.clear()

    def take(self) -> list[bytes]:
        """What is to be sent now."""
        out, self._out = self._out, []
        return [command.payload for command in out]

    def say(self, *commands: Command) -> None:
        """Have commands sent with the next `take`."""
        self._out += commands

    def ask_all(self, now: float, *, urgent: bool = False) -> bool:
        """Ask for every field, unless that was done too short a while ago; where it is urgent, a slow printer has to bear it."""
        due = self._asked_at + (self.timing.asking if self.model.slow and not urgent else self.timing.asking_quick)
        if now < due:
            return False
        self._ask_all(now)
        return True

    def _stood_still_at(self) -> float:
        """When a print at work has told nothing new for suspiciously long."""
        return max(self._told_at, self._asked_at) + self.timing.asking

    def doubt(self) -> None:
        """Something that ought to show does not. A difference that got lost is never repeated, so everything is asked for as soon
        as that may be done again."""
        self._doubted = True

    def _ask_all(self, now: float) -> None:
        self._asked_at, self._doubted = now, False
        self._out.append(self.commands.tell_all())

    def tick(self, now: float) -> bool:
        """Look at the clock. True when the connection is dead although it stands, and has to be made anew."""
        if now >= self.stranger_until:
            self.stranger_until = 0.0
        if self.launch is not None and self.launch.over(now, self.timing.landed, self.timing.begun):
            self._give_up_launch()
        if self.stopping is not None and now - self.stopping[1] >= self.timing.stopping:
            self.stopping = None
            self.doubt()
        if self.ready and self.state in ACTIVE and now >= self._stood_still_at():
            self._ask_all(now)
        if self._doubted and self.ready:
            self.ask_all(now, urgent=True)
        silent = now - self.heard_at
        if self.gap and silent < self.timing.gap:
            self.ask_all(now)  # differences do not repeat what they told before
        if not self.ready and silent < self.timing.silence and now - self._asked_at >= self.timing.full:
            self._ask_all(now)  # the first question of a connection may have come too early for the printer
        if silent < self.timing.silence:
            return False
        if self._woken_at < self.heard_at:
            self._woken_at = now
            self._out.append(self.commands.report_again())
            return False
        # A connection that is made anew while a start is being read in has been seen to spoil that start.
        return now - self._woken_at >= self.timing.revival and self.launch is None

    def deadline(self) -> float:
        """When `tick` is due although nothing arrives."""
        due = []
        if self._woken_at < self.heard_at:
            due.append(self.heard_at + self.timing.silence)
        elif self.launch is None:
            due.append(self._woken_at + self.timing.revival)
        if not self.ready:
            due.append(self._asked_at + self.timing.full)
        if self.launch is not None:
            due.append(self.launch.due(self.timing.landed, self.timing.begun))
        if self.stranger_until:
            due.append(self.stranger_until)
        if self.stopping is not None:
            due.append(self.stopping[1] + self.timing.stopping)
        if self._doubted and self.ready:
            due.append(self._asked_at + self.timing.asking_quick)
        elif self.ready and self.state in ACTIVE:
            due.append(self._stood_still_at())
        return min(due, default=float("inf"))

    # --- what arrives ---

    def receive(self, payload: bytes | bytearray, now: float) -> None:
        """Take in one message."""
        self.gap = self.gap or (self.ready and now - self.heard_at > self.timing.gap)
        if self._woken_at >= self.heard_at:
            self._woken_at = float("-inf")
            self._ask_all(now)  # what changed in a silence is not repeated in the differences after it
        self.heard_at = now
        frame = read_frame(payload)
        match frame:
            case Report():
                self._report(frame, now)
            case Answer():
                self._answer(frame)
            case Version():
                self.firmware = frame.modules.get("ota", self.firmware)

    def _answer(self, answer: Answer) -> None:
        launch = self.launch
        if launch is not None and answer.sequence_id == launch.sequence_id:
            if answer.unsigned:
                self.unheeded = True
            launch.answered(answer)
            if launch.refusal is not None:
                self._refused(launch)
        elif answer.unsigned:
            self.unheeded = True
        elif answer.ok:
            self.unheeded = False
        self.answers[answer.sequence_id] = answer
        while len(self.answers) > KEEP_ANSWERS:
            del self.answers[next(iter(self.answers))]

    def _report(self, report: Report, now: float) -> None:
        news, picture = report.fields, self.picture
        full = report.full or (report.full is None and fields.looks_full(news))
        # most reports tell of a temperature and nothing else
        reload = not self.ready or any(key in news and news[key] != picture.get(key) for key in TRAY_KEYS)
        telling = not self.ready or any(key in news and news[key] != picture.get(key) for key in _TELLING)
        merge(picture, news, full=full)
        if full:
            self.gap = False
            self.fulls += 1
            self.card = fields.card_trouble(picture)
            if not self.ready:
                self.ready = True
                self.epoch += 1
                self._take_up_launch(now)
        if not self.ready:
            return
        if reload:
            self.spools, self.feeding = spools_of(picture), feeding(picture)
        if telling:
            self._told_at = now
            self.hms = hms_faults(picture.get("hms"))
            self.fault = print_fault(picture.get("print_error"))
            if fields.is_locked(picture) is False:
                self.unheeded = False
            self._judge(now)

    # --- what it means ---

    @property
    def identity(self) -> Identity:
        return fields.identity_of(self.picture)

    @property
    def has_changer(self) -> bool:
        """Whether filament lies in more than one place."""
        return has_changer(self.picture)

    @property
    def mark(self) -> tuple[object, ...]:
        """Changes whenever the farm should hear of it at once."""
        return (
            *(
                self.epoch,
                self.state,
                self.token,
                self.launch is None,
                self.stopping is None,
                self.stranger_until,
                self.error_number,
                self.card,
            ),
            *(self._percent, self._layer, self.hms, self.spools, self.unheeded, self.picture.get("stg_cur")),
        )

    @property
    def error_number(self) -> int:
        number = self.picture.get("print_error")
        return number & 0xFFFFFFFF if type(number) is int else 0

    def _judge(self, now: float) -> None:
        """Whose print is at hand, and what has become of it."""
        told, rested = self.picture.get("gcode_state"), self.state in fields.REST
        if type(told) is str and told in fields.STATES:
            self.state = told
        at_hand, before = self.identity, self._at_hand
        self._at_hand = at_hand
        self.token = self.prints.whose(at_hand)
        if self.state in ACTIVE:
            self.stranger_until = 0.0
        elif rested and before is not None and self.token is None and at_hand.renamed(before):
            self.stranger_until = now + self.timing.landed + self.timing.begun
        if self.token is None and self._at_work is not None and at_hand.empty:
            self.token = self._at_work  # some firmware forgets the names together with the print
        if self.launch is not None:
            self._judge_launch(self.launch, now)
        if self.state in ACTIVE:
            self._working()
            return
        self.stopping = None
        if self.token is not None:
            self._resting(self.token)

    def _working(self) -> None:
        if self.launch is not None and self.token != self.launch.token:
            return  # the names may still be those of the print before
        if self._at_work != self.token:
            self._at_work, self._last_code, self._percent, self._layer = self.token, 0, 0, 0
        self._last_code = self.error_number or self._last_code
        self._percent = max(self._percent, fields.percent_of(self.picture) or 0)
        self._layer = max(self._layer, fields.layer_of(self.picture) or 0)
        known = self.prints.get(self.token)
        if known is not None and (not known.begun or known.ended is not None):
            self.prints.note(known.token, begun=True, ended=None)

    def _resting(self, token: str) -> None:
        known = self.prints.get(token)
        if known is None or known.ended is not None or (self.launch is not None and self.launch.token == token):
            return
        if self.state == "FINISH":
            if known.begun or known.before != "FINISH":
                self.prints.note(token, ended=Outcome.SUCCEEDED)
        elif self.state == "FAILED":
            if known.begun or known.before != "FAILED":
                self.prints.note(token, ended=self._how_failed(known))
        elif self._at_work == token and self._percent < 100:
            # Old firmware goes from RUNNING straight to IDLE. After a lost link IDLE proves nothing.
            self.prints.note(token, ended=Outcome.CANCELLED if known.stopped else Outcome.FAILED)

    def is_over(self, known: Print) -> bool:
        """Whether a resting printer will not go on with it: it ended, or it was at work once and is not at hand any more."""
        return known.ended is not None or (known.begun and known.token != self.token)

    def _how_failed(self, known: Print) -> Outcome:
        reason = self.picture.get("fail_reason")
        named = int(reason) & 0xFFFFFFFF if isinstance(reason, str) and reason.isascii() and reason.isdigit() else 0
        codes = {self._last_code, self.error_number, named}
        return Outcome.CANCELLED if known.stopped or codes & CANCELLED else Outcome.FAILED

    # --- a start on its way ---

    @property
    def advance(self) -> tuple[int, int]:
        """How far the print at work was seen: percent and layers."""
        return self._percent, self._layer

    def launching(self, launch: Launch, command: Command) -> None:
        """A start leaves now. Its print is written down already."""
        self.launch = launch
        self._out.append(command)

    def _take_up_launch(self, now: float) -> None:
        """After a restart: a start that left a short while ago may still be on its way."""
        patience = self.timing.landed + self.timing.begun
        for each in self.prints:
            age = self._wall() - each.sent_at
            if self.launch is None and each.subtask_id and not each.begun and each.ended is None and 0 <= age < patience:
                self.launch = Launch(each.token, "", now - age, each.before, self.error_number, self.hms)

    def _judge_launch(self, launch: Launch, now: float) -> None:
        launch.look(self.token, self.state, self.fault, self.error_number, self.hms)
        if launch.landed:
            self.unheeded = False
        if launch.begun:
            self.launch = None
        elif launch.refusal is not None:
            self._refused(launch)
            if launch.refusal is Refusal.BUSY and self.state not in ACTIVE:
                self.stranger_until = now + self.timing.landed + self.timing.begun  # with what, does not show yet

    def _refused(self, launch: Launch) -> None:
        if launch.refusal is Refusal.LOCKED:
            self.unheeded = True
        self.prints.note(launch.token, ended=Outcome.FAILED)
        self.launch = None

    def _give_up_launch(self) -> None:
        """Accepted or not, it did not begin: from here on only the printer's own words count. It stays in doubt."""
        launch, self.launch = self.launch, None
        if launch is not None and not launch.landed and not launch.answer_seen:
            self.unheeded = True

    def stop_sent(self, token: str, now: float) -> None:
        """A stop leaves for the print of `token`."""
        self.stopping = (token, now)
        self.prints.note(token, stopped=True)

    @property
    def locked(self) -> str | None:
        """Why no command is taken, when the printer lets that be known."""
        told = fields.is_locked(self.picture)
        by_hms = any(fault.kind is Kind.LOCKED for fault in self.hms)
        return LOCKED_WORDS if told or (told is None and (by_hms or self.unheeded)) else None
