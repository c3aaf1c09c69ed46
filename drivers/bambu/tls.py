"""Whom a connection leads to: TLS to a printer whose certificate names its serial number and is signed by nobody a computer knows.

Three ways: the certificate first seen is the one for good (`pin`), it is signed by a given authority (`ca`), or it may be any
(`insecure`). Nothing secret is sent before that is settled. All printers share their contexts: each would cost as much as all else.
"""

import asyncio
import hashlib
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from drivers.contract import Unreachable

CONNECT_SECONDS = 10.0
PIN_FILE = "certificate.sha256"
_COMMON_NAME = bytes.fromhex("0603550403")
_VERSION = 0xA0  # the tag of a certificate's version, which the first kind of certificate does not have


class Untrusted(Unreachable):
    """Something answers, but it is not, or not provably, the printer that was named."""


@dataclass(frozen=True, slots=True)
class Place:
    """One port of a printer."""

    host: str
    port: int
    serial: str


@cache
def context_for(ca: str | None, *, newest: bool) -> ssl.SSLContext:
    """The context for a way of trusting: with `ca` the certificates in that file sign, without it whoever calls looks for himself.
    `newest`: also TLS 1.3, with which some file servers cut uploads short. Raises `Untrusted`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if newest:
        context.options |= ssl.OP_NO_TICKET  # these connections are never taken up again: a ticket would lie about for nothing
    else:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the vendor's authority lacks what the strict rules ask for
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise Untrusted(f"tls_ca: {ca} cannot be used: {error.strerror or error}") from error
    return context


class Trust:
    """One printer's certificate. `folder` keeps the pin."""

    def __init__(self, mode: str, ca: str | None, serial: str, folder: Path) -> None:
        self._mode, self._ca, self._serial = mode, ca, serial
        self.file = folder / PIN_FILE
        self.pin: str | None = None
        self._read = mode != "pin"

    def context(self, *, newest: bool) -> ssl.SSLContext:
        """Raises `Untrusted`."""
        return context_for(self._ca if self._mode == "ca" else None, newest=newest)

    async def check(self, sock: ssl.SSLSocket, *, keep: bool = True) -> None:
        """Settle whether this is the printer; the first certificate of a printer is written down, unless it is not to be kept.
        Raises `Untrusted`."""
        if not self._read:
            self.pin = await asyncio.to_thread(_read_pin, self.file)
            self._read = True
        if self._mode != "pin":
            return
        certificate = sock.getpeercert(binary_form=True) or b""
        seen = hashlib.sha256(certificate).hexdigest()
        if self.pin is None:
            name = common_name(certificate)
            if name != self._serial:
                raise Untrusted(f"what answers is the printer {name or 'of no name'}, not {self._serial}: correct serial or host")
            if not keep:
                return
            try:
                await asyncio.to_thread(_write_pin, self.file, seen)
            except OSError as error:
                raise Untrusted(f"the certificate cannot be written down in {self.file}: {error.strerror}") from error
            self.pin = seen
        elif seen != self.pin:
            self._read = False  # somebody may follow the advice
            raise Untrusted(
                f"the printer's certificate is not the one that was seen first: if its mainboard was exchanged or it was reset, "
                f"delete {self.file}; otherwise somebody stands between"
            )


async def dial(place: Place, context: ssl.SSLContext, seconds: float = CONNECT_SECONDS) -> ssl.SSLSocket:
    """A connected socket that does not block, its handshake done. Raises `Unreachable`, `Untrusted`."""
    try:
        async with asyncio.timeout(seconds):
            bare = await _connected(place)
            try:
                sock = context.wrap_socket(bare, do_handshake_on_connect=False, server_hostname=place.serial)
            except OSError:
                bare.close()
                raise
            try:
                await _shake_hands(sock)
            except BaseException:
                sock.close()
                raise
            return sock
    except TimeoutError as error:
        raise Unreachable(f"{place.host}:{place.port} did not answer within {seconds:.0f} s") from error
    except ssl.SSLCertVerificationError as error:
        raise Untrusted(f"the certificate of {place.host} is not that of {place.serial}: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise Unreachable(f"{place.host}:{place.port} speaks no TLS we can use: {error.reason or error}") from error
    except (OSError, UnicodeError) as error:
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Unreachable(f"no connection to {place.host}:{place.port}: {words}") from error


async def _connected(place: Place) -> socket.socket:
    loop = asyncio.get_running_loop()
    last: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last or OSError("the name has no address")


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(sock, to_write=False)
        except ssl.SSLWantWriteError:
            await _ready(sock, to_write=True)
        else:
            return


async def _ready(sock: socket.socket, *, to_write: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def now() -> None:
        if not ready.done():
            ready.set_result(None)

    (loop.add_writer if to_write else loop.add_reader)(sock, now)
    try:
        await ready
    finally:
        (loop.remove_writer if to_write else loop.remove_reader)(sock)


def common_name(certificate: bytes) -> str | None:
    """The subject's common name in a DER certificate; None where there is none, or the bytes are no certificate."""
    try:
        subject = _subject(certificate)
    except IndexError:
        return None
    at = subject.rfind(_COMMON_NAME)
    if at < 0:
        return None
    text, _ = _value(subject, at + len(_COMMON_NAME)) if at + 7 <= len(subject) else (b"", 0)
    return text.decode("utf-8", "replace") or None


def _subject(certificate: bytes) -> bytes:
    body, _ = _value(_value(certificate, 0)[0], 0)
    at = _value(body, 0)[1] if body[0] == _VERSION else 0
    for _field in ("serial number", "algorithm", "issuer", "validity"):
        _, at = _value(body, at)
    return _value(body, at)[0]


def _value(data: bytes, at: int) -> tuple[bytes, int]:
    """The contents of the DER value that begins at `at`, and where the next one does."""
    length, start = data[at + 1], at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[at + 2 : start], "big")
    return data[start : start + length], start + length


def _read_pin(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise Untrusted(f"the certificate first seen cannot be read from {file}: {error}") from error


def _write_pin(file: Path, pin: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(pin + "\n")
    new.replace(file)
