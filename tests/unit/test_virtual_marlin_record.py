"""What a board remembers of its work: the same digest whether it keeps the commands or only counts them."""

import hashlib

import pytest

from drivers.virtual.marlin import Record


@pytest.mark.parametrize("count", [0, 1, 4095, 4096, 4097, 9000])
def test_a_folded_record_has_the_digest_of_all_commands(count):
    kept, folded = Record(), Record(keep=False)
    for number in range(count):
        for record in (kept, folded):
            record.add(b"G1 X%d" % number, number if number % 3 else None)
    assert len(folded.executed) < 4096
    assert kept.count == folded.count == count
    assert kept.digest() == folded.digest() == hashlib.sha256(b"\n".join(kept.executed)).hexdigest()
    assert kept.numbered_digest() == folded.numbered_digest() == hashlib.sha256(b"\n".join(kept.numbered)).hexdigest()


def test_numbers_alone_make_no_line_of_a_file():
    record = Record()
    record.add(b"M110 N0", 0)
    record.add(b"M105", None)
    record.add(b"G28", 1)
    assert record.numbered == [b"G28"]
    assert record.executed == [b"M110 N0", b"M105", b"G28"]
