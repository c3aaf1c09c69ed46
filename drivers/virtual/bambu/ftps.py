"""The file server of a virtual Bambu printer: FTP inside TLS from the first byte, one thread for each client.

Threads, because only `ssl` on plain sockets tells whether a data connection took up the session of its control connection, and the
real server refuses one that did not. What a command does stands in `ftp_session`; here are doors and threads.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable

from drivers.virtual.bambu.ftp_data import kill
from drivers.virtual.bambu.ftp_session import Session, Visit

log = logging.getLogger(__name__)


class FileServer:
    """`visit` makes what a session needs to know; `context` is asked anew for each client, so that no session outlives it."""

    def __init__(self, context: Callable[[], ssl.SSLContext], visit: Callable[[], Visit]) -> None:
        self._context, self._visit = context, visit
        self._listener: socket.socket | None = None
        self._door: threading.Thread | None = None
        self._sessions: dict[Session, threading.Thread] = {}
        self._lock = threading.Lock()

    @property
    def serves(self) -> bool:
        return self._listener is not None

    def open(self, host: str, port: int) -> int:
        """Serve; the port it took. Raises `OSError` naming the address when it is taken."""
        self._listener = listener = socket.create_server((host, port))
        number: int = listener.getsockname()[1]
        self._door = threading.Thread(target=self._welcome, args=(listener,), name=f"ftps-{number}", daemon=True)
        self._door.start()
        return number

    def close(self) -> None:
        """Refuse what comes, kill what is there, and wait until every thread is gone. A second call does nothing."""
        listener, self._listener = self._listener, None
        if listener is not None:
            kill(listener)
        if self._door is not None:
            self._door.join()
            self._door = None
        self.drop()
        with self._lock:
            threads = list(self._sessions.values())
        for thread in threads:
            thread.join()

    def drop(self) -> None:
        """Kill every connection; new ones are still taken."""
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.kill()

    def _welcome(self, listener: socket.socket) -> None:
        with listener:
            while self._listener is listener:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                session = Session(sock, self._context(), self._visit())
                thread = threading.Thread(target=self._serve, args=(session,), name="ftps-session", daemon=True)
                with self._lock:
                    self._sessions[session] = thread
                    if self._listener is not listener:
                        session.kill()
                thread.start()

    def _serve(self, session: Session) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):  # ValueError: a socket that was killed has no descriptor
                session.serve()
        finally:
            session.kill()
            with self._lock:
                self._sessions.pop(session, None)
