"""What a virtual board's emergency parser hears in lines that are refused: noise makes a quick stop of a fence.

M400 and M410 are one bit apart, and what acts at once does so before anybody has looked at a checksum.
"""

import pytest

from drivers.virtual.marlin import Board, Firmware


@pytest.mark.parametrize("urgent", [b"M410", b"M108", b"M876 S0"])
def test_a_refused_line_with_an_urgent_command_stops_nothing_but_the_moves(urgent: bytes) -> None:
    firmware = Firmware(Board())
    firmware.advance(1.0)
    firmware.take()
    firmware.receive(b"N7 " + urgent + b"*1\n", 1.0)
    firmware.advance(2.0)  # hung for ever when nothing ran that could be woken
    assert b"Resend: 1\nok\n" in firmware.take()
    firmware.receive(b"M105\n", 2.0)
    firmware.advance(3.0)
    assert firmware.take().startswith(b"ok T:")
