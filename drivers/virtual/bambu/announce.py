"""How a virtual Bambu printer makes itself known: a notice to everybody every few seconds, asked or not.

The real ones broadcast to UDP port 2021. Here the address is given, and is one of this host.
"""

import asyncio
import socket

from drivers.virtual.bambu.models import Model

EVERY = 5.0  # seconds of the clock


def notice(model: Model, serial: str, host: str) -> bytes:
    """The datagram, in the words of a printer in LAN Only Mode."""
    lines = (
        "NOTIFY * HTTP/1.1",
        "HOST: 239.255.255.250:1900",
        "Server: UPnP/1.0",
        f"Location: {host}",
        "NT: urn:bambulab-com:device:3dprinter:1",
        f"USN: {serial}",
        "Cache-Control: max-age=1800",
        f"DevModel.bambu.com: {model.code}",
        f"DevName.bambu.com: {model.name}-{serial[-3:]}",
        "DevSignal.bambu.com: -45",
        "DevConnect.bambu.com: lan",
        "DevBind.bambu.com: free",
        "Devseclink.bambu.com: secure",
        "DevVersion.bambu.com: 01.07.02.00",
        "DevCap.bambu.com: 1",
    )
    return "\r\n".join((*lines, "", "")).encode()


class Announcer:
    """Speaks from `open` to `close`, the first time at once."""

    def __init__(self, words: bytes, target: tuple[str, int], every: float = EVERY) -> None:
        self._words, self._target, self._every = words, target, every
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Does nothing while it speaks."""
        if self._transport is None:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, family=socket.AF_INET)
            self._speak()

    def close(self) -> None:
        """A second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _speak(self) -> None:
        if self._transport is not None:
            self._transport.sendto(self._words, self._target)
            self._timer = asyncio.get_running_loop().call_later(self._every, self._speak)
