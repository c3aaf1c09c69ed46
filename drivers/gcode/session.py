"""What is done with one serial machine: greeting, printing, holding, stopping, making safe.

Sans-io, above `protocol.Link` and below the streamer that owns the port. A print is proven whole before it is called finished;
whatever goes wrong ends with the heaters off and a reason in words. It never goes on with a print after the firmware restarted.
"""

from collections.abc import Callable

from drivers.gcode import scripts
from drivers.gcode.attendance import BOOT_SECONDS, NUDGE_SECONDS, ONE_BOOT_SECONDS, STOP_SECONDS, UNSURE, Attendance
from drivers.gcode.attendance import Ending as Ending
from drivers.gcode.attendance import News as News
from drivers.gcode.attendance import Phase as Phase
from drivers.gcode.flow import Flow, Until
from drivers.gcode.modes import Modes, modes_after
from drivers.gcode.protocol import Link
from drivers.gcode.replies import Action, Failing, Failure, Ok, Reply, Report, Started
from drivers.gcode.spool import Spool
from drivers.gcode.tally import Tally
from drivers.gcode.watch import HeatWatch

AWAY_SECONDS = 120.0
"""A cable may be away for so long; after that the part has a hole, and the print is given up."""
STANDBY_SECONDS = 600.0
"""A nozzle of a held print is kept hot for so long."""
DRAIN_SECONDS, HEAT_SECONDS = 20.0, 5.0
RESTARTED = "the printer restarted in the middle of the print"
UNPROTECTED = "this firmware was built without thermal protection, and must not print unattended"
BAD_CABLE = "more than 2 of 100 lines had to be sent again: look at the cable, and keep it away from motors and mains"


