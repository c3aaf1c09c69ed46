"""One MQTT connection to a printer: paho's client, its socket watched by the event loop.

No thread: a farm has hundreds of printers. A client lives as long as its connection and is thrown away with it, so that nothing it
had queued can be sent again over the next one. Everything goes out once at most (QoS 0): effects are seen in the reports.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from drivers.bambu.packets import Overlong, Packets
from drivers.contract import Unauthorized, Unreachable

USER = "bblp"
KEEPALIVE_SECONDS = 30
TICK_SECONDS = 10.0
"""How often `tick` must be called: well within the keepalive."""
READS_AT_ONCE, READ_BYTES = 32, 16_384
_WRONG_CODE = (134, 135)


class _Socket:
    """A socket as paho uses one: it writes to the printer, and reads the packets it is given."""

    __slots__ = ("_given", "_sock", "close", "fileno", "send", "setblocking")

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock, self._given = sock, b""
        self.send, self.close, self.fileno, self.setblocking = sock.send, sock.close, sock.fileno, sock.setblocking

    def give(self, packet: bytes) -> None:
        """What paho may read; nothing is the end of the stream."""
        self._given = packet

    @property
    def waiting(self) -> bool:
        return bool(self._given)

    def recv(self, size: int) -> bytes:
        piece, self._given = self._given[:size], self._given[size:]
        return piece


class _Client(Client):
    """Connects over a socket that stands already: paho's own would block until the printer answers."""

    def __init__(self, client_id: str, sock: _Socket) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv311, reconnect_on_failure=False)
        self._ready = sock

    def _create_socket(self) -> Any:
        return self._ready


class Link:
    """A connection over `sock`, from the greeting to its end. `received(payload)` and `lost(words)` are called on the loop;
    `lost` once at most, and not after `close`."""

    def __init__(
        self,
        sock: ssl.SSLSocket,
        serial: str,
        client_id: str,
        received: Callable[[bytes | bytearray], None],
        lost: Callable[[str], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._topic, self._request = f"device/{serial}/report", f"device/{serial}/request"
        self._received, self._lost = received, lost
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._closed = False
        self._sock, self._inlet, self._packets = sock, _Socket(sock), Packets()
        self._end = ""
        self._client = client = _Client(client_id, self._inlet)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = self._on_open
        client.on_socket_close = self._on_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write

    async def open(self, host: str, port: int, access_code: str, seconds: float) -> None:
        """Greet and subscribe. Raises `Unauthorized`, `Unreachable`."""
        self._client.username_pw_set(USER, access_code)
        self._client.connect_async(host, port, KEEPALIVE_SECONDS)
        self._client.reconnect()
        try:
            async with asyncio.timeout(seconds):
                await self._opened
        except TimeoutError:
            raise Unreachable(f"{host}:{port} took the connection but did not answer within {seconds:.0f} s") from None

    @property
    def alive(self) -> bool:
        return self._client.socket() is not None

    def publish(self, payload: bytes) -> bool:
        """Send one command, once at most. False when there is no connection any more: then it certainly did not leave."""
        if not self.alive:
            return False
        return self._client.publish(self._request, payload).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def tick(self) -> None:
        """Keep the connection alive, and notice when it is not."""
        self._client.loop_misc()

    def close(self) -> None:
        """Take leave as MQTT wants it: printers have few places for clients, and give a lost one's back late."""
        self._closed = True
        if not self._opened.done():
            self._opened.cancel()
        if self.alive:
            self._client.disconnect()
            self._client.loop_write()
        self._drop()

    def _drop(self) -> None:
        sock = self._client.socket()
        if sock is not None:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            sock.close()

    def _readable(self) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                data = self._sock.recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._end, data = error.strerror or "", b""
            if not (self._understand(data) if data else self._ended()) or not self._sock.pending():
                return
        self._loop.call_soon(self._more)  # more is decrypted already, of which the loop knows nothing

    def _more(self) -> None:
        if self.alive:
            self._readable()

    def _understand(self, data: bytes) -> bool:
        """Take in what came. False when there is no connection any more."""
        self._packets.feed(data)
        try:
            while self.alive and (packet := self._packets.take()) is not None:
                report, content = packet
                if report:
                    self._received(content)
                else:
                    self._inlet.give(content)
                    while self._inlet.waiting and self.alive:
                        self._client.loop_read()
        except Overlong:
            self._end = "what it sent is no message of a printer"
            return self._ended()
        return self.alive

    def _ended(self) -> bool:
        """Let paho find the end of the stream: it takes leave of everything and says so."""
        self._inlet.give(b"")
        self._client.loop_read()
        return False

    # --- paho calls these ---

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if not reason.is_failure:
            self._client.subscribe(self._topic)
        elif reason.value in _WRONG_CODE:
            self._fail(Unauthorized("the printer refuses the access code: its screen shows the present one under LAN Only Mode"))
        else:
            self._fail(Unreachable(f"the printer refuses the connection: {reason}"))

    def _on_subscribe(self, _client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._fail(Unreachable("the printer does not let its reports be read"))
        elif not self._opened.done():
            self._opened.set_result(None)

    def _on_disconnect(self, _client: Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        words = f"the connection broke ({self._end or 'the printer hung up'})" if reason.is_failure else "the connection was closed"
        if not self._opened.done():
            self._fail(Unreachable(words))
        elif not self._closed:
            self._closed = True
            self._lost(words)

    def _fail(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if not self._closed:
            self._received(message.payload)

    def _on_open(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.add_reader(sock, self._readable)

    def _on_close(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)

    def _on_register_write(self, client: Client, _data: Any, sock: Any) -> None:
        self._loop.add_writer(sock, client.loop_write)

    def _on_unregister_write(self, _client: Client, _data: Any, sock: Any) -> None:
        self._loop.remove_writer(sock)
