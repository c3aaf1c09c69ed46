"""The main loop of the firmware: lines into the command ring while it has room, one command after another out of it.

It stands between the receiver and the commands and gives each command its `ok`. A slot is held until its command is done,
and nothing is read while no slot is free; that is what a host's window is about, so it must never be made smoother.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from drivers.virtual.marlin import lines, motion, reports, sdprint, user, warmth, words
from drivers.virtual.marlin.board import Board
from drivers.virtual.marlin.core import PROCESSING, STOPPED, Core, Handler, Steps
from drivers.virtual.marlin.record import Record
from drivers.virtual.marlin.uart import Receiver

_MOVES = (b"G0", b"G1", b"G2", b"G3")


class MainLoop:
    """`works` is False while the loop does not turn: booting, hung, killed, or busy complaining about a line.

    `shut_down` is what M112 does, `refuse` what becomes of a bad line, `oks` how many copies of the next `ok` go out.
    """

    def __init__(
        self,
        core: Core,
        receiver: Receiver,
        record: Record,
        *,
        shut_down: Callable[[], None],
        refuse: Callable[[bytes], None],
        oks: Callable[[], int],
    ) -> None:
        self.works = True
        self._core, self._receiver, self._record = core, receiver, record
        self._shut_down, self._refuse, self._oks = shut_down, refuse, oks
        self._board, self._slots = core.board, core.board.command_slots
        self._ring: deque[tuple[bytes, int | None, bool]] = deque()  # payload, line number, whether it gets an ok
        self._injected: deque[bytes] = deque()
        self._running: Steps | None = None
        self._full = False
        self._busy_at = inf
        self._idle_at = core.board.idle_wait or inf
        self._handlers = _commands(core.board) | {b"M112": lambda _core, _args: shut_down(), b"M999": self._restart}

    # --- time ---

    def next_at(self) -> float:
        """When something happens here by itself, a line end included."""
        core, receiver = self._core, self._receiver
        at = core.wake_at
        if self._busy_at < at:
            at = self._busy_at
        if receiver.line_at < at and not self._full:
            at = receiver.line_at
        if core.report_at < at:
            at = core.report_at
        return self._idle_at if self._idle_at < at and self._running is None else at

    def turn(self) -> None:
        """Read and execute all that can be at this moment."""
        core, receiver, ring = self._core, self._receiver, self._ring
        while self.works:
            if not self._full and (receiver.line_at <= core.now or core.card.printing):
                self._read()
            if self._running is not None or not self.works:
                return
            if self._injected:
                ring.appendleft((self._injected.popleft(), None, False))
            if not ring:
                return
            self._execute()

    def wake(self) -> None:
        """Let happen what is due: the running command's next step, or a word about it; reports."""
        core, now = self._core, self._core.now
        if core.wake_at <= now:
            self._step()
        elif self._busy_at <= now:
            core.warn(b"busy: " + core.busy)
            self._busy_at = now + core.keepalive
        if core.report_at <= now:
            reports.tell_due(core)
        if self._idle_at <= now and self._running is None:
            core.say(b"wait")
            self._idle_at = now + self._board.idle_wait

    # --- into the ring ---

    def _read(self) -> None:
        core, receiver, ring, slots = self._core, self._receiver, self._ring, self._slots
        while receiver.line_at <= core.now and len(ring) < slots:
            raw = receiver.take(core.now)
            if raw:
                self._line(raw)
                if not self.works:
                    return
        while core.card.printing and len(ring) < slots:
            command = core.card.next_command()
            core.card.printing = command is not None
            ring.append((command or sdprint.END_OF_FILE, None, False))
        if len(ring) >= slots:
            self._full = True
            receiver.hold(core.now)

    def _line(self, raw: bytes) -> None:
        core = self._core
        line = lines.clean(raw)
        if not line:
            return
        verdict = lines.judge(line, core.last_number)
        if isinstance(verdict, lines.Refused):
            if verdict.error:
                self._refuse(verdict.error)
            return
        payload, number = verdict
        if number is not None:
            core.last_number = number
        elif not self._admits(payload):
            return
        if core.stopped and words.split(payload)[0] in _MOVES:
            core.say(STOPPED)
        self._ring.append((payload, number, True))
        if self._idle_at < inf:
            self._idle_at = core.now + self._board.idle_wait

    def _admits(self, payload: bytes) -> bool:
        """Whether a line without a number may be queued; what is urgent happens here on a board without emergency parser."""
        core = self._core
        if core.card.writing is not None and not sdprint.ends_writing(payload):
            self._refuse(lines.NO_CHECKSUM)
        elif payload[:1] == b"M" and not self._board.emergency_parser:
            if payload.startswith(b"M108"):
                user.go_on(core)
            elif payload.startswith(b"M112"):
                self._shut_down()
            elif payload.startswith(b"M410"):
                core.quickstop()
        return self.works

    def inject(self, command: bytes) -> None:
        """A command of the firmware's own, executed next and without an ok."""
        self._injected.append(command)

    def drop_card(self) -> None:
        """Forget the lines that the card put into the ring."""
        kept = [entry for place, entry in enumerate(self._ring) if entry[2] or (place == 0 and self._running is not None)]
        self._ring.clear()
        self._ring.extend(kept)

    # --- out of the ring ---

    def _execute(self) -> None:
        core = self._core
        payload, number, acknowledged = self._ring[0]
        if acknowledged or payload != sdprint.END_OF_FILE:
            self._record.add(payload, number)
            if self._record.count == core.watch_count:
                core.watched()
                if not self.works:
                    return
        if core.card.writing is not None:
            sdprint.save(core, payload)
            self._finish()
            return
        code, _, args = payload.partition(b" ")
        handler = self._handlers.get(code)
        if handler is None:
            handler, args = self._look_closer(payload)
        steps = handler(core, args)
        if steps is not None:
            self._running, core.busy = steps, PROCESSING
            self._busy_at = core.now + core.keepalive if core.keepalive else inf
            self._step()
        elif self.works:
            self._finish()

    def _look_closer(self, payload: bytes) -> tuple[Handler, bytes]:
        code, args = words.split(payload.upper() if self._board.case_insensitive else payload)
        return self._handlers.get(code, _unknown(payload)), args

    def _step(self) -> None:
        if self._running is None:  # somebody called, and nothing waits
            self._core.wake_at = inf
            return
        try:
            self._core.wake_at = next(self._running)
        except StopIteration:
            self._running, self._core.wake_at, self._busy_at = None, inf, inf
            self._finish()

    def _finish(self) -> None:
        """The command at the head of the ring is done; its slot is free after its ok."""
        _, number, acknowledged = self._ring[0]
        if acknowledged:
            self._ok(number)
        self._ring.popleft()
        if self._full:
            self._full = False
            self._receiver.release(self._core.now)
        if self._idle_at < inf:
            self._idle_at = self._core.now + self._board.idle_wait

    def _ok(self, number: int | None) -> None:
        core, text = self._core, b"ok"
        if core.ok_tail is not None:
            text, core.ok_tail = text + core.ok_tail, None
        elif self._board.advanced_ok:
            named = b"" if number is None else b" N%d" % number
            text += b"%s P%d B%d" % (named, core.planner.free(core.now), self._slots - len(self._ring))
        for _ in range(self._oks()):
            core.say(text)

    def _restart(self, core: Core, args: bytes) -> None:
        """M999: go on after a stop, and unless S1 ask for the lines that came in vain."""
        core.stopped = False
        if not words.first_number(args, "S"):
            self.ask_again()

    # --- when the loop does not turn ---

    def stand(self) -> None:
        """Turn no more; bytes go on arriving until the ring of the UART is full."""
        self.works = False
        self._receiver.hold(self._core.now)

    def go_on(self) -> None:
        """Turn again."""
        self.works, self._full = True, len(self._ring) >= self._slots
        if not self._full:
            self._receiver.release(self._core.now)

    def ask_again(self) -> None:
        """Throw away what has arrived and ask for the line after the last good one."""
        self._receiver.clear(self._core.now)
        self._core.say(b"Resend: %d" % (self._core.last_number + 1))
        self._core.say(b"ok")

    def forget(self) -> None:
        """The power is gone: nothing is queued, nothing runs."""
        self._ring.clear()
        self._injected.clear()
        self._running, self._busy_at, self._full = None, inf, False
        self._idle_at = self._core.now + self._board.boot_seconds + self._board.idle_wait if self._board.idle_wait else inf
        self.stand()


def _commands(board: Board) -> dict[bytes, Handler]:
    def silent(_core: Core, _args: bytes) -> None:
        return None

    known: dict[bytes, Handler] = dict.fromkeys(reports.SILENT, silent)
    for family in (motion, warmth, reports, user, sdprint):
        known |= family.COMMANDS
    if not board.arcs:
        del known[b"G2"], known[b"G3"]
    return known


def _unknown(payload: bytes) -> Handler:
    def tell(core: Core, _args: bytes) -> None:
        core.warn(b'Unknown command: "' + payload + b'"')

    return tell
