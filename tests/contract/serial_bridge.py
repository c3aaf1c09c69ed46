"""A serial port on the network, as a box beside the printer has it: `python -m tests.contract.serial_bridge KIND TERMINAL PORT`.

`rfc2217` speaks Telnet's Com Port Control through pyserial's own server side, `socket` passes bytes. One client at a time. It ends
when it is killed.
"""

import socket
import sys
import threading
from contextlib import suppress

import serial
from serial.rfc2217 import PortManager


class Line(serial.Serial):
    """A pseudo terminal has no modem lines."""

    cts = dsr = ri = cd = False

    def _update_dtr_state(self) -> None:
        with suppress(OSError):
            super()._update_dtr_state()

    def _update_rts_state(self) -> None:
        with suppress(OSError):
            super()._update_rts_state()


class Client:
    """One connection, as pyserial's manager wants to write to it."""

    def __init__(self, line: serial.Serial, connection: socket.socket, *, telnet: bool) -> None:
        self._line, self._connection = line, connection
        self._manager = PortManager(line, self) if telnet else None
        self._open = True

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def serve(self) -> None:
        """Until the client leaves."""
        reader = threading.Thread(target=self._from_line)
        reader.start()
        with suppress(OSError):
            while data := self._connection.recv(4096):
                self._line.write(b"".join(self._manager.filter(data)) if self._manager else data)
        self._open = False
        reader.join()

    def _from_line(self) -> None:
        with suppress(OSError):
            while self._open:
                if data := self._line.read(self._line.in_waiting or 1):
                    self._connection.sendall(b"".join(self._manager.escape(data)) if self._manager else data)


def main(kind: str, terminal: str, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))) as server:
        while True:
            connection, _ = server.accept()
            with connection, Line(terminal, 250_000, timeout=0.05) as line:
                Client(line, connection, telnet=kind == "rfc2217").serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
