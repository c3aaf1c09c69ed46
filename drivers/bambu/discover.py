"""Which Bambu printers there are in this network: each says so by itself every five seconds, to everybody on UDP port 2021.

It is only listened to. What comes may come from anybody, so it is a proposal: the certificate proves the serial number later.
"""

import asyncio
import re
import socket
from dataclasses import dataclass

from drivers.bambu.models import model_named, models_of_serial

PORT = 2021
LISTEN_SECONDS = 7.0
"""A little more than one round."""
MOST = 2000
_WORD = re.compile(r"[^\x20-\x7e]")
_SERIAL = re.compile(r"[0-9A-Z]{10,20}")


@dataclass(frozen=True, slots=True)
class Found:
    """One printer. `model` as farmd names it, or what it calls itself where that is not known; `lan`: it is in LAN Only Mode."""

    serial: str
    host: str
    model: str
    name: str = ""
    firmware: str = ""
    lan: bool = False


def read_notice(datagram: bytes, sender: str) -> Found | None:
    """What a printer says of itself; None for anything else."""
    lines = datagram[:4096].decode("utf-8", "replace").splitlines()
    if not lines or not lines[0].startswith(("NOTIFY", "HTTP/1.1 200")):
        return None
    told = {}
    for line in lines[1:]:
        key, colon, value = line.partition(":")
        if colon:
            told[key.strip().lower().removesuffix(".bambu.com")] = _WORD.sub("", value).strip()[:80]
    serial, code = told.get("usn", "").upper(), told.get("devmodel", "")
    if not _SERIAL.fullmatch(serial):
        return None
    model = model_named(code) or next(iter(models_of_serial(serial)), None)
    return Found(
        serial,
        told.get("location") or sender,
        model.name if model is not None else code,
        told.get("devname", ""),
        told.get("devversion", ""),
        told.get("devconnect", "").lower() == "lan",
    )


class _Ear(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.found: dict[str, Found] = {}

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        found = read_notice(data, str(addr[0]))
        if found is not None and (found.serial in self.found or len(self.found) < MOST):
            self.found[found.serial] = found


async def discover(seconds: float = LISTEN_SECONDS, *, port: int = PORT) -> list[Found]:
    """Every printer that made itself heard within `seconds`, by serial number. Raises `OSError` when the port cannot be had."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the vendor's own program listens there too
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))  # noqa: S104 - it is a broadcast
        transport, ear = await asyncio.get_running_loop().create_datagram_endpoint(_Ear, sock=sock)
    except OSError:
        sock.close()
        raise
    try:
        await asyncio.sleep(seconds)
    finally:
        transport.close()
    return [ear.found[serial] for serial in sorted(ear.found)]
