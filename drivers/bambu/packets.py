"""The stream of bytes from a printer's broker, cut into MQTT packets.

Reports, nearly all of what comes, are taken out here at once; everything else is for the client library. Pure.
"""

LONGEST = 8 << 20
"""Bytes; no printer sends a longer packet, and a stream that claims one is not read on."""


class Overlong(Exception):
    """A packet claims a length that no printer sends, or one that is no length: the stream cannot be read on."""


class Packets:
    """Bytes in, whole packets out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """More of the stream."""
        self._data += data

    def take(self) -> tuple[bool, bytes] | None:
        """The next packet: the payload of a report (True), or a whole packet of another kind (False). None while there is none.
        Raises `Overlong`."""
        data = self._data
        if len(data) < 2:
            return None
        length, at, shift = data[1] & 0x7F, 2, 7
        while data[at - 1] & 0x80:
            if shift > 21:
                raise Overlong
            if at >= len(data):
                return None
            length |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
        if length > LONGEST:
            raise Overlong
        end = at + length
        if len(data) < end:
            return None
        plain = data[0] & 0xF6 == 0x30 and length >= 2  # PUBLISH at QoS 0: a topic and a payload
        start = at + 2 + (data[at] << 8 | data[at + 1]) if plain else 0
        packet = bytes(data[start:end])
        if end == len(data):
            self._data = bytearray()
        else:
            del data[:end]
        return plain, packet
