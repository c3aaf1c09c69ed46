"""A serial machine while nothing of ours is printed on it: who is it, does it rest, and are its heaters off.

Sans-io, below the session. Nothing is sent here that moves an axis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from drivers.gcode import scripts
from drivers.gcode.flow import Course, Flow, Steps, Until
from drivers.gcode.machine import Machine, Prompt
from drivers.gcode.protocol import Link
from drivers.gcode.sources import Script

BOOT_SECONDS = 30.0
"""How long a machine may take to boot after its port was opened."""
GREET_SECONDS = 1.0
"""A machine that the opening of its port restarts says so by then, or somewhat later by itself."""
AGAIN_SECONDS = 10.0
ONE_BOOT_SECONDS = 2.0
"""The lines of one boot come within so long."""
LOOK_SECONDS = 5.0
"""How often a machine at rest is asked whether somebody prints from its card."""
NUDGE_SECONDS = 5.0
"""How often a machine is told to wait no longer, for heat or for a person, while a print is stopped."""
MOST_TOOLS = 8
SAFE_TRIES = 3
SAFE_SECONDS = 2.0
STOP_SECONDS = 900.0
"""A machine that waits for a person, and cannot be told not to, is waited for so long."""
UNSURE = "nobody can say whether its heaters are off: look at it"


class Phase(StrEnum):
    """What the machine is doing."""

    AWAY = "away"  # the port is closed
    GREETING = "greeting"
    READY = "ready"
    PRINTING = "printing"
    HELD = "held"
    STOPPING = "stopping"
    BUSY = "busy"  # occupied with something that is no print of ours
    FOREIGN = "foreign"  # it prints from its own card
    HALTED = "halted"  # it stopped itself; only a person brings it back


class Ending(StrEnum):
    """How a print ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class News:
    """Something to be written down and told. `kind`: held, resumed, ended, machine, rest, safe, trouble, cable. `unsafe`: it ended,
    and heaters may be on still."""

    kind: str
    token: str | None = None
    line: int = 0
    words: str = ""
    ending: Ending | None = None
    unsafe: bool = False


class Attendance:
    """`unsafe`: heaters may be on from a print that nobody ended; they are turned off before anything else."""

    def __init__(self, new_link: Callable[[], Link], *, unsafe: bool) -> None:
        self._new_link, self._unsafe = new_link, unsafe
        self.link = new_link()
        self.machine = Machine()
        self.phase = Phase.AWAY
        self.message: str | None = None
        self.news: list[News] = []
        self._course = Course()
        self._now = 0.0
        self._lost = False
        self._started_at = -ONE_BOOT_SECONDS
        self._heard_start = self._returning = False

    @property
    def prompt(self) -> Prompt | None:
        """What the machine asks a person."""
        return self.machine.prompt

    def _greet(self, *, wait_for_boot: bool = False) -> Flow:
        self.phase = Phase.GREETING
        if wait_for_boot:
            yield Until(lambda: self._heard_start, GREET_SECONDS)
        while True:
            self.link.begin(Script(scripts.GREETING), self._now)
            done = yield Until(self._line_done, BOOT_SECONDS)
            if words := self.machine.stranger():
                self._trouble(words)
                return None
            if done and self.link.trouble is None and self.machine.firmware:
                break
            self._trouble(self._no_greeting())
            yield Until(lambda: self._heard_start, AGAIN_SECONDS)
        if self.machine.marlin:
            self.link.window.known(2)
        if self._unsafe and self.machine.sd.size is None:
            self._unsafe = not (yield from self._make_sure(scripts.make_safe(self._tools)))
            if self._unsafe:
                self._trouble(UNSURE)
                return self._greet()
            self._tell("safe")
        self.message = None
        self._tell("machine", self.machine.firmware)
        return self._rest()

    def _no_greeting(self) -> str:
        if self.machine.only_noise:
            return "only noise comes from the machine: is this its baud rate?"
        return self.link.trouble or "the machine does not say who it is (M115)"

    def _rest(self) -> Flow:
        """Nothing of ours is on the machine: look what else is, and whether it still answers."""
        while True:
            foreign = self.machine.sd.size is not None
            phase = Phase.FOREIGN if foreign else Phase.BUSY if self.link.on_its_way else Phase.READY
            if phase is not self.phase:
                self.phase = phase
                self._tell("rest")
            if not self.link.on_its_way:
                self.link.say(b"M27", self._now)
                self._ask_heat()
            yield Until(self._answered_or_failed, LOOK_SECONDS)
            if self._failed_line():
                self._trouble(self.link.trouble or "")
                self._new_machine()
                return self._greet()
            if not self.link.on_its_way and (self.machine.sd.size is not None) == foreign:
                yield Until(self._failed_line, LOOK_SECONDS)

    @property
    def _tools(self) -> tuple[int, ...]:
        """The nozzles that may be hot."""
        count = self.machine.fields.get("EXTRUDER_COUNT", "")
        return tuple(range(min(int(count), MOST_TOOLS))) if count.isdecimal() else ()

    def _at(self) -> tuple[str | None, int]:
        """The print at hand, and its last line that was taken."""
        return None, 0

    def _line_done(self) -> bool:
        return self.link.finished or self._failed_line()

    def _answered_or_failed(self) -> bool:
        return self.link.on_its_way == 0 or self._failed_line()

    def _failed_line(self) -> bool:
        return self.link.trouble is not None

    def _run(self, commands: list[bytes]) -> Steps[bool]:
        """Bring a few commands over; how long the machine takes for them does not matter as long as it answers. Gives whether it
        took them."""
        self.link.begin(Script(commands), self._now)
        yield Until(self._line_done)
        return not self._failed_line()

    def _make_sure(self, commands: list[bytes]) -> Steps[bool]:
        """Bring commands over that make the machine safe, and end whatever it waits for. What does not get through with numbers is
        tried without. Gives whether the machine has taken them."""
        end = self._now + STOP_SECONDS
        for _ in range(SAFE_TRIES):
            self.link.begin(Script(commands), self._now)
            while not (yield Until(self._line_done, NUDGE_SECONDS)):
                if self._now >= end:
                    return False
                self._nudge()
            if not self._failed_line():
                return True
            self.link = self._new_link()
            for command in scripts.make_safe(self._tools):
                self.link.say(command, self._now)
            if (yield Until(lambda: self.link.on_its_way == 0, SAFE_SECONDS)):
                return True
        return False

    def _ask_heat(self) -> None:
        """Ask a machine that does not tell its temperatures by itself."""
        if not self.machine.able.get("AUTOREPORT_TEMP") and not self.link.questioned:
            self.link.say(b"M105", self._now)

    def _nudge(self) -> None:
        """Wait no longer, for heat or for a person. Without an emergency parser that takes a place in the firmware's queue, which
        may be the last one: then only when it certainly helps."""
        if self.machine.able.get("EMERGENCY_PARSER") is not False or self.machine.waits(self._now):
            self.link.say(b"M108", self._now)

    def _new_machine(self) -> None:
        self.link, self.machine = self._new_link(), Machine()
        self._heard_start = self._returning = self._lost = False

    def _trouble(self, words: str) -> None:
        if words != self.message:
            self.message = words
            self._tell("trouble", words)

    def _tell(self, kind: str, words: str = "", ending: Ending | None = None) -> None:
        self.news.append(News(kind, *self._at(), words, ending, self._unsafe and ending is not None))

    def _start(self, flow: Flow, now: float) -> None:
        self._now = now
        self._course.start(flow, now)

    def _go_on(self, now: float) -> None:
        self._now = now
        self._course.go_on(now)
