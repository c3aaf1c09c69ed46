"""The conversation that brings numbered lines to a Marlin, each executed exactly once or the print given up.

Sans-io: bytes and the time go in, bytes come out, and `deadline` says when to come back. It stands between the session, which
knows what a print is, and the port. It must never exceed its window, never skip or repeat a line, and never take silence for
consent: where oks were lost it asks the firmware which line it wants. Facts about replies: Marlin's `queue.cpp`.
"""

from collections import deque

from drivers.gcode import patience
from drivers.gcode.flight import Kind, Refusals, Rewind, Sent
from drivers.gcode.framing import QUESTION, frame
from drivers.gcode.pace import Pace, Rounds
from drivers.gcode.patience import PATIENCE
from drivers.gcode.replies import OK, Busy, Idle, Lines, Ok, Reply, Resend, read
from drivers.gcode.sources import Script, Source
from drivers.gcode.tally import Tally
from drivers.gcode.window import Window

_LINE, _ASK = Kind.LINE, Kind.ASK  # looked up for every line


class Link:
    """One conversation. `begin` a source, `receive` what arrives, `tick` when `deadline` is reached, and write what `take` gives.

    `trouble` is set, and nothing is sent any more, when the lines cannot be brought over; it says why in words for an owner.
    """

    def __init__(self, window: Window, byte_seconds: float = 0.0) -> None:
        self.window = window
        self.tally = Tally()
        self.trouble: str | None = None
        self.tells_busy = False
        self._byte_seconds = byte_seconds
        self._pace, self._rounds = Pace(), Rounds()
        self._lines = Lines()
        self._out: list[bytes] = []
        self._flight: deque[Sent] = deque()
        self._bytes = 0
        self.source: Source = Script([])
        self._next, self._low, self._high = 1, 1, 0
        self._held = self._settled = True
        self._counting = False
        self._rewind: Rewind | None = None
        self._ask_at: float | None = None
        self._asked = self._counted = 0
        self._disbelieved: int | None = None
        self._returning = False
        self._refused = Refusals()
        self._swallow = False
        self._probe_pause = patience.PROBE_PAUSE
        self._moved = self._heard = self._alive = 0.0

    @property
    def next(self) -> int:
        """The line that goes out next; exact when `settled`."""
        return self._next

    @property
    def proven(self) -> int:
        """The last line that was acknowledged, and all before it."""
        return self._low - 1

    @property
    def settled(self) -> bool:
        """Held or at its end, nothing on its way, and the firmware has confirmed the count."""
        return self._settled

    @property
    def finished(self) -> bool:
        """The whole source was taken by the firmware."""
        return self._settled and not self._counting and self._next > self.source.last

    @property
    def on_its_way(self) -> int:
        """Commands without an ok."""
        return len(self._flight)

    @property
    def leisure(self) -> float:
        """Seconds for which the next answer may be left unread; see `Pace`. Whatever is not in order is attended to at once."""
        in_order = self._rewind is None and self._ask_at is None and not (self._held or self._counting or self._returning)
        return self._pace.leisure(len(self._flight)) if in_order and not self._asking else 0.0

    @property
    def questioned(self) -> bool:
        """A question about temperatures is on its way already."""
        return any(sent.kind is Kind.PROBE for sent in self._flight)

    def begin(self, source: Source, now: float, first: int = 1) -> None:
        """Bring `source` over, from line `first` on. What was under way before must be settled, or is given up."""
        self._forget()
        self.source, self._held, self._settled, self._counting = source, False, False, True
        self._next = self._low = first
        self._high = first - 1
        self._asked = self._counted = 0
        self._refused = Refusals()
        self._rounds.begin(first)
        self._count(now)

    def hold(self, now: float) -> None:
        """Send no further line of the source; `settled` follows."""
        self._held, self._settled = True, False
        self._go_on(now)

    def say(self, command: bytes, now: float) -> bool:
        """Send a command without a number at once, whatever is on its way. False when too many such are unanswered."""
        if sum(sent.number < 0 for sent in self._flight) >= patience.ASIDES:
            return False
        self._send(Kind.PROBE if command == b"M105" else Kind.PLAIN, -1, command + b"\n", now)
        return True

    def cut(self) -> None:
        """The port is gone: what was on its way may or may not have arrived. Nothing of the source is sent until `recover`."""
        counting = self._counting
        self._forget()
        self._settled, self._returning, self._counting = False, True, counting

    def recover(self, now: float) -> None:
        """After `cut`, on a machine that has not restarted: ask which line is wanted, and go on from there."""
        self._drop_from(0)
        self._asked = self._counted = 0
        if self._counting:
            self._count(now)
        else:
            self._ask(now)

    def take(self) -> bytes:
        """What is to be written now, in one piece."""
        if not self._out:
            return b""
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes, now: float) -> list[Reply]:
        """Take what arrived. Gives what was said beyond plain oks, for the session."""
        self._heard, taken = now, self.tally.lines
        told: list[Reply] = []
        for line in self._lines.feed(data):
            reply = OK if line == b"ok" else read(line)
            if self.trouble is None:
                self._react(reply, now)
            if reply is not OK and not (isinstance(reply, Ok) and reply.heat is None and reply.axes is None):
                told.append(reply)
        self._pace.took(self.tally.lines - taken, now)
        self._go_on(now)
        return told

    def deadline(self) -> float | None:
        """When `tick` has to be called at the latest; None when nothing is waited for."""
        if self.trouble is not None:
            return None
        if self._rewind is not None or self._ask_at is not None:
            return self._rewind.at if self._rewind is not None else self._ask_at
        return self._moved + PATIENCE if self._flight else None

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.trouble is not None:
            return
        if self._rewind is not None:
            if now >= self._rewind.at:
                self._go_back(self._rewind.to)
        elif self._ask_at is not None:
            if now >= self._ask_at:
                self._ask(now)
        elif self._flight and now >= self._moved + PATIENCE:
            self._suspect(now)
        self._go_on(now)

    @property
    def _asking(self) -> bool:
        return bool(self._flight) and self._flight[0].kind is _ASK

    # what was said

    def _react(self, reply: Reply, now: float) -> None:
        swallow, self._swallow = self._swallow, False
        match reply:
            case Ok():
                if not swallow or reply is not OK:
                    self._ok(reply, now)
            case Resend(line):
                self._swallow = True  # the ok that follows acknowledges nothing
                self._wanted(line, now)
            case Busy():
                self.tells_busy, self._moved, self._alive = True, now, now
                self.tally.busy()
            case Idle() if self._flight:
                self._moved = min(self._moved, now - PATIENCE)  # it has nothing to do: oks were lost

    def _ok(self, ok: Ok, now: float) -> None:
        self._moved = self._alive = now
        flight = self._flight
        if ok.buffers is not None:
            self.window.known(ok.buffers + 1)  # the command that just ended still counts as one
        if ok.planner is not None:
            self.tally.planner(ok.planner, now)
        if ok.line is not None:
            self._rounds.needless()
            if not any(sent.number == ok.line for sent in flight):
                return  # it was acknowledged already
            while flight[0].number != ok.line:
                self._land(lost=True)
        if ok.heat is not None:
            self._probed()
        elif flight and not self._asking:
            if len(flight) == 1:
                self._pace.alone(now - flight[0].at)
            self._land()
        if self._counting and not flight:
            self._ask(now)

    def _probed(self) -> None:
        """The answer to a question, which nothing else gives: what went before it was dealt with. Which of several questions was
        answered cannot be told, so that the others are not waited for."""
        if any(sent.kind is Kind.PROBE for sent in self._flight):
            lost = self.tally.lost_oks
            while self._flight[0].kind is not Kind.PROBE:
                self._land(lost=True)
            self._keep([sent for sent in self._flight if sent.kind is not Kind.PROBE])
            self._probe_pause = patience.PROBE_PAUSE
            self._rounds.answered(self.tally.lost_oks - lost)

    def _land(self, *, lost: bool = False) -> None:
        """The oldest command was dealt with."""
        sent = self._flight.popleft()
        self._bytes -= sent.size
        self.tally.lost_oks += lost
        if sent.kind is _LINE:
            self.tally.taken()
            if sent.number >= self._low:
                self._low = sent.number + 1
            if not lost:
                self.window.clean()

    def _wanted(self, line: int | None, now: float) -> None:
        """The firmware names the line it wants."""
        asked = self._asking
        if self._counting:
            self._drop_from(0)
            if asked and line == self._next:
                self._counting, self._returning, self._asked = False, False, 0
            else:
                self._count(now)
            return
        if line is None or not self._believable(line, again=asked):
            self._ask_at = now + patience.DOUBT
            return
        if asked:
            self._answered(line)
        elif line <= self._high:
            self.tally.resends += self._rewind is None
            self._go_back_to(line, now)

    def _believable(self, line: int, *, again: bool) -> bool:
        """A digit is easily lost: a line outside of what is in doubt is believed when it is named twice, and a count that is far
        off is a firmware that has started anew."""
        anew = line == 1 and self._high >= 1 and (self._returning or self._low > patience.FIRST_LINES)
        if self._low <= line <= self._high + 1 and not anew:
            return True
        twice, self._disbelieved = self._disbelieved == line, line
        if not (again and twice):
            return False
        if anew:
            self._fail("the printer has started anew: it wants the first line again")
        elif line > self._high + 1 or line < self._low - patience.FAR_BACK:
            self._fail(f"the printer wants line {line} where line {self._low} was due: it has lost its count")
        return self.trouble is None

    def _answered(self, line: int) -> None:
        """The question was answered: everything before `line` was taken, and nothing else is on its way."""
        self._drop_from(0)
        self._ask_at, self._asked, self._disbelieved, self._returning = None, 0, None, False
        if line < self._next:
            self.tally.resends += 1
            self._go_back(line)
        self._next = self._low = line
        self._settled = self._held or line > self.source.last

    # what is done about it

    def _go_back_to(self, line: int, now: float) -> None:
        """Wait for the echoes of what is on its way, then go back to `line`, once."""
        pause = max(patience.QUIET, 1.5 * (self._pace.round_trip + self._bytes * self._byte_seconds))
        begun = self._rewind.begun if self._rewind else now
        self._rewind = Rewind(line, min(now + pause, begun + patience.STORM), begun)
        self._moved = now

    def _go_back(self, line: int) -> None:
        self._rewind = None
        self._drop_from(line)
        self.window.damaged()
        times = self._refused.once_more(line)
        if times > patience.SAME_LINE or self._refused.in_circles > patience.IN_CIRCLES:
            self._fail(f"line {line} was refused {times} times: look at the cable, the baud rate and this line of the file")
        self._next, self._low, self._settled = line, line, False

    def _suspect(self, now: float) -> None:
        """Neither ok nor busy for a while: the ok may be lost, or the question, or the printer."""
        if now - self._heard >= (patience.SILENCE if self.tells_busy else patience.SILENCE_UNTOLD):
            self._fail(f"the printer has not answered for {now - self._heard:.0f} seconds")
        elif now - self._alive >= (patience.STUCK if self.tells_busy else patience.STUCK_UNTOLD):
            self._fail(f"the printer has taken nothing for {now - self._alive:.0f} seconds, and does not say that it is busy")
        elif self._asking:
            self._ask(now)
        elif self._counting:
            self._drop_from(0)
            self._count(now)
        elif self._flight[-1].kind is not Kind.PROBE or now >= self._flight[-1].at + self._probe_pause:
            self.tally.questions += 1
            self._probe_pause *= 2  # the question may be lost too, but must not pile up before a machine that is merely slow
            self._send(Kind.PROBE, -1, QUESTION, now)
        else:
            self._moved = now

    def _count(self, now: float) -> None:
        """Tell the firmware the number before the next line."""
        self._counted += 1
        if self._counted > patience.ASKED_IN_VAIN:
            self._fail("the printer does not take line numbers: is it a Marlin, and is this its baud rate?")
            return
        self._send(Kind.COUNT, self._next - 1, frame(self._next - 1, b"M110 N%d" % (self._next - 1)), now)

    def _ask(self, now: float) -> None:
        """Ask which line is wanted, by one that cannot be right."""
        self._ask_at = None
        self._drop_from(0)  # the answer tells what became of everything
        self._asked += 1
        if self._asked > patience.ASKED_IN_VAIN:
            self._fail("the printer does not say which line it wants")
            return
        self.tally.questions += 1
        self._send(Kind.ASK, -1, frame(max(self._next, self._high + 1) + 5, b"M105"), now)

    def _go_on(self, now: float) -> None:
        if self.trouble is not None or self._rewind is not None or self._ask_at is not None:
            return
        if self._counting or self._returning or self._asking:
            return
        if not self._held:
            self._fill(now)
        if not self._flight and not self._settled and (self._held or self._next > self.source.last):
            self._ask(now)

    def _fill(self, now: float) -> None:
        """As many lines as the window has room for, in one piece. Called for every line of a print."""
        flight, window, source = self._flight, self.window, self.source
        first = number = self._next
        if self._rounds.due(number) and 0 < len(flight) < window.lines and self._bytes + len(QUESTION) <= window.size:
            self._rounds.begin(number)
            self._send(Kind.PROBE, -1, QUESTION, now)
        last = min(source.last, number + window.lines - len(flight) - 1)
        size, left = source.size, window.size - self._bytes
        while number <= last:
            needed = size(number)
            if needed > left and flight:
                break
            flight.append(Sent(_LINE, number, needed, now))
            left -= needed
            number += 1
        if number > first:
            if len(flight) == number - first:
                self._moved = self._heard = self._alive = now
            self._bytes = window.size - left
            self._out.append(source.lines(first, number - 1))
            self._next = number
            self._high = max(self._high, number - 1)

    def _send(self, kind: Kind, number: int, data: bytes, now: float) -> None:
        if not self._flight:  # before that, nobody had to answer
            self._heard = self._alive = now
        self._flight.append(Sent(kind, number, len(data), now))
        self._bytes += len(data)
        self._out.append(data)
        self._moved = now

    def _drop_from(self, line: int) -> None:
        """What was sent from `line` on (0: all) is not waited for any more."""
        self._keep([sent for sent in self._flight if line and (sent.kind is not Kind.LINE or sent.number < line)])

    def _keep(self, kept: list[Sent]) -> None:
        self._flight = deque(kept)
        self._bytes = sum(sent.size for sent in kept)

    def _forget(self) -> None:
        self._drop_from(0)
        self._lines.clear()
        self._out.clear()
        self._rewind = self._ask_at = self._disbelieved = None
        self._swallow = self._counting = self._returning = False
        self.trouble = None

    def _fail(self, words: str) -> None:
        self.trouble = words
        self._out.clear()
