"""A printer's file server: FTP within TLS from the first byte on, as firmware of many ages speaks it.

The data connection resumes the session of the control connection, or the server refuses it. TLS 1.3 is left out: with it some
servers cut uploads short without a word. Whatever the server answers, only the size it tells of the stored file counts. All of this
blocks: `errands` runs it in threads, and an errand that is called off ends at once because its sockets are shut.
"""

import contextlib
import ftplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import IO

from drivers.contract import DriverError, Refused, Unauthorized, Unreachable

BLOCK = 64 * 1024
STALL_SECONDS = 30.0
REPLY_SECONDS = 30.0
HANDSHAKE_SECONDS = 10.0
STORED_SECONDS = 60.0
"""How long a printer may take to write the last blocks to its card."""
FAREWELL_SECONDS = 3.0
SLOWEST, LEAST_SECONDS = 25_000, 600.0
"""Bytes per second of the slowest printer there is, and the least time any upload is given."""
PROGRESS_SECONDS = 0.2

Sent = Callable[[int], None]


class CalledOff(Exception):
    """The errand was called off."""


class DeafData(Exception):
    """Nobody shakes hands on the data connection: some firmware knows TLS on the control connection only."""


class Errand:
    """One visit to a file server, which may be called off from another thread."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self.off = False

    def hold(self, sock: socket.socket) -> None:
        """From now on this socket goes down with the errand. Raises `CalledOff`."""
        self._sockets.append(sock)
        if self.off:
            raise CalledOff

    def call_off(self) -> None:
        """Whoever waits for one of its sockets stops waiting."""
        self.off = True
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Server(ftplib.FTP_TLS):
    """The control connection over `sock`, a socket whose handshake is done."""

    def __init__(self, sock: ssl.SSLSocket, host: str, serial: str, errand: Errand) -> None:
        super().__init__(context=sock.context, timeout=REPLY_SECONDS, encoding="utf-8")
        self._serial, self._errand = serial, errand
        sock.settimeout(REPLY_SECONDS)
        self.host, self.sock, self.af = host, sock, sock.family
        errand.hold(sock)
        self.file = sock.makefile("r", encoding=self.encoding)

    def log_in(self, user: str, access_code: str, *, clear: bool = False) -> None:
        """`clear`: files go over bare connections, the access code never does. Raises `Unauthorized`, `Unreachable`."""
        with told("log in"):
            self.welcome = self.getresp()
            try:
                self.login(user, access_code)
            except ftplib.error_perm as error:
                raise Unauthorized("the printer's file server refuses the access code") from error
            if clear:
                self.prot_c()
            else:
                self.prot_p()
            self.voidcmd("TYPE I")

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        """TLS begins on the data connection only when the server has answered 150, and within the session that is known. Raises
        `DeafData`."""
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - within TLS
        self._errand.hold(conn)
        if not self._prot_p:  # type: ignore[attr-defined]  # ftplib's own word for what log_in chose
            return conn, size
        control = self.sock
        session = control.session if isinstance(control, ssl.SSLSocket) else None
        secured = self.context.wrap_socket(conn, do_handshake_on_connect=False, server_hostname=self._serial, session=session)
        self._errand.hold(secured)
        secured.settimeout(HANDSHAKE_SECONDS)
        try:
            secured.do_handshake()
        except TimeoutError as error:
            secured.close()
            raise DeafData from error
        except BaseException:
            secured.close()
            raise
        return secured, size

    def put(self, name: str, file: IO[bytes], size: int, sent: Sent) -> None:
        """Store a file of `size` bytes, tell how far it is, and see that all of it is there. Raises `Refused`, `Unreachable`."""
        with told(f"store {name}"):
            said = ""
            try:
                self._store(name, file, size, sent)
            except (OSError, ftplib.error_temp) as error:
                if self._errand.off:
                    raise CalledOff from error
                said = f" ({self._last_word(error)})"
            if (stored := self._size(name)) != size:
                self._forget(name)
                raise Unreachable(f"{name}: {stored or 0} of {size} bytes arrived at the printer{said}")

    def _store(self, name: str, file: IO[bytes], size: int, sent: Sent) -> None:
        end = time.monotonic() + max(LEAST_SECONDS, size / SLOWEST)
        conn = self.transfercmd(f"STOR {name}")
        try:
            conn.settimeout(STALL_SECONDS)
            done, told_at = 0, time.monotonic()
            sent(0)
            while block := file.read(BLOCK):
                conn.sendall(block)
                done += len(block)
                now = time.monotonic()
                if now >= end:
                    raise TimeoutError(f"{done} of {size} bytes in {LEAST_SECONDS:.0f} s or more")
                if now - told_at >= PROGRESS_SECONDS and done < size:
                    told_at = now
                    sent(done)
            _take_leave(conn)
        finally:
            conn.close()
        assert self.sock is not None  # noqa: S101 - connected
        self.sock.settimeout(STORED_SECONDS)
        self.voidresp()
        sent(size)

    def _last_word(self, error: Exception) -> Exception:
        """What the server still has to say of a transfer that broke: then the size decides. Raises a refusal, or `error` when the
        server says nothing."""
        if isinstance(error, ftplib.error_temp):
            return error
        assert self.sock is not None  # noqa: S101 - connected
        try:
            self.sock.settimeout(FAREWELL_SECONDS)
            self.voidresp()
        except ftplib.error_temp as said:
            return said
        except (OSError, EOFError):
            raise error from None
        finally:
            self.sock.settimeout(REPLY_SECONDS)
        return error

    def look(self, name: str) -> int | None:
        """The size of a stored file; None when it is not there. Raises `Unreachable`, `Refused`."""
        with told(f"look for {name}"):
            return self._size(name)

    def delete_file(self, name: str) -> None:
        """A no-op when it is gone. Raises `Unreachable`."""
        with told(f"delete {name}"):
            try:
                self.delete(name)
            except ftplib.error_perm as error:
                if not str(error).startswith("550"):
                    raise

    def _size(self, name: str) -> int | None:
        try:
            return self.size(name)
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                return None
            raise

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OSError, EOFError, ftplib.Error):
            self.delete(name)

    def leave(self) -> None:
        """Say goodbye, shortly."""
        try:
            if self.sock is not None and not self._errand.off:
                self.sock.settimeout(FAREWELL_SECONDS)
                self.quit()
        except (OSError, EOFError, ftplib.Error):
            pass
        finally:
            self.close()


@contextlib.contextmanager
def told(action: str) -> Iterator[None]:
    """What goes wrong within, as the port's errors."""
    try:
        yield
    except ftplib.Error as error:
        raise _refusal(str(error), action) from error
    except TimeoutError as error:
        raise Unreachable(f"cannot {action}: the printer's file server stalled ({error})") from error
    except (OSError, EOFError) as error:
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it hung up"
        raise Unreachable(f"cannot {action}: the connection to the printer's file server broke ({words})") from error


def _take_leave(conn: socket.socket) -> None:
    """Tell the server that this was the end of the file. Some firmware never answers that: it is given a moment."""
    if isinstance(conn, ssl.SSLSocket):
        conn.settimeout(FAREWELL_SECONDS)
        with contextlib.suppress(OSError, ValueError):
            conn.unwrap()


def _refusal(reply: str, action: str) -> DriverError:
    match reply[:3]:
        case "530":
            return Unauthorized("the printer's file server refuses the access code")
        case "552":
            return StorageFull(f"cannot {action}: the printer's storage is full ({reply})")
        case "553":
            return Refused(f"cannot {action}: is a storage card in the printer, with room on it, and may it be written? ({reply})")
        case "522":
            return Unreachable(f"cannot {action}: the printer's file server did not take up the TLS session ({reply})")
        case code if code.startswith("5"):
            return Refused(f"the printer's file server would not {action} ({reply})")
    return Unreachable(f"cannot {action}: the printer's file server failed ({reply})")


class StorageFull(Refused):
    """There is no room for the file."""
