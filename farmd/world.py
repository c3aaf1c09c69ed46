"""The real world: the system's clock, its randomness, and fresh ids. Built once, by whoever starts a process."""

import random
import secrets
import string
import time
from datetime import UTC, datetime

_ALPHABET = string.ascii_letters + string.digits


class SystemWorld:
    """See `farmd.domain.ports.World`."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self, prefix: str) -> str:
        return f"{prefix}-{secrets.token_hex(8)}"

    def chance(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret

    def secret(self, size: int) -> str:
        return "".join(secrets.choice(_ALPHABET) for _ in range(size))
