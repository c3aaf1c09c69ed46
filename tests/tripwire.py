"""A TCP proxy between a daemon and its printer that can cut the story at an exact byte.

It forwards blindly until a wire is armed; then, when the armed words come by from the daemon's side, it calls back before or
after forwarding them. That is how a test kills the daemon at a point that lasts less than a millisecond.
"""

import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit


class Tripwire:
    """Listens on `url`, forwards to `target`."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wire: tuple[bytes, bool, Callable[[], None]] | None = None
        self._open: list[socket.socket] = []
        self.tripped = False
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def arm(self, words: bytes, action: Callable[[], None], *, forward_first: bool) -> None:
        """Call `action` once when `words` come by; before that they are forwarded, or never are."""
        self.tripped = False
        self._wire = (words, forward_first, action)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._open += [client, server]
            Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, watched: bool) -> None:
        try:
            while data := source.recv(65536):
                if watched and self._wire and self._wire[0] in data:
                    _, forward_first, action = self._wire
                    self._wire = None
                    if forward_first:
                        sink.sendall(data)
                    action()
                    self.tripped = True  # whoever waits for it may rely on the deed being done
                    if not forward_first:
                        return
                    continue
                sink.sendall(data)
        except OSError:
            return
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def close(self) -> None:
        """Stop listening and hang up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            end.close()
        self._thread.join(5)
