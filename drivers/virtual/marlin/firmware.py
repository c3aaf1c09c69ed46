"""A virtual Marlin without its wire: bytes in, bytes out, in a time that is handed in.

It puts the two directions of the UART around the main loop and lets faults happen at their moment. The same bytes at the
same moments give the same answers; it must never look at a clock, a socket or any chance but its own.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum
from math import inf

from drivers.virtual.marlin import sdprint, user
from drivers.virtual.marlin.board import Board
from drivers.virtual.marlin.core import STOPPED, Core
from drivers.virtual.marlin.emergency import EmergencyParser
from drivers.virtual.marlin.faults import Fault, Kind, Script
from drivers.virtual.marlin.main_loop import MainLoop
from drivers.virtual.marlin.noise import Noise, Odds
from drivers.virtual.marlin.planner import Place
from drivers.virtual.marlin.record import Record
from drivers.virtual.marlin.uart import Receiver, Sender

_BANNER = (
    b"start",
    b"Marlin bugfix-2.1.x",
    b"",
    b"echo: Last Updated: 2024-10-13 | Author: (none, default config)",
    b"echo: Compiled: Oct 13 2024",
    b"echo: Free Memory: 3713  PlannerBufferBytes: 1232",
    b"echo:SD card ok",
)


class State(Enum):
    BOOTING = "booting"
    RUNNING = "running"
    HUNG = "hung"
    KILLED = "killed"


class Firmware:
    """A board that is switched on and running from the beginning.

    Every moment is in seconds, from 0 on, and may never be before one given earlier. `seed` decides the noise of `odds`;
    `script` is what happens to it. After any call `take` has what was sent, and `next_event` says when to call again.

    `core` holds the machine's facts (heaters, fan, motors, modes, the card), `record` what it executed.
    """

    def __init__(
        self,
        board: Board | None = None,
        *,
        seed: int = 0,
        odds: Odds | None = None,
        script: Iterable[Fault] = (),
        record: Record | None = None,
    ) -> None:
        self.board, self.record = board or Board(), record or Record()
        self.state, self.plugged = State.RUNNING, True
        self.resends = self.boots = 0  # lines it refused; times it started anew
        self.core = Core(self.board, self._say)
        self._receiver = Receiver(self.board.byte_seconds, self.board.rx_buffer)
        self._sender = Sender(self.board.byte_seconds)
        self._emergency = EmergencyParser()
        self._noise = Noise(odds or Odds(), seed)
        self._loop = MainLoop(
            self.core, self._receiver, self.record, shut_down=self._shut_down, refuse=self._refuse, oks=self._noise.oks
        )
        self._urgent: deque[tuple[float, bytes]] = deque()
        self._boot_at = self._flush_at = self._replug_at = inf
        self._reset_when_back = False
        self._script = Script(script)
        self.core.watch_count, self.core.watched = self._script.next_count, self._watched
        self._rare_at = self._due = -inf
        self._plan()

    # --- the wire ---

    def receive(self, data: bytes, now: float) -> None:
        """The host begins to send these bytes at `now`."""
        self.advance(now)
        data = self._noise.towards_printer(data)
        if not self.plugged or not data:
            return
        start = self._receiver.feed(data, now)
        if self.board.emergency_parser and (urgent := self._emergency.scan(data)):
            self._urgent.extend((start + offset * self.board.byte_seconds, command) for offset, command in urgent)
            self._plan()
        if not self._loop.works:
            self._receiver.hold(now)
        self._due = -inf
        self.advance(now)

    def take(self) -> bytes:
        """What has left the board completely by the last moment given, in whole lines."""
        return self._sender.take(self.core.now)

    def next_event(self) -> float | None:
        """When `advance` has something to do or `take` something to give, None for never."""
        at = self._sender.next_at
        if self._due < at:
            at = self._due
        return at if at < inf else None

    def waiting(self) -> int:
        """Bytes sent by the host and not yet read: what a native USB port would refuse beyond its buffer."""
        return self._receiver.waiting()

    @property
    def dropped(self) -> int:
        """Bytes lost because the ring of the UART was full."""
        return self._receiver.dropped

    # --- time ---

    def advance(self, now: float) -> None:
        """Let everything happen up to and including `now`."""
        core, loop = self.core, self._loop
        if now < self._due:
            if now > core.now:
                core.now = now
            return
        while True:
            loop.turn()
            at = loop.next_at() if loop.works else inf
            if self._rare_at < at:
                at = self._rare_at
            if at > now:
                break
            if at > core.now:
                core.now = at
            if self._rare_at <= core.now:
                self._rarely()
            if loop.works:
                loop.wake()
        self._due = at
        if now > core.now:
            core.now = now

    def _rarely(self) -> None:
        """The ends of reboots and complaints, faults, and the commands that do not wait for their turn."""
        now = self.core.now
        while self._urgent and self._urgent[0][0] <= now:
            self._act_at_once(self._urgent.popleft()[1])
        while self._script.next_at <= now:
            self._strike(self._script.pop())
        if self._flush_at <= now:
            self._complained()
        if self._boot_at <= now:
            self._booted()
        if self._replug_at <= now:
            self._plug(reset=self._reset_when_back)
        self._plan()

    def _plan(self) -> None:
        urgent_at = self._urgent[0][0] if self._urgent else inf
        self._rare_at = min(self._boot_at, self._flush_at, self._replug_at, self._script.next_at, urgent_at)
        self._due = -inf

    # --- what is sent ---

    def _say(self, text: bytes) -> None:
        if self.plugged:
            self._sender.send(self._noise.towards_host(text + b"\n"), self.core.now)

    def _refuse(self, error: bytes) -> None:
        """Complain, and throw away what comes until the complaint is out: nothing is read while a UART sends."""
        self.resends += 1
        self.core.fail(b"%s, Last Line: %d" % (error, self.core.last_number))
        self._flush_at = max(self._sender.idle_at, self.core.now) if self.board.byte_seconds else self.core.now
        self._loop.stand()
        self._plan()

    def _complained(self) -> None:
        self._flush_at = inf
        self._loop.ask_again()
        self._loop.go_on()

    def _act_at_once(self, command: bytes) -> None:
        if self.state is not State.RUNNING or self.core.card.writing is not None:
            return
        if command == b"M108":
            user.go_on(self.core)
        elif command == b"M112":
            self._shut_down()
        elif command == b"M410":
            self.core.quickstop()
        elif command == b"M524":
            self._abort()
        else:
            user.answer(self.core)

    def _abort(self) -> None:
        if self.core.card.selected:
            self._loop.drop_card()
            sdprint.abort(self.core)

    # --- what happens to it ---

    def open_port(self, now: float) -> None:
        """A host opens the port; with `reset_on_open` that is a reset."""
        if self.board.reset_on_open:
            self.reset(now)

    def reset(self, now: float) -> None:
        """The reset button, or a dip in the power: heaters off, numbers from 0, `start` after the boot time."""
        self.strike(Kind.RESET, now)

    def strike(self, kind: Kind, now: float, seconds: float = inf) -> None:
        """Let a fault happen at `now`; `seconds` for those that last."""
        self.advance(now)
        self._strike(Fault(kind, now, seconds=seconds))
        self._plan()
        self.advance(now)

    def plug(self, now: float, *, reset: bool = False) -> None:
        """The cable is put in again; does nothing while it is in."""
        self.advance(now)
        if not self.plugged:
            self._plug(reset=reset)
            self._plan()
            self.advance(now)

    def position(self) -> Place:
        """Where the machine really is, X, Y, Z and E in mm, at the last moment given."""
        return self.core.planner.place(self.core.now)

    def _watched(self) -> None:
        for fault in self._script.counted(self.record.count):
            self._strike(fault)
        self.core.watch_count = self._script.next_count
        self._plan()

    def _strike(self, fault: Fault) -> None:
        kind = fault.kind
        if kind is Kind.RESET:
            self._reset()
        elif kind in (Kind.UNPLUG, Kind.UNPLUG_RESET):
            self._unplug(fault.seconds, reset=kind is Kind.UNPLUG_RESET)
        elif kind.on_the_line:
            self._noise.spoil(kind)
        elif self.state is State.RUNNING:
            self._go_wrong(kind)

    def _go_wrong(self, kind: Kind) -> None:
        core = self.core
        if kind is Kind.HANG:
            self._fall_silent(State.HUNG)
        elif kind is Kind.THERMAL:
            core.fail(b"Thermal Runaway, system stopped! Heater_ID: 0")
            self._kill()
        elif kind is Kind.STOP:
            core.stopped = True
            core.all_off()
            core.fail(STOPPED)
        elif kind is Kind.RUNOUT:
            core.action(b"filament_runout T0")
            self._loop.inject(b"M600")
        else:
            core.action(kind.value.encode())

    def _shut_down(self) -> None:
        self.core.warn(b"M112 Shutdown")
        self._kill()

    def _kill(self) -> None:
        core = self.core
        core.all_off()
        core.quickstop()
        core.fail(b"Printer halted. kill() called!")
        core.action(b"poweroff")
        self._fall_silent(State.KILLED)

    def _fall_silent(self, state: State) -> None:
        self.state, self._flush_at = state, inf
        self._loop.stand()

    def _reset(self) -> None:
        self.state, self._flush_at = State.BOOTING, inf
        self.core.forget()
        self._loop.forget()
        self._urgent.clear()
        self._emergency.reset()
        self._sender.cut()
        self._boot_at = self.core.now + self.board.boot_seconds

    def _booted(self) -> None:
        """What was sent to it meanwhile went to the boot loader."""
        self._boot_at, self.state = inf, State.RUNNING
        self.boots += 1
        self._receiver.clear(self.core.now)
        self._loop.go_on()
        for text in _BANNER:
            self._say(text)

    def _unplug(self, seconds: float, *, reset: bool) -> None:
        """The board goes on: what it has planned is moved, then it stands, its heaters on."""
        self.plugged = False
        self._replug_at, self._reset_when_back = self.core.now + seconds, reset
        self._receiver.cut()
        self._sender.cut()
        self._emergency.reset()

    def _plug(self, *, reset: bool) -> None:
        self.plugged, self._replug_at = True, inf
        if reset:
            self._reset()
