"""MQTT as bytes: what a broker must take apart and what it must refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.virtual.bambu import packets
from drivers.virtual.bambu.packets import Connect, Kind, Malformed, Packet, Publish, Splitter, Subscribe

CONNECT = bytes.fromhex("101e 0004 4d515454 04 c2 001e 0002 6331 0004 62626c70 0008 3132333435363738".replace(" ", ""))


def test_a_connect_is_read_field_by_field():
    [packet] = Splitter().feed(CONNECT)
    assert packets.read_connect(packet) == Connect("MQTT", 4, "c1", 30, True, "bblp", b"12345678")
    assert "12345678" not in repr(packets.read_connect(packet))


@given(st.integers(1, 8), st.binary(max_size=300))
def test_pieces_of_any_size_give_the_same_packets(size, payload):
    stream = packets.publish("device/a/report", payload) + packets.pingresp() + packets.publish("t", b"x" * 200)
    splitter, found = Splitter(), []
    for start in range(0, len(stream), size):
        found += splitter.feed(stream[start : start + size])
    assert found == Splitter().feed(stream)
    assert [packet.kind for packet in found] == [Kind.PUBLISH, Kind.PINGRESP, Kind.PUBLISH]
    assert packets.read_publish(found[0]) == Publish("device/a/report", payload)


@pytest.mark.parametrize("length", [0, 1, 119, 120, 16_375, 16_376, 2_097_143])
def test_lengths_at_the_edges_of_their_bytes(length):
    [packet] = Splitter().feed(packets.publish("topic", b"x" * length))
    assert packets.read_publish(packet).payload == b"x" * length


def test_a_publish_at_qos_1_has_a_number_and_may_come_again():
    assert packets.read_publish(Packet(Kind.PUBLISH, 0b1010, b"\0\1t\0\7hello")) == Publish("t", b"hello", 1, 7, again=True)


def test_subscriptions_keep_their_order():
    body = b"\0\5\0\1a\0\0\1b\1"
    assert packets.read_subscribe(Packet(Kind.SUBSCRIBE, 2, body)) == Subscribe(5, (("a", 0), ("b", 1)))
    assert packets.read_unsubscribe(Packet(Kind.UNSUBSCRIBE, 2, b"\0\5\0\1a")) == (5, ("a",))


def test_answers_byte_for_byte():
    assert packets.connack(5) == bytes.fromhex("20020005")
    assert packets.puback(258) == bytes.fromhex("40020102")
    assert packets.suback(1, [0, 1]) == bytes.fromhex("900400010001")
    assert packets.unsuback(1) == bytes.fromhex("b0020001")


@pytest.mark.parametrize(
    ("read", "packet"),
    [
        (packets.read_connect, Packet(Kind.CONNECT, 0, b"\0\4MQTT\4\1\0\0\0\0")),  # the reserved bit
        (packets.read_connect, Packet(Kind.CONNECT, 0, b"\0\4MQTT\4\x40\0\0\0\0\0\1x")),  # a password without a name
        (packets.read_connect, Packet(Kind.CONNECT, 0, b"\0\4MQ")),
        (packets.read_connect, Packet(Kind.CONNECT, 0, b"\0\1\xff\4\0\0\0\0\0")),  # no UTF-8
        (packets.read_publish, Packet(Kind.PUBLISH, 6, b"\0\1t\0\1")),  # QoS 3
        (packets.read_publish, Packet(Kind.PUBLISH, 2, b"\0\1t\0\0")),  # number 0
        (packets.read_publish, Packet(Kind.PUBLISH, 0, b"\0\1#")),
        (packets.read_subscribe, Packet(Kind.SUBSCRIBE, 2, b"\0\1")),  # nothing wanted
        (packets.read_subscribe, Packet(Kind.SUBSCRIBE, 2, b"\0\1\0\1a\3")),  # QoS 3
        (packets.read_subscribe, Packet(Kind.SUBSCRIBE, 0, b"\0\1\0\1a\0")),  # reserved bits
    ],
)
def test_what_the_standard_forbids_is_malformed(read, packet):
    with pytest.raises(Malformed):
        read(packet)


@pytest.mark.parametrize("stream", [b"\x30\xff\xff\xff\xff", b"\x30\xff\xff\xff\x7f"])
def test_lengths_without_an_end_or_measure_are_malformed(stream):
    with pytest.raises(Malformed):
        Splitter().feed(stream)
