"""How much may be on its way to a printer at once: learned from what it says and bears, never guessed.

Pure. Bytes that are not acknowledged must fit into the firmware's receive buffer, or it loses them without a word; that bound
holds whatever was learned. Lines begin at one, which every firmware bears.
"""

MOST_LINES = 64
CLEAN_LINES = 500
"""Lines in a row without a Resend that earn one more line on its way."""
RX_BUFFER = 128
"""Marlin's default, and the smallest that is in use."""


class Window:
    """`lines` and `size` (bytes with their newline) that may be unacknowledged. `fixed` lines are the owner's word: they are
    not learned, and only a Resend makes them fewer for a while. `rx_buffer` is the firmware's receive buffer in bytes."""

    __slots__ = ("_clean", "_most", "lines", "size")

    def __init__(self, fixed: int | None = None, rx_buffer: int = RX_BUFFER) -> None:
        self._most = fixed or MOST_LINES
        self.lines = fixed or 1
        self.size = rx_buffer - 1  # what a ring of so many bytes can hold
        self._clean = 0

    def known(self, lines: int) -> None:
        """The firmware is one that bears at least `lines`."""
        self.lines = min(max(self.lines, lines), self._most)

    def clean(self, lines: int = 1) -> None:
        """`lines` more were acknowledged without trouble."""
        self._clean += lines
        if self._clean >= CLEAN_LINES:
            self._clean = 0
            self.lines = min(self.lines + 1, self._most)

    def damaged(self) -> None:
        """A line did not arrive whole."""
        self._clean = 0
        self.lines = max(self.lines // 2, 1)