class Session(Attendance):
    """One machine. Tell it what happened (`opened`, `lost`, `receive`, `tick`) and what is wanted (`print`, `hold`, `resume`,
    `cancel`, `answer`); write what `take` gives, come back at `deadline`, and pick up `news`.

    `unprotected`: print although the firmware says that it does not watch its heaters. `unsafe`: heaters may be on from a print
    that nobody ended; they are turned off before anything else."""

    def __init__(self, new_link: Callable[[], Link], *, unprotected: bool = False, unsafe: bool = False) -> None:
        super().__init__(new_link, unsafe=unsafe)
        self.token: str | None = None
        self.ended: Ending | None = None  # of `token`, while nothing else was begun
        self._unprotected = unprotected
        self._job: Spool | None = None
        self._first, self._modes, self._asked_at, self._heat_asked = 1, Modes(), 0, 0.0
        self._urgent = b""
        self._on_return: Callable[[], Flow] = self._greet
        self._cable_told = False
        self._hold_wanted = self._held_by_firmware = self._cancelled = False
        self._heat = HeatWatch({}, 0.0)

    # what happened

    def opened(self, now: float) -> None:
        """The port is open (again)."""
        if self._job is not None:
            self._start(self._returned(), now)
        else:
            self._new_machine()
            self._start(self._greet(wait_for_boot=True), now)

    def lost(self, now: float, words: str) -> None:
        """The port is gone. A print is not: its machine stands still, hot, and waits for a while."""
        self._now, self._lost, self.message, self._returning = now, True, words, False
        self.link.cut()
        self._tell("trouble", words)
        if self._job is None:
            self.phase = Phase.AWAY
            self._course.stop()
        else:
            self._start(self._missed(), now)

    @property
    def away(self) -> bool:
        """The port is closed."""
        return self._lost or self.phase is Phase.AWAY

    @property
    def job(self) -> Spool | None:
        """The print at hand."""
        return self._job

    @property
    def line(self) -> int:
        """The last line of the print that was taken, and all before it; 0 without a print."""
        if self._job is None:
            return 0
        return min(self.link.proven, self._job.last) if self.link.source is self._job else self._first - 1

    def receive(self, data: bytes, now: float) -> None:
        """Take what the machine said."""
        self._now, asked = now, self.prompt
        for reply in self.link.receive(data, now):
            self.machine.note(reply, now)
            self._hear(reply)
        if self.prompt is not asked:
            self._asked_at = self.line
        elif asked is not None and self.line > self._asked_at:
            self.machine.prompt = None  # somebody answered at the machine: it takes nothing while it waits
        if self.link.tally.bad_cable and self._job is not None and not self._cable_told:
            self._cable_told = True
            self._tell("cable", BAD_CABLE)
        self._course.go_on(now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._now = now
        self.link.tick(now)
        self.machine.passed(now)
        if (due := self._heat_due()) is not None and now >= due:
            if self.machine.able.get("AUTOREPORT_TEMP"):
                self._start(self._give_up("the machine does not tell its temperatures any more"), now)
            else:
                self._heat_asked = now
                self._ask_heat()
        self._course.go_on(now)

    def deadline(self) -> float | None:
        """When `tick` has to be called at the latest."""
        times = (self.link.deadline(), self._course.limit, self._heat_due())
        return min((time for time in times if time is not None), default=None)

    def take(self) -> bytes:
        """What is to be written."""
        urgent, self._urgent = self._urgent, b""
        return urgent + self.link.take()

    # what is wanted

    def why_not(self, job: Spool) -> str | None:
        """What speaks against beginning `job` now."""
        if self.phase is not Phase.READY:
            return f"the machine is {self.phase}"
        if job.facts.arcs and self.machine.able.get("ARCS") is False:
            return "the file has arcs (G2, G3), which this firmware does not know: slice without them"
        if self.machine.able.get("THERMAL_PROTECTION") is False and not self._unprotected:
            return UNPROTECTED
        return None

    def print(self, job: Spool, now: float) -> None:
        """Begin `job`, against which nothing speaks (`why_not`)."""
        self._job, self.token, self.ended, self.message, self._first = job, job.facts.token, None, None, 1
        self._hold_wanted = self._held_by_firmware = self._cancelled = self._cable_told = False
        self._heat = HeatWatch(self.machine.heat, now)
        self.link.tally = Tally()
        self._unsafe = False  # it is this print that ends with the heaters off
        self._start(self._print(job), now)

    def hold(self, now: float) -> str | None:
        """Hold the print; or say why not. A no-op when it is held."""
        if self._job is None or self.phase not in (Phase.PRINTING, Phase.HELD):
            return "nothing is being printed"
        if not self._held_by_firmware:
            self._hold_wanted = True
            self._go_on(now)
        return None

    def resume(self, now: float) -> str | None:
        """Go on with the held print; or say why not. A no-op when it runs."""
        if self._job is None or self.phase not in (Phase.PRINTING, Phase.HELD):
            return "nothing is held"
        if self._held_by_firmware or (self.prompt and self.phase is Phase.PRINTING):
            return self.answer(self.prompt.going_on if self.prompt else 0, now)
        self._hold_wanted = False
        self._go_on(now)
        return None

    def cancel(self, now: float) -> str | None:
        """Stop the print for good. A no-op when nothing prints, or it is being stopped."""
        if self._job is not None and self.phase is not Phase.STOPPING:
            self.phase, self._on_return, self._cancelled = Phase.STOPPING, self._cancel, True
            if not self.away and not self._returning:
                self._start(self._cancel(), now)
        return None

    def answer(self, choice: int, now: float) -> str | None:
        """Answer what the machine asks a person: one of the prompt's choices by its number, or simply "go on"; or say why not. A
        machine that asks nothing gets no answer: it would end whatever else the machine waits for, heat above all."""
        if self.prompt is None and not self._held_by_firmware:
            return "the machine asks nothing"
        try:
            word = self.machine.answer(choice)
        except ValueError as error:
            return str(error)
        if self.away or self._returning or not self.link.say(word, now):
            return "the machine does not listen now"
        self.machine.prompt = None  # it asks again, or says that it waits, if it does
        return None

    def say(self, command: bytes, now: float) -> str | None:
        """Send one command of a person; or say why not."""
        if self.phase is not Phase.READY:
            return f"the machine is {self.phase}: commands are taken while it rests"
        return None if self.link.say(command, now) else "the machine has not answered the last commands yet"

    # the course of a print

    def _print(self, job: Spool) -> Flow:
        self.phase = Phase.PRINTING
        self.link.begin(job, self._now, self._first)
        return self._to_the_end(job)

    def _to_the_end(self, job: Spool) -> Flow:
        self._on_return = lambda: self._to_the_end(job)
        yield Until(lambda: self._line_done() or self._hold_wanted)
        if self._failed_line():
            return self._give_up(self.link.trouble or "")
        return self._done() if self.link.finished else self._hold(job)

    def _done(self) -> Flow:
        self._on_return = self._done
        safe = yield from self._make_sure(scripts.heaters_off(self._tools))
        return self._over(Ending.SUCCEEDED, "", safe)

    def _hold(self, job: Spool) -> Flow:
        self._on_return = lambda: self._hold(job)
        self.link.hold(self._now)
        yield Until(lambda: self.link.settled or self._failed_line())
        if self._failed_line():
            return self._give_up(self.link.trouble or "")
        if self.link.finished:  # it was at its end
            return self._done()
        self._first, self.machine.position = self.link.next, {}
        # a machine that has parked itself in the meantime is left alone
        yield Until(lambda: not self._held_by_firmware)
        if not self._hold_wanted:
            return self._print(job)
        self._on_return = lambda: self._give_up("the cable was lost while the print was being held")
        self._modes = modes_after(job.head(self._first - 1))
        if not (yield from self._run([b"M400", b"M114"])):
            return self._give_up(self.link.trouble or "")
        if not self.machine.position:
            return self._give_up("the machine does not tell its position (M114), so that the print cannot be held")
        if not (yield from self._run(scripts.park(self._modes))):
            return self._give_up(self.link.trouble or "")
        self.phase = Phase.HELD
        self._tell("held")
        return self._held(job)

    def _held(self, job: Spool) -> Flow:
        self._on_return = lambda: self._held(job)
        yield Until(lambda: self.link.settled or self._failed_line())
        wanted = yield Until(lambda: not self._hold_wanted or self._failed_line(), STANDBY_SECONDS)
        if not wanted and (yield from self._run(scripts.standby(self._modes))):
            yield Until(lambda: not self._hold_wanted or self._failed_line())
        return self._give_up(self.link.trouble or "") if self._failed_line() else self._resume(job)

    def _resume(self, job: Spool) -> Flow:
        self.phase = Phase.PRINTING
        self._tell("resumed")
        self._on_return = lambda: self._give_up("the cable was lost while the print was being resumed")
        back = yield from self._run(scripts.unpark(self.machine.position, self._modes))
        return self._print(job) if back else self._give_up(self.link.trouble or "")

    def _cancel(self) -> Flow:
        self._on_return = self._cancel
        self.link.hold(self._now)
        self.link.say(b"M108", self._now)  # ends a heat-up, or a wait for a person
        # without an emergency parser whatever is sent stands behind what is waited for, and may fill the firmware's queue
        patience = STOP_SECONDS if self.machine.able.get("EMERGENCY_PARSER") is False else DRAIN_SECONDS
        for _ in range(round(patience / NUDGE_SECONDS)):
            if (yield Until(lambda: self.link.settled or self._failed_line(), NUDGE_SECONDS)):
                break
            self._nudge()
        safe = yield from self._make_sure(scripts.give_up(self._tools))
        return self._over(Ending.CANCELLED, "", safe)

    def _give_up(self, words: str) -> Flow:
        """Heaters off, by whatever gets through; then the print is over."""
        self._on_return = lambda: self._give_up(words)
        self.phase, self._returning = Phase.STOPPING, False
        self._trouble(words)
        safe = yield from self._make_sure(scripts.make_safe(self._tools))
        return self._over(Ending.FAILED, words, safe)

    def _over(self, ending: Ending, words: str, safe: bool) -> Flow:
        """The print is over; a machine that may be hot still is made safe before anything else."""
        self._unsafe = not safe
        self._end(ending, words if safe else "; ".join(filter(None, (words, UNSURE))))
        if safe:
            return self._rest()
        self._new_machine()
        return self._greet()

    # a cable that was away

    def _missed(self) -> Flow:
        """The machine is out of reach. After too long a print is over, whatever becomes of its machine."""
        yield Until(lambda: False, AWAY_SECONDS)
        self._unsafe = True
        self._end(Ending.FAILED, f"the cable was away for more than {AWAY_SECONDS:.0f} seconds; {UNSURE}")
        self.phase = Phase.AWAY
        return None

    def _returned(self) -> Flow:
        self._lost, self._returning = False, True
        self._heat.excused(self._now)
        targets = self.machine.targets
        self.machine.heat.clear()
        self.link.say(b"M105", self._now)
        yield Until(lambda: bool(self.machine.heat), BOOT_SECONDS)
        self._returning = False
        if targets and self.machine.heat and not self.machine.targets:
            self._end(Ending.FAILED, "the printer restarted while its cable was away")
            self._new_machine()
            return self._greet()
        self.message = None
        self.link.recover(self._now)
        return self._on_return()

    # what the machine says

    def _hear(self, reply: Reply) -> None:
        match reply:
            case Started():
                self._restarted()
            case Failure(kind, words):
                self._failure(kind, words)
            case Action(name):
                self._action(name)
            case Report() | Ok() if self._job is not None and reply.heat:
                if too_hot := self._heat.note(reply.heat, self._now):
                    self._overheated(too_hot)

    def _restarted(self) -> None:
        if self._now < self._started_at + ONE_BOOT_SECONDS and self._job is None:
            return  # another line of the same boot
        if self._job is not None:
            self._end(Ending.FAILED, RESTARTED)
        self._new_machine()
        self._heard_start, self._started_at = True, self._now
        self._start(self._greet(), self._now)

    def _failure(self, kind: Failing, words: str) -> None:
        if kind is Failing.HALTED:
            self._halted(words)
        elif kind is not Failing.LINE and self.phase in (Phase.PRINTING, Phase.HELD):
            self._start(self._give_up(words), self._now)

    def _halted(self, words: str) -> None:
        """Dead until it is reset, by a person."""
        if self.phase is Phase.STOPPING and self.message:
            words = f"{self.message}; {words}"
        self._end(Ending.FAILED, words)
        self._course.stop()
        self.link = self._new_link()
        if self.phase is not Phase.HALTED:
            self.phase = Phase.HALTED
            self._trouble(words)

    def _overheated(self, words: str) -> None:
        """The one thing that stops a machine in its tracks."""
        self._urgent = b"M112\n"
        self._start(self._give_up(words), self._now)

    def _action(self, name: str) -> None:
        """What the firmware asks of its host. `paused` means that it has parked itself: no moves are sent then."""
        if self._job is None:
            return
        match name:
            case "pause" | "filament_runout" | "out_of_filament":
                self.hold(self._now)
            case "paused" if self.phase is Phase.PRINTING:
                self._held_by_firmware, self._hold_wanted, self.phase = True, False, Phase.HELD
                self._tell("held")
            case "resumed" if self._held_by_firmware:
                self._held_by_firmware = False
                if self.phase is Phase.HELD:
                    self.phase = Phase.PRINTING
                    self._tell("resumed")
            case "resume":
                self.resume(self._now)
            case "cancel":
                self.cancel(self._now)

    # the works

    @property
    def _tools(self) -> tuple[int, ...]:
        return super()._tools + (self._job.facts.tools if self._job else ())

    def _at(self) -> tuple[str | None, int]:
        return self.token if self._job else None, self.line

    def _heat_due(self) -> float | None:
        """When a machine has not told its temperatures by itself for too long; or, if it cannot, when it is asked for them."""
        if self._job is None or self.phase not in (Phase.PRINTING, Phase.HELD) or self.away or self._returning:
            return None
        return self._heat.untold_at if self.machine.able.get("AUTOREPORT_TEMP") else self._heat_asked + HEAT_SECONDS

    def _end(self, ending: Ending, words: str = "") -> None:
        if self._job is None:
            return
        self.ended = Ending.CANCELLED if self._cancelled else ending
        self.message = words or None
        self._tell("ended", words, self.ended)
        self._job.close()
        self._job = None
        self._held_by_firmware = self._returning = False
        self.phase = Phase.READY
