"""MQTT 3.1.1 as bytes: what a client may send, and what a broker answers. Pure; the wire is elsewhere.

Section numbers are those of the OASIS standard. Nothing here may trust a length or a text that came from outside.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum

_LARGEST = 268_435_455  # 2.2.3


class Kind(IntEnum):
    """The upper half of a packet's first byte (2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Malformed(Exception):
    """Bytes that are no MQTT: the connection has to be closed (4.8)."""


@dataclass(frozen=True, slots=True)
class Packet:
    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Connect:
    """3.1. `level` is 4 for 3.1.1; `keepalive` in seconds, 0 for none."""

    protocol: str
    level: int
    client_id: str
    keepalive: int
    clean: bool
    user: str | None
    password: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Publish:
    """3.3. `number` is None at QoS 0."""

    topic: str
    payload: bytes
    qos: int = 0
    number: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Subscribe:
    """3.8: topic filters and the QoS asked for, in their order."""

    number: int
    wishes: tuple[tuple[str, int], ...]


class Splitter:
    """Cuts a stream of bytes into packets."""

    def __init__(self, largest: int = 4_000_000) -> None:
        self._rest = bytearray()
        self._largest = largest

    def feed(self, data: bytes) -> list[Packet]:
        """Every packet that is whole by now. Raises `Malformed`."""
        self._rest += data
        packets = []
        while (head := self._head()) is not None:
            start, length = head
            if len(self._rest) < start + length:
                break
            packets.append(Packet(self._rest[0] >> 4, self._rest[0] & 15, bytes(self._rest[start : start + length])))
            del self._rest[: start + length]
        return packets

    def _head(self) -> tuple[int, int] | None:
        """Where the body begins and how long it is (2.2.3); None until that is known."""
        length = 0
        for place, byte in enumerate(self._rest[1:5]):
            length |= (byte & 127) << (7 * place)
            if length > self._largest:
                raise Malformed(f"a packet of {length} bytes")
            if byte < 128:
                return place + 2, length
        if len(self._rest) >= 5:
            raise Malformed("a length without an end")
        return None


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._body):
            raise Malformed("a packet shorter than it says")
        self._at += count
        return self._body[self._at - count : self._at]

    def number(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def binary(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed("a text that is not UTF-8") from None  # 1.5.3

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    @property
    def done(self) -> bool:
        return self._at == len(self._body)


def read_connect(packet: Packet) -> Connect:
    """Raises `Malformed`, also for the reserved bit (3.1.2.3) and a password without a user (3.1.2.9)."""
    reader = _Reader(packet.body)
    protocol, level, flags, keepalive = reader.text(), reader.take(1)[0], reader.take(1)[0], reader.number()
    if flags & 1 or (flags & 0x40 and not flags & 0x80):
        raise Malformed("flags of a CONNECT that contradict each other")
    client_id = reader.text()
    if flags & 4:  # a will: nobody else listens here who could be told
        reader.text()
        reader.binary()
    user = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
    return Connect(protocol, level, client_id, keepalive, bool(flags & 2), user, password)


def read_publish(packet: Packet) -> Publish:
    """Raises `Malformed`, also for QoS 3 (3.3.1.2) and a topic with wildcards (3.3.2.1)."""
    reader, qos = _Reader(packet.body), packet.flags >> 1 & 3
    topic = reader.text()
    if qos == 3 or not topic or "+" in topic or "#" in topic:
        raise Malformed(f"a PUBLISH at QoS {qos} to {topic!r}")
    number = reader.number() if qos else None
    if number == 0:
        raise Malformed("packet number 0")
    return Publish(topic, reader.rest(), qos, number, bool(packet.flags & 8))


def read_subscribe(packet: Packet) -> Subscribe:
    """Raises `Malformed`, also for one without a topic (3.8.3)."""
    reader = _Reader(packet.body)
    number, wishes = _number(packet, reader), []
    while not reader.done:
        topic, qos = reader.text(), reader.take(1)[0]
        if qos > 2 or not topic:
            raise Malformed(f"a subscription to {topic!r} at QoS {qos}")
        wishes.append((topic, qos))
    if not wishes:
        raise Malformed("a SUBSCRIBE without a topic")
    return Subscribe(number, tuple(wishes))


def read_unsubscribe(packet: Packet) -> tuple[int, tuple[str, ...]]:
    """Its number and the topics. Raises `Malformed`."""
    reader = _Reader(packet.body)
    number, topics = _number(packet, reader), []
    while not reader.done:
        topics.append(reader.text())
    return number, tuple(topics)


def _number(packet: Packet, reader: _Reader) -> int:
    if packet.flags != 2:  # 3.8.1, 3.10.1
        raise Malformed("reserved bits that are not as they must be")
    return reader.number()


def connack(code: int) -> bytes:
    """3.2; no session is ever kept. 0 accepted, 1 wrong protocol, 2 name refused, 3 unavailable, 4 bad user or password,
    5 not authorized."""
    return _packet(Kind.CONNACK, bytes((0, code)))


def puback(number: int) -> bytes:
    return _packet(Kind.PUBACK, number.to_bytes(2, "big"))


def suback(number: int, granted: list[int]) -> bytes:
    """3.9; 0x80 for a refused one."""
    return _packet(Kind.SUBACK, number.to_bytes(2, "big") + bytes(granted))


def unsuback(number: int) -> bytes:
    return _packet(Kind.UNSUBACK, number.to_bytes(2, "big"))


def pingresp() -> bytes:
    return _packet(Kind.PINGRESP, b"")


def publish(topic: str, payload: bytes) -> bytes:
    """One message at QoS 0, as the printers send theirs."""
    name = topic.encode()
    return _packet(Kind.PUBLISH, struct.pack("!H", len(name)) + name + payload)


def _packet(kind: Kind, body: bytes) -> bytes:
    length, head = len(body), bytearray((kind << 4,))
    if length > _LARGEST:
        raise ValueError(f"{length} bytes are too many for a packet")
    while True:
        length, byte = divmod(length, 128)
        head.append(byte | 128 if length else byte)
        if not length:
            return bytes(head) + body
