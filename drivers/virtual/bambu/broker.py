"""The MQTT broker inside a virtual printer: one topic to write to, one to read from.

It carries messages and knows nothing of prints. Everything runs in the event loop it was opened in; a client that does not read is
thrown out rather than kept waiting for.
"""

import asyncio
import hmac
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from drivers.virtual.bambu import packets
from drivers.virtual.bambu.packets import Kind, Malformed, Packet

log = logging.getLogger(__name__)
USER = "bblp"
_PATIENCE = 10.0  # seconds for a handshake and a CONNECT
_DEAF = 4_000_000  # bytes kept for a client that does not read


class Mood(Protocol):
    """What the broker is told to do wrong; see `faults.Wire`."""

    refuse_code: int | None
    withhold_pubacks: bool
    silent: bool
    max_clients: int | None


@dataclass(frozen=True, slots=True)
class House:
    """Whose broker it is: the two topics, the code, and how it treats its guests."""

    serial: str
    access_code: Callable[[], str]
    kills_listeners: bool
    one_client_per_id: bool

    @property
    def reports(self) -> str:
        return f"device/{self.serial}/report"

    @property
    def requests(self) -> str:
        return f"device/{self.serial}/request"


class Broker:
    """`received` hears every message on the request topic, `joined` every subscription to the reports,
    `complain` what no client may do."""

    def __init__(
        self,
        house: House,
        mood: Mood,
        *,
        received: Callable[[bytes], None],
        joined: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        self.house, self.mood = house, mood
        self.received, self.joined, self.complain = received, joined, complain
        self.clients: list[Client] = []
        self.connects: list[int] = []  # the code of every CONNACK
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def serves(self) -> bool:
        return self._server is not None

    async def open(self, host: str, port: int, context: ssl.SSLContext) -> int:
        """Serve; the port it took. Raises `OSError` naming the address when it is taken."""
        self._server = await asyncio.start_server(self._accept, host, port, ssl=context, ssl_handshake_timeout=_PATIENCE)
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def close(self) -> None:
        """Refuse what comes and kill what is there. A second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.drop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def drop(self) -> None:
        """Kill every connection; new ones are still taken."""
        for client in list(self.clients):
            client.kill()

    def publish(self, payload: bytes) -> None:
        """One report to everybody who listens."""
        if self.mood.silent:
            return
        packet = packets.publish(self.house.reports, payload)
        for client in list(self.clients):
            if client.listens:
                client.send(packet)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._server is None:
            writer.transport.abort()
            return
        self._tasks.add(task)
        client = Client(self, writer)
        self.clients.append(client)
        try:
            await client.serve(reader)
        except (OSError, EOFError, TimeoutError) as error:
            log.debug("a client of %s went: %s", self.house.serial, error)
        except Malformed as error:
            self.complain(f"sent {error}")
        finally:
            self.clients.remove(client)
            self._tasks.discard(task)
            client.kill()


class Client:
    """One connection, from its handshake to its end."""

    def __init__(self, broker: Broker, writer: asyncio.StreamWriter) -> None:
        self.name: str | None = None  # its client id, once it was let in
        self.listens = False
        self._broker, self._writer = broker, writer

    def send(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > _DEAF:
            self.kill()
        else:
            self._writer.write(data)

    def kill(self) -> None:
        self._writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Until it leaves. Raises `OSError`, `TimeoutError` and `Malformed` when it does not do so in order."""
        splitter = packets.Splitter()
        keepalive: float | None = _PATIENCE
        while data := await asyncio.wait_for(reader.read(65_536), keepalive):
            for packet in splitter.feed(data):
                if self.name is None:
                    if packet.kind != Kind.CONNECT:
                        raise Malformed(f"packet {packet.kind} before its CONNECT")
                    keepalive = self._welcome(packets.read_connect(packet))
                elif packet.kind == Kind.DISCONNECT:
                    await self._leave()
                    return
                else:
                    self._answer(packet)
            if self._writer.transport.is_closing():
                return

    def _welcome(self, connect: packets.Connect) -> float | None:
        """Let it in or show it the door; how long it may be silent."""
        code = self._judge(connect)
        self._broker.connects.append(code)
        self.send(packets.connack(code))
        if code:
            self._writer.close()
            return _PATIENCE
        if self._broker.house.one_client_per_id:
            for other in self._broker.clients:
                if other is not self and other.name == connect.client_id:
                    other.kill()  # 3.1.4
        self.name = connect.client_id
        return connect.keepalive * 1.5 if connect.keepalive else None

    def _judge(self, connect: packets.Connect) -> int:
        broker = self._broker
        if (connect.protocol, connect.level) != ("MQTT", 4):
            return 1
        if broker.mood.refuse_code is not None:
            return broker.mood.refuse_code
        inside = sum(client.name is not None for client in broker.clients)
        if broker.mood.max_clients is not None and inside >= broker.mood.max_clients:
            return 3
        right = hmac.compare_digest(connect.password or b"", broker.house.access_code().encode())
        return 0 if right and connect.user == USER else 5

    async def _leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def _answer(self, packet: Packet) -> None:
        if packet.kind == Kind.PUBLISH:
            self._take(packets.read_publish(packet))
        elif packet.kind == Kind.SUBSCRIBE:
            self._subscribe(packets.read_subscribe(packet))
        elif packet.kind == Kind.UNSUBSCRIBE:
            number, topics = packets.read_unsubscribe(packet)
            self.listens = self.listens and self._broker.house.reports not in topics
            self.send(packets.unsuback(number))
        elif packet.kind == Kind.PINGREQ:
            self.send(packets.pingresp())
        elif packet.kind != Kind.PUBACK:
            raise Malformed(f"packet {packet.kind}")

    def _take(self, message: packets.Publish) -> None:
        broker = self._broker
        if message.qos == 2:
            raise Malformed("a message at QoS 2")
        if message.number is not None and not broker.mood.withhold_pubacks:
            self.send(packets.puback(message.number))
        if message.topic == broker.house.requests:
            broker.received(message.payload)
        else:
            broker.complain(f"wrote to {message.topic}")

    def _subscribe(self, subscribe: packets.Subscribe) -> None:
        """What is not its business is granted all the same, and stays silent."""
        house = self._broker.house
        topics = [topic for topic, _ in subscribe.wishes]
        if house.requests in topics:
            self._broker.complain("subscribed to the request topic")
            if house.kills_listeners:
                self.kill()
                return
        self.send(packets.suback(subscribe.number, [min(qos, 1) for _, qos in subscribe.wishes]))
        if house.reports in topics:
            self.listens = True
            self._broker.joined()
