"""A virtual board behind a pseudo terminal: the only place where it meets a real clock and a real host.

A stable name points at the terminal for as long as the cable is in; when it is pulled, the host's end hangs up and the name
is gone. Nothing here may change a byte. Everything runs in callbacks of one event loop, because a task for each printer
costs more than its firmware does.
"""

import asyncio
import os
import pty
import select
import tty
from collections import deque
from pathlib import Path

from drivers.virtual.marlin.firmware import Firmware

_LOOK_EVERY = 0.05  # seconds between two looks whether a host has opened the port
_DRIVER_BUFFER = 4096  # bytes that a USB-serial driver takes before its host has to wait
_DEAF_HOST = 65_536  # bytes kept for a host that does not read


class Port:
    """Open it inside the event loop it shall live in. `path` is the name a host opens.

    `speed` makes the board's time run faster than the clock, the wire included; `latency` is added one way, in seconds of
    the clock.
    """

    def __init__(self, firmware: Firmware, path: Path, *, speed: float = 1.0, latency: float = 0.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be above 0, not {speed}")
        self.firmware, self.path = firmware, path
        self._speed, self._latency = speed, latency
        self._limit = firmware.board.rx_buffer if firmware.board.native_usb else _DRIVER_BUFFER
        self._loop: asyncio.AbstractEventLoop | None = None
        self._zero = 0.0
        self._end: int | None = None  # our end of the terminal, None while the cable is out
        self._host_there = self._reading = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._look: asyncio.TimerHandle | None = None
        self._unsent = b""
        self._coming: deque[bytes] = deque()  # on their way between the two, while there is latency
        self._going: deque[bytes] = deque()

    def open(self) -> None:
        """Appear under `path`; raises `OSError` naming it when something else is there."""
        self._loop = asyncio.get_running_loop()
        self._zero = self._loop.time() - self.firmware.core.now / self._speed
        self._appear()
        self.pump()

    def close(self) -> None:
        """Vanish, and let the board's time stand still. A second call does nothing."""
        self._vanish()
        if self._timer is not None:
            self._timer.cancel()
        self._loop = self._timer = None

    @property
    def now(self) -> float:
        """The board's time."""
        return (self._clock.time() - self._zero) * self._speed

    def pump(self) -> None:
        """Bring the board up to now: what it sent goes out, and the next moment is set. Also to be called after changing
        something about the board."""
        if self._loop is None:
            return
        firmware = self.firmware
        firmware.advance(self.now)
        if firmware.plugged != (self._end is not None):
            if firmware.plugged:
                self._appear()
            else:
                self._vanish()
        if data := firmware.take():
            self._send(data)
        if self._host_there and self._reading != (firmware.waiting() < self._limit):
            self._read(not self._reading)
        at = firmware.next_event()
        if at != self._timer_at or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = None if at is None else self._clock.call_at(self._zero + at / self._speed, self._ring)

    @property
    def _clock(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError(f"the virtual port {self.path} is not open")
        return self._loop

    def _ring(self) -> None:
        self._timer = None
        self.pump()

    # --- the cable ---

    def _appear(self) -> None:
        ours, theirs = pty.openpty()
        try:
            tty.setraw(theirs)  # before anybody opens it: an echo would be our own words coming back
            os.set_blocking(ours, False)
            if self.path.is_symlink() and not self.path.exists():
                self.path.unlink()  # left behind by a process that was killed
            self.path.symlink_to(os.ttyname(theirs))
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._end = ours
        self._look_for_host()

    def _vanish(self) -> None:
        if self._end is None:
            return
        self._lose_host()
        if self._look is not None:
            self._look.cancel()
        os.close(self._end)
        self._end = None
        self.path.unlink(missing_ok=True)
        self._coming.clear()
        self._going.clear()

    def _look_for_host(self) -> None:
        """A terminal that nobody has open tells so for ever: it is asked now and then, never waited on."""
        if self._end is None:
            return
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            self._look = self._clock.call_later(_LOOK_EVERY, self._look_for_host)
            return
        self._look, self._host_there = None, True
        self._read(True)
        self.firmware.open_port(self.now)
        self.pump()

    def _lose_host(self) -> None:
        self._read(False)
        if self._end is not None and self._unsent:
            self._clock.remove_writer(self._end)
        self._host_there, self._unsent = False, b""

    def _read(self, wanted: bool) -> None:
        if self._end is None or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._clock.add_reader(self._end, self._readable)
        else:
            self._clock.remove_reader(self._end)

    # --- bytes ---

    def _readable(self) -> None:
        if self._end is None:
            return
        try:
            data = os.read(self._end, _DRIVER_BUFFER)
        except BlockingIOError:
            return
        except OSError:  # EIO: the host has closed it
            self._lose_host()
            self._look_for_host()
            return
        if self._latency:
            self._coming.append(data)
            self._clock.call_later(self._latency, self._arrived)
        else:
            self._receive(data)

    def _arrived(self) -> None:
        if self._coming:
            self._receive(self._coming.popleft())

    def _receive(self, data: bytes) -> None:
        if self._loop is not None:
            self.firmware.receive(data, self.now)
            self.pump()

    def _send(self, data: bytes) -> None:
        if self._latency:
            self._going.append(data)
            self._clock.call_later(self._latency, self._left)
        else:
            self._write(data)

    def _left(self) -> None:
        if self._going and self._loop is not None:
            self._write(self._going.popleft())

    def _write(self, data: bytes) -> None:
        """What nobody listens to is lost."""
        if self._end is None or not self._host_there:
            return
        if self._unsent:
            self._unsent = (self._unsent + data)[:_DEAF_HOST]
            return
        try:
            written = os.write(self._end, data)
        except BlockingIOError:
            written = 0
        except OSError:
            return
        if written < len(data):
            self._unsent = data[written:]
            self._clock.add_writer(self._end, self._writable)

    def _writable(self) -> None:
        if self._end is None:
            return
        self._clock.remove_writer(self._end)
        data, self._unsent = self._unsent, b""
        self._write(data)
