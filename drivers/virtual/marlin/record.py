"""What a virtual board did, for whoever compares it with a file: every executed command, as it was executed.

Kept as a list for tests, or folded into a digest as it grows so that a machine may run for days. It must never change a
byte of a command.
"""

import hashlib

_FOLD_AT = 4096


class Record:
    """`keep` holds every payload in memory; without it only the counts and the digests stay.

    `numbered` are the commands that came with a line number, M110 aside: the ones of a streamed file.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.executed: list[bytes] = []
        self.numbered: list[bytes] = []
        self.count = 0
        self.numbered_count = 0
        self._keep = keep
        self._all, self._file = hashlib.sha256(), hashlib.sha256()

    def add(self, payload: bytes, number: int | None) -> None:
        self.executed.append(payload)
        self.count += 1
        if number is not None and not payload.startswith(b"M110"):
            self.numbered.append(payload)
            self.numbered_count += 1
        if not self._keep and len(self.executed) >= _FOLD_AT:
            self._fold()

    def digest(self) -> str:
        """SHA-256 of all payloads joined by newlines, in hexadecimal."""
        return self._digest(self._all, self.executed, self.count)

    def numbered_digest(self) -> str:
        return self._digest(self._file, self.numbered, self.numbered_count)

    def _fold(self) -> None:
        for digest, payloads, count in (
            (self._all, self.executed, self.count),
            (self._file, self.numbered, self.numbered_count),
        ):
            if payloads:
                digest.update((b"\n" if count > len(payloads) else b"") + b"\n".join(payloads))
                payloads.clear()

    @staticmethod
    def _digest(folded: "hashlib._Hash", payloads: list[bytes], count: int) -> str:
        digest = folded.copy()
        digest.update((b"\n" if count > len(payloads) and payloads else b"") + b"\n".join(payloads))
        return digest.hexdigest()
