"""The serial port, from opening to closing: exclusive, without an edge on DTR, under a name that survives replugging.

pyserial opens and configures; local ports are then read and written as the raw descriptor they are, because that is what the
event loop can wait on. Network ports (`socket://`, `rfc2217://`) have no descriptor and get a thread. Never speaks G-code.
"""

import asyncio
import fcntl
import os
import select
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import serial

BY_NAME = (Path("/dev/serial/by-id"), Path("/dev/serial/by-path"))
READ_SIZE = 65_536
NETWORK_WAIT = 0.05
FLOWING_MS, TURN_SECONDS = 5, 0.02
"""An answer that was answered is waited for by itself for so long; everything else in the process waits at most for a turn."""

Received = Callable[[bytes], None]
Lost = Callable[[str], None]


class PortError(Exception):
    """The port cannot be opened; the message says what to do."""


class Port(Protocol):
    """An open port. `received` and `lost` are called on the event loop; after `lost` the port is closed."""

    def write(self, data: bytes, leisure: float = 0.0) -> None:
        """Send everything, in order, without blocking. The next answer may be left unread for `leisure` seconds, a few hundredths
        at most."""

    def close(self) -> None:
        """Let go of the port; nothing is called any more."""


def stable_name(name: str) -> str:
    """The name by which the same device is found again after it was replugged; `name` where there is none."""
    with suppress(OSError):
        device = Path(name).resolve(strict=True)
        for folder in BY_NAME:
            if folder.is_dir():
                for link in sorted(folder.iterdir()):
                    if link.resolve() == device:
                        return str(link)
    return name


def open_port(name: str, baud: int, received: Received, lost: Lost) -> Port:
    """Open `name` for the running event loop. Raises `PortError`."""
    try:
        line = serial.serial_for_url(name, do_not_open=True, baudrate=baud, timeout=NETWORK_WAIT, exclusive=True)
        line.dtr = False  # no edge: it would reset most boards in the middle of a print
        line.open()
    except (OSError, ValueError) as error:  # pyserial's own errors are OSErrors
        raise PortError(_cure(name, error)) from error
    if isinstance(line, serial.Serial) and line.fd is not None:
        _own(line.fd)
        return _LocalPort(line, line.fd, received, lost)
    return _NetworkPort(line, received, lost)


def _cure(name: str, error: Exception) -> str:
    number = getattr(error, "errno", None)
    words = str(error)
    if "exclusively lock" in words or number in (11, 16):
        return f"{name} is used by another program: stop it (OctoPrint? another farmd? ModemManager?)"
    if number == 13:
        return f"{name} may not be opened: add the user to the group dialout"
    if number == 2:
        return f"{name} does not exist: is the printer switched on and plugged in?"
    return f"{name} cannot be opened: {words}"


def _own(fd: int) -> None:
    """Keep others away, and keep the board from being reset when the port is closed. A pseudo terminal may not know these."""
    with suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCEXCL)
    with suppress(termios.error):
        settings = termios.tcgetattr(fd)
        settings[2] &= ~termios.HUPCL
        termios.tcsetattr(fd, termios.TCSANOW, settings)


class _LocalPort:
    def __init__(self, line: serial.Serial, fd: int, received: Received, lost: Lost) -> None:
        self._line, self._fd, self._received, self._lost = line, fd, received, lost
        self._rest = b""
        self._wrote = False
        self._read_at = self._leisure = 0.0
        self._loop = asyncio.get_running_loop()
        os.set_blocking(self._fd, False)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        """Lines flow by one wait, one read and one write each. To go round the event loop between them takes as long as all
        three, so it is left out while they follow each other closely. At leisure several answers are read at once."""
        if self._leisure:
            time.sleep(self._leisure)
            self._leisure = 0.0
        now = time.monotonic()
        flows, end = now - self._read_at < FLOWING_MS / 1000, now + TURN_SECONDS
        self._read()
        while flows and now < end and self._wrote and not self._rest and self._fd >= 0:
            if self._leisure or not self._poll.poll(FLOWING_MS):
                break
            self._read()
            now = time.monotonic()
        self._read_at = now

    def _read(self) -> None:
        self._wrote = False
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(error.strerror or str(error))
            return
        if data:
            self._received(data)
        else:
            self._gone("hung up")

    def write(self, data: bytes, leisure: float = 0.0) -> None:
        """See `Port`."""
        self._wrote, self._leisure = True, leisure
        if self._rest:
            self._rest += data
            return
        self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._loop.call_soon(self._gone, error.strerror or str(error))
            return
        if sent < len(data):
            if not self._rest:
                self._loop.add_writer(self._fd, self._more)
            self._rest = data[sent:]
        elif self._rest:
            self._rest = b""
            self._loop.remove_writer(self._fd)

    def _more(self) -> None:
        self._write(self._rest)

    def _gone(self, words: str) -> None:
        if self._fd >= 0:
            self.close()
            self._lost(f"the port was lost: {words}")

    def close(self) -> None:
        """See `Port`."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1
            with suppress(OSError):
                self._line.close()


class _NetworkPort:
    def __init__(self, line: serial.SerialBase, received: Received, lost: Lost) -> None:
        self._line, self._received, self._lost = line, received, lost
        self._loop = asyncio.get_running_loop()
        self._open = True
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        words = "hung up"
        while self._open:
            try:
                data: bytes = self._line.read(1)
                while data and len(data) < READ_SIZE and (more := getattr(self._line, "in_waiting", 0)):
                    data += self._line.read(more)
            except (OSError, TypeError) as error:  # pyserial reads from a socket that `close` took away
                words = str(error)
                break
            if data:
                self._call(self._arrived, data)
        self._call(self._gone, words)

    def _call(self, call: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call, *arguments)

    def _arrived(self, data: bytes) -> None:
        if self._open:
            self._received(data)

    def write(self, data: bytes, leisure: float = 0.0) -> None:  # noqa: ARG002 - a thread reads
        """See `Port`."""
        try:
            self._line.write(data)
        except OSError as error:
            self._loop.call_soon(self._gone, str(error))

    def _gone(self, words: str) -> None:
        if self._open:
            self.close()
            self._lost(f"the port was lost: {words}")

    def close(self) -> None:
        """See `Port`."""
        self._open = False
        with suppress(OSError):
            self._line.close()
