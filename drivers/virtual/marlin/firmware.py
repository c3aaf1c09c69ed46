"""A virtual Marlin without its wire: bytes in, bytes out, in a time that is handed in.

It stands between the two directions of the UART and the commands: it reads lines while the command ring has room, works
one command off after another and lets timers and faults happen at their moment. The same bytes at the same moments give
the same answers; it must never look at a clock, a socket or any chance but its own.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum
from math import inf

from drivers.virtual.marlin import lines, motion, reports, sdprint, user, warmth, words
from drivers.virtual.marlin.board import Board
from drivers.virtual.marlin.core import PROCESSING, STOPPED, Core, Handler, Steps
from drivers.virtual.marlin.emergency import EmergencyParser
from drivers.virtual.marlin.faults import Fault, Kind
from drivers.virtual.marlin.noise import Noise, Odds
from drivers.virtual.marlin.planner import Place
from drivers.virtual.marlin.record import Record
from drivers.virtual.marlin.uart import Receiver, Sender

_END_OF_FILE = b"M1001"
_MOVES = (b"G0", b"G1", b"G2", b"G3")
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
    `script` is what happens to it. After any call, `take` has what was sent and `next_event` says when to call again.
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
        self.board = board or Board()
        self.record = record or Record()
        self.core = Core(self.board, self._say)
        self.state = State.RUNNING
        self.plugged = True
        self.resends = self.boots = 0
        self._noise = Noise(odds or Odds(), seed)
        self._receiver = Receiver(self.board.byte_seconds, self.board.rx_buffer)
        self._sender = Sender(self.board.byte_seconds)
        self._emergency = EmergencyParser()
        self._queue: deque[tuple[bytes, int | None, bool]] = deque()  # payload, line number, whether it gets an ok
        self._running: Steps | None = None
        self._full, self._works = False, True
        self._busy_at = self._boot_at = self._flush_at = self._replug_at = inf
        self._reset_when_back = False
        self._idle_at = self.board.idle_wait or inf
        self._urgent: deque[tuple[float, bytes]] = deque()
        faults = list(script)
        self._timed = deque(sorted((fault for fault in faults if fault.after is None), key=lambda fault: fault.at))
        counted = (fault for fault in faults if fault.after is not None)
        self._counted = deque(sorted(counted, key=lambda fault: fault.after or 0))
        self._next_counted = self._counted[0].after if self._counted else None
        self._ok_copies: deque[int] = deque()
        self._spoil_in: deque[Kind] = deque()
        self._spoil_out = 0
        self._handlers = self._commands()

    # --- the wire ---

    def receive(self, data: bytes, now: float) -> None:
        """The host begins to send these bytes at `now`."""
        self.advance(now)
        if not self.plugged or not data:
            return
        data = self._noise.towards_printer(data)
        if self._spoil_in:
            data = b"" if self._spoil_in.popleft() is Kind.DROP_IN else self._noise.flip(data)
        start = self._receiver.feed(data, now)
        if self.board.emergency_parser:
            for offset, command in self._emergency.scan(data):
                self._urgent.append((start + offset * self.board.byte_seconds, command))
        if not self._works:
            self._receiver.hold(now)
        self.advance(now)

    def take(self) -> bytes:
        """What has left the board completely by the last moment given, in whole lines."""
        return self._sender.take(self.core.now)

    def next_event(self) -> float | None:
        """When `advance` has something to do or `take` something to give, None for never."""
        at = min(self._soonest(), self._sender.next_at)
        return at if at < inf else None

    def waiting(self) -> int:
        """Bytes sent by the host and not yet read: what a native USB port would refuse beyond its buffer."""
        return self._receiver.waiting()

    @property
    def dropped(self) -> int:
        """Bytes lost because the ring was full."""
        return self._receiver.dropped

    # --- time ---

    def advance(self, now: float) -> None:
        """Let everything happen up to and including `now`."""
        core = self.core
        while True:
            if self._works:
                self._read()
                if self._queue and self._running is None and self._works:
                    self._execute()
                    continue
            at = self._soonest()
            if at > now:
                break
            if at > core.now:
                core.now = at
            self._happen()
        if now > core.now:
            core.now = now

    def _soonest(self) -> float:
        at = min(self._boot_at, self._flush_at, self._replug_at)
        if self._timed and self._timed[0].at < at:
            at = self._timed[0].at
        if self._urgent and self._urgent[0][0] < at:
            at = self._urgent[0][0]
        if self._works:
            if self._running is not None:
                at = min(at, self.core.wake_at, self._busy_at)
            elif self._idle_at < at:
                at = self._idle_at
            if not self._full and self._receiver.line_at < at:
                at = self._receiver.line_at
            if self.core.reported:
                at = min(at, *self.core.reported.values())
        return at

    def _happen(self) -> None:
        """Everything that is due at this moment, line ends aside."""
        core, now = self.core, self.core.now
        if self._works and self._running is not None:
            if core.wake_at <= now:
                self._step()
            elif self._busy_at <= now:
                core.warn(b"busy: " + core.busy)
                self._busy_at = now + core.keepalive
        if self._works:
            self._tell()
        while self._urgent and self._urgent[0][0] <= now:
            self._act_at_once(self._urgent.popleft()[1])
        while self._timed and self._timed[0].at <= now:
            self._strike(self._timed.popleft())
        if self._flush_at <= now:
            self._resend()
        if self._boot_at <= now:
            self._booted()
        if self._replug_at <= now:
            self._plug(reset=self._reset_when_back)

    def _tell(self) -> None:
        core, now = self.core, self.core.now
        for what, due in core.reported.items():
            if due <= now:
                core.reported[what] = now + core.every[what]
                if what != reports.CARD or core.card.printing:
                    reports.tell(core, what)
        if self._idle_at <= now and self._running is None:
            core.say(b"wait")
            self._idle_at = now + self.board.idle_wait

    # --- from a line to its ok ---

    def _read(self) -> None:
        core, receiver, queue, slots = self.core, self._receiver, self._queue, self.board.command_slots
        while receiver.line_at <= core.now and len(queue) < slots:
            self._line(receiver.take(core.now))
            if not self._works:
                return
        while core.card.printing and len(queue) < slots:
            command = core.card.next_command()
            core.card.printing = command is not None
            queue.append((command or _END_OF_FILE, None, False))
        if len(queue) >= slots and not self._full:
            self._full = True
            receiver.hold(core.now)

    def _line(self, raw: bytes) -> None:
        if not raw:
            return
        line = lines.clean(raw)
        if not line:
            return
        verdict = lines.judge(line, self.core.last_number)
        if isinstance(verdict, lines.Refused):
            if verdict.error:
                self._refuse(verdict.error)
            return
        payload, number = verdict.payload, verdict.number
        if number is None:
            if self.core.card.writing is not None and not _ends_writing(payload):
                self._refuse(lines.NO_CHECKSUM)
                return
            if payload[:1] == b"M" and not self.board.emergency_parser:
                self._act_early(payload)
                if not self._works:
                    return
        else:
            self.core.last_number = number
        if self.core.stopped and words.split(payload)[0] in _MOVES:
            self.core.say(STOPPED)
        self._idle_at = self.core.now + self.board.idle_wait if self.board.idle_wait else inf
        self._queue.append((payload, number, True))

    def _execute(self) -> None:
        core = self.core
        payload, number, acknowledged = self._queue[0]
        if acknowledged or payload != _END_OF_FILE:
            self.record.add(payload, number)
            if self.record.count == self._next_counted:
                self._strike_counted()
                if not self._works:
                    return
        if core.card.writing is not None:
            self._save(payload)
            self._finish()
            return
        code, _, args = payload.partition(b" ")
        handler = self._handlers.get(code)
        if handler is None:
            code, args = words.split(payload.upper() if self.board.case_insensitive else payload)
            handler = self._handlers.get(code, _unknown(payload))
        steps = handler(core, args)
        if steps is not None:
            self._running, core.busy = steps, PROCESSING
            self._busy_at = core.now + core.keepalive if core.keepalive else inf
            self._step()
        elif self._works:
            self._finish()

    def _step(self) -> None:
        if self._running is None:
            return
        try:
            self.core.wake_at = next(self._running)
        except StopIteration:
            self._running, self.core.wake_at, self._busy_at = None, inf, inf
            self._finish()

    def _finish(self) -> None:
        """The command at the head of the ring is done; its slot is free after its ok."""
        _, number, acknowledged = self._queue[0]
        if acknowledged:
            self._ok(number)
        self._queue.popleft()
        if self._full:
            self._full = False
            self._receiver.release(self.core.now)
        if self.board.idle_wait:
            self._idle_at = self.core.now + self.board.idle_wait

    def _ok(self, number: int | None) -> None:
        core, text = self.core, b"ok"
        if core.ok_tail is not None:
            text, core.ok_tail = text + core.ok_tail, None
        elif self.board.advanced_ok:
            named = b"" if number is None else b" N%d" % number
            free = self.board.command_slots - len(self._queue)
            text += b"%s P%d B%d" % (named, core.planner.free(core.now), free)
        copies = self._ok_copies.popleft() if self._ok_copies else self._noise.oks()
        for _ in range(copies):
            self._say(text)

    def _save(self, payload: bytes) -> None:
        if _ends_writing(payload):
            self.core.card.end_writing()
            self.core.say(b"Done saving file.")
        else:
            self.core.card.write(payload)

    def _refuse(self, error: bytes) -> None:
        """Complain, and throw away what came until the complaint was out: nothing is read while a UART sends."""
        self.resends += 1
        self.core.fail(b"%s, Last Line: %d" % (error, self.core.last_number))
        self._flush_at = max(self._sender.idle_at, self.core.now) if self.board.byte_seconds else self.core.now
        self._works = False
        self._receiver.hold(self.core.now)

    def _resend(self) -> None:
        self._flush_at, self._works, self._full = inf, True, len(self._queue) >= self.board.command_slots
        self._receiver.clear(self.core.now)
        if not self._full:
            self._receiver.release(self.core.now)
        self.core.say(b"Resend: %d" % (self.core.last_number + 1))
        self.core.say(b"ok")

    def _say(self, text: bytes) -> None:
        if not self.plugged:
            return
        data = text + b"\n"
        if self._spoil_out:
            self._spoil_out -= 1
            data = self._noise.flip(data)
        self._sender.send(self._noise.towards_host(data), self.core.now)

    # --- commands that are the firmware's own ---

    def _commands(self) -> dict[bytes, Handler]:
        silent: Handler = lambda _core, _args: None  # noqa: E731
        known = dict.fromkeys(reports.SILENT, silent)
        for family in (motion, warmth, reports, user, sdprint):
            known |= family.COMMANDS
        if not self.board.arcs:
            del known[b"G2"], known[b"G3"]
        return known | {b"M112": self._shut_down, b"M999": self._restart}

    def _shut_down(self, core: Core, _args: bytes) -> None:
        core.warn(b"M112 Shutdown")
        self._kill()

    def _restart(self, core: Core, args: bytes) -> None:
        core.stopped = False
        if not words.first_number(args, "S"):
            self._receiver.clear(core.now)
            core.say(b"Resend: %d" % (core.last_number + 1))
            core.say(b"ok")

    def _act_early(self, payload: bytes) -> None:
        """What a board without an emergency parser sees when a line without a number is queued."""
        if payload.startswith(b"M108"):
            user.go_on(self.core)
        elif payload.startswith(b"M112"):
            self._shut_down(self.core, b"")
        elif payload.startswith(b"M410"):
            self.core.quickstop()

    def _act_at_once(self, command: bytes) -> None:
        if self.state is not State.RUNNING or self.core.card.writing is not None:
            return
        if command == b"M108":
            user.go_on(self.core)
        elif command == b"M112":
            self._shut_down(self.core, b"")
        elif command == b"M410":
            self.core.quickstop()
        elif command == b"M524":
            self._abort()
        else:
            user.answer(self.core)

    def _abort(self) -> None:
        """Whatever the card had put into the ring goes with it."""
        if self.core.card.selected:
            self._queue = deque(entry for place, entry in enumerate(self._queue) if place == 0 or entry[2])
            sdprint.abort(self.core)

    # --- what happens to it ---

    def open_port(self, now: float) -> None:
        """A host opens the port; with `reset_on_open` that is a reset."""
        self.advance(now)
        if self.board.reset_on_open:
            self._reset()

    def strike(self, kind: Kind, now: float, seconds: float = inf) -> None:
        """Let a fault happen at `now`; `seconds` for those that last."""
        self.advance(now)
        self._strike(Fault(kind, now, seconds=seconds))
        self.advance(now)

    def plug(self, now: float, *, reset: bool = False) -> None:
        """The cable is put in again; does nothing while it is in."""
        self.advance(now)
        if not self.plugged:
            self._plug(reset=reset)

    def reset(self, now: float) -> None:
        """The reset button, or a dip in the power."""
        self.strike(Kind.RESET, now)

    def position(self) -> Place:
        """Where the machine really is, X, Y, Z and E in mm, at the last moment given."""
        return self.core.planner.place(self.core.now)

    def _strike_counted(self) -> None:
        while self._counted and self._counted[0].after == self.record.count:
            self._strike(self._counted.popleft())
        self._next_counted = self._counted[0].after if self._counted else None

    def _strike(self, fault: Fault) -> None:
        kind, core = fault.kind, self.core
        if kind is Kind.RESET:
            self._reset()
        elif kind in (Kind.UNPLUG, Kind.UNPLUG_RESET):
            self._unplug(fault.seconds, reset=kind is Kind.UNPLUG_RESET)
        elif kind is Kind.LOSE_OK or kind is Kind.DOUBLE_OK:
            self._ok_copies.append(0 if kind is Kind.LOSE_OK else 2)
        elif kind is Kind.GARBLE_OUT:
            self._spoil_out += 1
        elif kind is Kind.GARBLE_IN or kind is Kind.DROP_IN:
            self._spoil_in.append(kind)
        elif self.state is State.RUNNING:
            self._go_wrong(kind, core)

    def _go_wrong(self, kind: Kind, core: Core) -> None:
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
            user.runout(core)
            self._queue.insert(1 if self._running is not None else 0, (b"M600", None, False))
        else:
            core.action(kind.value.encode())

    def _kill(self) -> None:
        core = self.core
        core.all_off()
        core.quickstop()
        core.fail(b"Printer halted. kill() called!")
        core.action(b"poweroff")
        self._fall_silent(State.KILLED)

    def _fall_silent(self, state: State) -> None:
        """The main loop turns no more; bytes go on arriving until the ring is full."""
        self.state, self._works = state, False
        self._receiver.hold(self.core.now)

    def _reset(self) -> None:
        core = self.core
        self.state, self._works, self._full = State.BOOTING, False, False
        self._running, self._busy_at, self._flush_at = None, inf, inf
        self._queue.clear()
        self._urgent.clear()
        self._emergency.reset()
        self._sender.cut()
        self._receiver.hold(core.now)
        core.forget()
        self._boot_at = core.now + self.board.boot_seconds

    def _booted(self) -> None:
        """What was sent to it meanwhile went to the boot loader."""
        self._boot_at, self.state, self._works = inf, State.RUNNING, True
        self.boots += 1
        self._receiver.clear(self.core.now)
        self._receiver.release(self.core.now)
        for text in _BANNER:
            self._say(text)

    def _unplug(self, seconds: float, *, reset: bool) -> None:
        self.plugged = False
        self._replug_at, self._reset_when_back = self.core.now + seconds, reset
        self._receiver.cut()
        self._sender.cut()

    def _plug(self, *, reset: bool) -> None:
        self.plugged, self._replug_at = True, inf
        if reset:
            self._reset()


def _unknown(payload: bytes) -> Handler:
    def tell(core: Core, _args: bytes) -> None:
        core.warn(b'Unknown command: "' + payload + b'"')

    return tell


def _ends_writing(payload: bytes) -> bool:
    """`M29` alone or with a blank, never `M290`."""
    at = payload.find(b"M29")
    return at >= 0 and not payload[at + 3 : at + 4].isdigit()
