"""The data connection of a virtual Bambu printer's file server: opened by the client, greeted, encrypted, ended in order or not.

Every wait has a deadline, and `kill` ends it from any other thread.
"""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator

from drivers.virtual.bambu.faults import Upload

STEP_SECONDS = 30.0
_PART_SECONDS = 5.0
_NO_REUSE = "522 SSL connection failed; session reuse required: see require_ssl_reuse option in vsftpd.conf man page"


def kill(sock: socket.socket) -> None:
    """Wake whoever waits on it, in whatever thread, with an error or an end."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of an SSLSocket would only forget its encryption


class DataDoor:
    """Where the next data connection of one client comes in. `say` answers on its control connection."""

    def __init__(self, context: ssl.SSLContext, faults: Upload, say: Callable[[str], None]) -> None:
        self.private = False
        self._context, self._faults, self._say = context, faults, say
        self._door: socket.socket | None = None
        self._data: socket.socket | None = None
        self._lingering: socket.socket | None = None

    def open(self, host: str) -> int:
        """A new door; its port."""
        self._shut()
        self._door = socket.create_server((host, 0))
        self._door.settimeout(STEP_SECONDS)
        port: int = self._door.getsockname()[1]
        return port

    def kill(self) -> None:
        """From any thread."""
        for sock in (self._door, self._data, self._lingering):
            if sock is not None:
                kill(sock)

    def close(self) -> None:
        self._shut()
        self.let_go()

    def let_go(self) -> None:
        """Close the connection that was left standing by `keep`."""
        if self._lingering is not None:
            self._lingering.close()
            self._lingering = None

    @contextlib.contextmanager
    def connection(self, greeting: str) -> Iterator[socket.socket | None]:
        """The connection, after `greeting`; None when there is none, and the client was told why."""
        plain = self._accepted()
        if plain is None:
            self._say("425 Failed to establish connection.")
            yield None
            return
        self._data = plain
        try:
            self._say(greeting)
            sock = self._encrypted(plain) if self.private else plain
            if sock is not None:
                self._data = sock
            yield sock
        finally:
            if self._data is not None and self._data is not self._lingering:
                self._data.close()
            self._data = None

    def part(self, sock: socket.socket) -> None:
        """Say on the data connection itself that it is over, as far as the other side listens."""
        with contextlib.suppress(OSError, ValueError):
            sock.settimeout(_PART_SECONDS)
            if isinstance(sock, ssl.SSLSocket):
                sock.unwrap()
        sock.close()

    def keep(self, sock: socket.socket) -> None:
        """Leave it standing until the client's next command, without a word that it is over."""
        self._lingering = sock

    def _accepted(self) -> socket.socket | None:
        if self._door is None:
            return None
        try:
            sock, _ = self._door.accept()
        except OSError:
            return None
        finally:
            self._shut()
        sock.settimeout(STEP_SECONDS)
        return sock

    def _encrypted(self, plain: socket.socket) -> ssl.SSLSocket | None:
        if self._faults.deaf_data:
            with contextlib.suppress(OSError):
                while plain.recv(65_536):
                    pass
            self._say("425 Failed to establish connection.")
            return None
        try:
            sock = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            self._say("522 SSL connection failed.")
            return None
        if self._faults.demands_reuse and not sock.session_reused:
            self._say(_NO_REUSE)
            sock.close()
            return None
        return sock

    def _shut(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
