"""The stream from a printer's broker, cut into packets however it arrives."""

import random

import pytest

from drivers.bambu.packets import LONGEST, Overlong, Packets

TOPIC = b"device/01P00A000000001/report"
PINGRESP, CONNACK, SUBACK, PUBACK = b"\xd0\x00", b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00", b"\x40\x02\x00\x07"
SAID = [b"{}", b'{"print":{"mc_percent":3}}', b"x" * 127, b"y" * 20_000, b"z" * 1_300_000, b""]


def publish(payload: bytes) -> bytes:
    """A report as the broker sends it."""
    body = len(TOPIC).to_bytes(2, "big") + TOPIC + payload
    length, left = bytearray(), len(body)
    while True:
        left, digit = left >> 7, left & 0x7F
        length.append(digit | (0x80 if left else 0))
        if not left:
            return b"\x30" + bytes(length) + body


def drained(packets: Packets) -> list[tuple[bool, bytes]]:
    found = []
    while (packet := packets.take()) is not None:
        found.append(packet)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_reports_come_out_whole_however_the_stream_is_cut(seed):
    chance = random.Random(seed)
    stream = b"".join(publish(payload) + PINGRESP for payload in SAID)
    packets, found, at = Packets(), [], 0
    while at < len(stream):
        size = chance.choice([1, 2, 3, 100, 16_384, 500_000])
        packets.feed(stream[at : at + size])
        found += drained(packets)
        at += size
    assert [content for report, content in found if report] == SAID
    assert [content for report, content in found if not report] == [PINGRESP] * len(SAID)
    assert packets.take() is None


def test_everything_but_a_plain_report_is_left_to_the_client():
    packets = Packets()
    confirmed = b"\x32" + publish(b"{}")[1:]  # at QoS 1
    for packet in (CONNACK, SUBACK, PUBACK, confirmed):
        packets.feed(packet)
    assert [report for report, _ in drained(packets)] == [False] * 4


@pytest.mark.parametrize("stream", [b"\x30\xff\xff\xff\xff\x01", b"\x30" + b"\xff\xff\xff\x7f", b"\x20\x80\x80\x80\x80\x80"])
def test_a_length_that_no_printer_sends_ends_the_stream(stream):
    packets = Packets()
    packets.feed(stream)
    with pytest.raises(Overlong):
        packets.take()
    assert LONGEST < 0x0FFFFFFF


def test_a_report_shorter_than_its_topic_is_empty():
    packets = Packets()
    packets.feed(b"\x30\x02\x00\xff" + PINGRESP)
    assert drained(packets) == [(True, b""), (False, PINGRESP)]
