"""One client of the file server of a virtual Bambu printer, from its greeting to its end, in a thread of its own.

The commands, their answers and their limits are those of the printers' vsFTPd, as far as they were seen: no resuming, no listing in
modern forms, a data connection only under the session of the control connection. Never waits for ever: every step has a deadline.
"""

import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.faults import Upload
from drivers.virtual.bambu.ftp_data import STEP_SECONDS, DataDoor, kill
from drivers.virtual.bambu.record import FileTaken, Record

USER = "bblp"
_IDLE = 300.0  # seconds after which a silent client is thrown out
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Visit:
    """What a session knows of the printer. `bare_names`: listings hold names, not paths."""

    access_code: Callable[[], str]
    card: Card
    faults: Upload
    record: Record
    bare_names: bool


class _Cut(Exception):
    """An upload came to a bad end; the answer to it, None for none."""

    def __init__(self, answer: str | None) -> None:
        super().__init__(answer)
        self.answer = answer


class Session:
    """`kill` may be called from any thread; everything else belongs to the one that serves."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, visit: Visit) -> None:
        self._sock, self._context, self._visit = sock, context, visit
        self._data = DataDoor(context, visit.faults, self._say)
        self._host: str = sock.getsockname()[0]
        self._user, self._inside, self._folder = "", False, "/"
        self._renaming: str | None = None
        self._over = threading.Event()

    def kill(self) -> None:
        self._over.set()
        kill(self._sock)
        self._data.kill()

    def serve(self) -> None:
        """Until the client leaves. Raises `OSError` or `ValueError` when it does not do so in order."""
        try:
            if self._visit.faults.hangs:
                self._over.wait()
                return
            self._sock.settimeout(STEP_SECONDS)
            self._sock = self._context.wrap_socket(self._sock, server_side=True)
            self._sock.settimeout(_IDLE)
            self._say("220 (vsFTPd 3.0.5)")
            with self._sock.makefile("rb") as lines:
                while not self._over.is_set() and (line := lines.readline(4096)):
                    self._data.let_go()
                    word, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
                    if not self._answer(word.upper(), argument):
                        return
        finally:
            self._data.close()
            self._sock.close()

    def _say(self, line: str) -> None:
        self._sock.sendall(f"{line}\r\n".encode())

    def _path(self, argument: str) -> str:
        return self._visit.card.where(argument, self._folder)

    # --- commands ---

    def _answer(self, word: str, argument: str) -> bool:
        """Whether the client stays."""
        if word == "QUIT":
            self._say("221 Goodbye.")
            return False
        if word in ("USER", "PASS"):
            return self._log_in(word, argument)
        command = _COMMANDS.get(word)
        if command is None:
            self._say("502 Command not implemented.")
        elif not self._inside and word not in ("PBSZ", "PROT", "NOOP", "SYST"):
            self._say("530 Please login with USER and PASS.")
        else:
            command(self, argument)
        return True

    def _log_in(self, word: str, argument: str) -> bool:
        if word == "USER":
            self._user = argument
            self._say("331 Please specify the password.")
            return True
        right = hmac.compare_digest(argument.encode(), self._visit.access_code().encode()) and self._user == USER
        self._inside = right
        self._say("230 Login successful." if right else "530 Login incorrect.")
        return right

    def pbsz(self, _argument: str) -> None:
        self._say("200 PBSZ set to 0.")

    def prot(self, argument: str) -> None:
        self._data.private = argument.upper() == "P"
        self._say(f"200 PROT now {'Private' if self._data.private else 'Clear'}.")

    def type(self, argument: str) -> None:
        self._say(f"200 Switching to {'Binary' if argument.upper().startswith('I') else 'ASCII'} mode.")

    def noop(self, _argument: str) -> None:
        self._say("200 NOOP ok.")

    def syst(self, _argument: str) -> None:
        self._say("215 UNIX Type: L8")

    def pwd(self, _argument: str) -> None:
        self._say(f'257 "{self._folder}" is the current directory')

    def cwd(self, argument: str) -> None:
        path = self._path(argument)
        try:
            there = self._visit.card.file(path).is_dir()
        except FileNotFoundError:
            there = False
        if there:
            self._folder = path
        self._say("250 Directory successfully changed." if there else "550 Failed to change directory.")

    def cdup(self, _argument: str) -> None:
        self.cwd("..")

    def size(self, argument: str) -> None:
        size = self._visit.card.size(self._path(argument))
        self._say("550 Could not get file size." if size is None else f"213 {size}")

    def mdtm(self, argument: str) -> None:
        path = self._path(argument)
        if self._visit.card.size(path) is None:
            self._say("550 Could not get file modification time.")
        else:
            changed = time.gmtime(self._visit.card.file(path).stat().st_mtime)
            self._say(f"213 {time.strftime('%Y%m%d%H%M%S', changed)}")

    def avbl(self, _argument: str) -> None:
        self._say(f"213 {self._visit.card.free}")

    def dele(self, argument: str) -> None:
        path = self._path(argument)
        if self._visit.card.delete(path):
            self._visit.record.deleted.append(path)
            self._say("250 Delete operation successful.")
        else:
            self._say("550 Delete operation failed.")

    def mkd(self, argument: str) -> None:
        path = self._path(argument)
        try:
            self._visit.card.file(path).mkdir()
        except OSError:
            self._say("550 Create directory operation failed.")
        else:
            self._say(f'257 "{path}" created')

    def rnfr(self, argument: str) -> None:
        self._renaming = self._path(argument)
        if self._visit.card.size(self._renaming) is None:
            self._renaming = None
        self._say("550 RNFR command failed." if self._renaming is None else "350 Ready for RNTO.")

    def rnto(self, argument: str) -> None:
        old, self._renaming = self._renaming, None
        path = self._path(argument)
        if old is None:
            self._say("503 RNFR required first.")
        elif not self._visit.card.takes(path) or old == self._visit.card.locked:
            self._say("550 Rename failed.")
        else:
            self._visit.card.file(old).rename(self._visit.card.file(path))
            self._say("250 Rename successful.")

    def pasv(self, _argument: str) -> None:
        """The address is left open, as on the machines: the client takes the one it came to."""
        port = self._data.open(self._host)
        self._say(f"227 Entering Passive Mode (0,0,0,0,{port >> 8},{port & 255}).")

    # --- data ---

    def nlst(self, argument: str) -> None:
        self._list(argument, self._short)

    def list_(self, argument: str) -> None:
        self._list("" if argument.startswith("-") else argument, _long)

    def _short(self, entry: Path) -> str:
        folder = "" if self._visit.bare_names else "/" + str(entry.parent.relative_to(self._visit.card.root)).strip(".") + "/"
        return folder.replace("//", "/") + entry.name

    def _list(self, argument: str, form: Callable[[Path], str]) -> None:
        try:
            entries = self._visit.card.listing(self._path(argument) if argument else self._folder)
        except OSError:
            entries = []
        text = "".join(f"{form(entry)}\r\n" for entry in entries)
        with self._data.connection("150 Here comes the directory listing.") as data:
            if data is not None:
                data.sendall(text.encode())
                self._data.part(data)
                self._say("226 Directory send OK.")

    def retr(self, argument: str) -> None:
        path = self._path(argument)
        if self._visit.card.size(path) is None:
            self._say("550 Failed to open file.")
            return
        with (
            self._data.connection("150 Opening BINARY mode data connection.") as data,
            self._visit.card.file(path).open("rb") as file,
        ):
            if data is not None:
                data.sendfile(file)
                self._data.part(data)
                self._say("226 Transfer complete.")

    def stor(self, argument: str) -> None:
        path, faults = self._path(argument), self._visit.faults
        if faults.refuse is not None:
            self._say(faults.refuse)
        elif not self._visit.card.takes(path):
            self._say("553 Could not create file.")
        else:
            with self._data.connection("150 Ok to send data.") as data:
                if data is None:
                    self._visit.card.create(path).close()  # the real one has made it by then
                    return
                self._take(data, path)

    def _take(self, data: socket.socket, path: str) -> None:
        faults = self._visit.faults
        try:
            self._write(data, path)
        except _Cut as cut:
            self._visit.record.uploads.append(FileTaken(path, self._visit.card.size(path) or 0, whole=False))
            if cut.answer is None:
                self.kill()
            else:
                self._data.part(data)
                self._say(cut.answer)
            return
        size = self._visit.card.size(path) or 0
        self._visit.record.uploads.append(FileTaken(path, size, whole=faults.lose_after is None))
        if faults.keeps_open:
            self._data.keep(data)
        else:
            self._data.part(data)
        if faults.unconfirmed:
            self.kill()
        elif faults.confirm_after:
            self._over.wait(faults.confirm_after)
        self._say("226 Transfer complete.")

    def _write(self, data: socket.socket, path: str) -> None:
        """All that comes, as far as it fits. Raises `_Cut`."""
        faults, card, taken = self._visit.faults, self._visit.card, 0
        room, started = card.free, time.monotonic()
        with card.create(path) as file:
            while True:
                limit = _BLOCK if faults.die_at is None else min(_BLOCK, faults.die_at - taken)
                if limit <= 0 or self._over.is_set():
                    raise _Cut(None)
                try:
                    block = data.recv(limit)
                except OSError:
                    raise _Cut("426 Failure reading network stream.") from None
                if not block:
                    return
                if taken + len(block) > room:
                    file.write(block[: room - taken])
                    raise _Cut("552 Error writing to file: no space left on device.")
                taken += len(block)
                kept = len(block) if faults.lose_after is None else max(0, len(block) - max(0, taken - faults.lose_after))
                file.write(block[:kept])
                if faults.rate is not None:
                    self._over.wait(max(0.0, started + taken / faults.rate - time.monotonic()))


def _long(entry: Path) -> str:
    status = entry.stat()
    kind, day = "d" if entry.is_dir() else "-", time.strftime("%b %d %H:%M", time.gmtime(status.st_mtime))
    return f"{kind}rwxr-xr-x    1 0        0        {status.st_size:>10} {day} {entry.name}"


_COMMANDS: Mapping[str, Callable[[Session, str], None]] = {
    "PBSZ": Session.pbsz,
    "PROT": Session.prot,
    "TYPE": Session.type,
    "NOOP": Session.noop,
    "SYST": Session.syst,
    "PWD": Session.pwd,
    "CWD": Session.cwd,
    "CDUP": Session.cdup,
    "SIZE": Session.size,
    "MDTM": Session.mdtm,
    "AVBL": Session.avbl,
    "DELE": Session.dele,
    "MKD": Session.mkd,
    "RNFR": Session.rnfr,
    "RNTO": Session.rnto,
    "PASV": Session.pasv,
    "NLST": Session.nlst,
    "LIST": Session.list_,
    "RETR": Session.retr,
    "STOR": Session.stor,
}
