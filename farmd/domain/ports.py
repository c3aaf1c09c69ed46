"""What the outside world hands in: time, chance and new names.

No room reads a clock or invents an id by itself; `daemon.py` passes one `World` down. That is what lets the whole farm run in
virtual time under a seed.
"""

from datetime import datetime
from typing import Protocol


class World(Protocol):
    """Clock, chance and ids."""

    def now(self) -> datetime:
        """Wall-clock time, timezone-aware UTC. For records and display; never for timeouts."""

    def monotonic(self) -> float:
        """Seconds that only grow. For deadlines."""

    def new_id(self, prefix: str) -> str:
        """A fresh id such as `ord-3f9c21b0a7d4`; sorts nowhere, collides never."""

    def chance(self) -> float:
        """A random number in [0, 1), for jitter."""

    def secret(self, size: int) -> str:
        """`size` random ASCII letters and digits fit for keys."""
