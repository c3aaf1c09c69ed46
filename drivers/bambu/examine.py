"""Why a farm cannot print on a Bambu printer, found out step by step for `farmd doctor`.

Each step names the cure for its own failure, and the first failed step is the last one told. Nothing is changed on the way, and no
command is sent that a printer could take for work.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from drivers.bambu.commands import FIRST_IDS, Commands
from drivers.bambu.errands import FileServer
from drivers.bambu.faults import LOCKED_WORDS
from drivers.bambu.fields import is_locked
from drivers.bambu.mqtt import Link
from drivers.bambu.options import Options, read_options
from drivers.bambu.prints import Prints
from drivers.bambu.session import Session, Timing
from drivers.bambu.tls import CONNECT_SECONDS, Place, Trust, Untrusted, dial
from drivers.bambu.waiting import Waiters
from drivers.contract import Check, DriverError, Unauthorized

GREETING_SECONDS = 10.0
REPORT_SECONDS = 12.0


async def examine(options: Mapping[str, Any], folder: Path) -> AsyncIterator[Check]:
    """The checks of one printer's options, in order, up to the first failure."""
    try:
        read = read_options(options)
    except ValueError as error:
        yield Check("options", False, str(error))
        return
    at_hand = _Examination(read, folder)
    try:
        steps = (
            at_hand.resolve,
            at_hand.reach,
            at_hand.certificate,
            at_hand.access_code,
            at_hand.reports,
            at_hand.developer_mode,
            at_hand.storage,
            at_hand.file_server,
        )
        for step in steps:
            check = await step()
            yield check
            if not check.ok:
                return
    finally:
        at_hand.close()


class _Examination:
    """One visit to one printer."""

    def __init__(self, options: Options, folder: Path) -> None:
        self._options = options
        self._trust = Trust(options.tls, options.tls_ca, options.serial, folder)
        self._session = Session(options.model, Prints(), Commands(FIRST_IDS.stop), Timing(), lambda: 0.0)
        self._waiters = Waiters()
        self._link: Link | None = None
        self._lost = ""

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    async def resolve(self) -> Check:
        host = self._options.host
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await asyncio.get_running_loop().getaddrinfo(host, self._options.mqtt_port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError, TimeoutError) as error:
            words = getattr(error, "strerror", None) or str(error) or "no answer in time"
            return Check("name", False, f"{host} has no address ({words}); check host, or use the address on the printer's screen")
        return Check("name", True, f"{host} is {found[0][4][0]}")

    async def reach(self) -> Check:
        host, port = self._options.host, self._options.mqtt_port
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            return Check("connection", False, f"{host} refuses port {port}: enable LAN Only Mode on the printer's screen")
        except (OSError, TimeoutError) as error:
            words = getattr(error, "strerror", None) or f"no answer within {CONNECT_SECONDS:.0f} s"
            return Check(
                "connection", False, f"no connection to {host}:{port} ({words}); is the printer on, and is this its address?"
            )
        writer.close()
        return Check("connection", True, f"{host}:{port} accepts connections")

    async def certificate(self) -> Check:
        """Also leaves the connection open for the steps after it."""
        options = self._options
        try:
            sock = await dial(Place(options.host, options.mqtt_port, options.serial), self._trust.context(newest=True))
        except Untrusted as error:
            return Check("certificate", False, f"{error}; correct serial, or the file in tls_ca")
        except DriverError as error:
            return Check("certificate", False, f"{error}; what answers there is no Bambu printer")
        try:
            await self._trust.check(sock, keep=False)
        except Untrusted as error:
            sock.close()
            return Check("certificate", False, str(error))
        self._link = Link(sock, options.serial, f"farmd-doctor-{os.getpid()}", self._received, self._gone)
        words = {
            "pin": "it is the one seen first" if self._trust.pin else "it names the serial number and will be trusted from now on",
            "ca": f"it is signed by {options.tls_ca}",
            "insecure": 'not looked at: tls is "insecure"',
        }
        return Check("certificate", True, words[options.tls])

    async def access_code(self) -> Check:
        options = self._options
        assert self._link is not None  # noqa: S101 - made in the step before
        try:
            await self._link.open(options.host, options.mqtt_port, options.access_code, GREETING_SECONDS)
        except Unauthorized as error:
            return Check("access code", False, f"{error}; it changes whenever LAN Only Mode is switched")
        except DriverError as error:
            return Check("access code", False, f"{error}; too many programs may be connected to the printer: restart it")
        return Check("access code", True, "the printer takes it")

    async def reports(self) -> Check:
        loop, session = asyncio.get_running_loop(), self._session
        assert self._link is not None  # noqa: S101 - made two steps before
        session.opened(loop.time())
        self._send()
        await self._waiters.until(lambda: session.ready or bool(self._lost), REPORT_SECONDS)
        if not session.ready:
            why = self._lost or f"nothing is reported for the serial number {self._options.serial}"
            return Check("reports", False, f"{why}; compare serial with the printer's screen, letter by letter")
        await self._waiters.until(lambda: session.firmware is not None, 2.0)
        return Check(
            "reports", True, f"{self._options.model.name}, firmware {session.firmware or 'unknown'}, {session.state or 'no state'}"
        )

    async def developer_mode(self) -> Check:
        locked = is_locked(self._session.picture)
        if self._session.locked is not None:
            return Check("developer mode", False, LOCKED_WORDS)
        told = "on" if locked is False else "this firmware does not tell; if prints do not start, enable it on the screen"
        return Check("developer mode", True, told)

    async def storage(self) -> Check:
        if (trouble := self._session.card) is not None:
            return Check("storage", False, f"{trouble}; put one in, or exchange or format it at the printer")
        return Check("storage", True, "present")

    async def file_server(self) -> Check:
        options = self._options
        place = Place(options.host, options.ftps_port, options.serial)
        try:
            await FileServer(place, options.access_code, self._trust, keep=False).greet()
        except DriverError as error:
            return Check("file server", False, f"{error}; does a firewall keep port {options.ftps_port} shut? Restart the printer")
        return Check("file server", True, f"{options.host}:{options.ftps_port} takes the access code")

    def _send(self) -> None:
        for payload in self._session.take():
            if self._link is not None:
                self._link.publish(payload)

    def _received(self, payload: bytes | bytearray) -> None:
        self._session.receive(payload, asyncio.get_running_loop().time())
        self._send()
        self._waiters.look()

    def _gone(self, words: str) -> None:
        self._lost = words
        self._waiters.look()
