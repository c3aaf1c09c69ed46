"""A start on its way: has it landed, has it begun, or was it refused?

A printer that took a start may show its old state for minutes, and some take one and never begin. An answer means queued; only the
printer at work on a print of our names is a start that worked. Never sent twice. Pure: time is an argument.
"""

from collections.abc import Iterable
from enum import StrEnum

from drivers.bambu.faults import CANCELLED, LOCKED_WORDS, Fault, Kind
from drivers.bambu.fields import ACTIVE
from drivers.bambu.frames import Answer

BUSY_CODE = "0500-4004"
_PROOF = (Kind.JOB, Kind.STORAGE, Kind.MACHINE)
"""Kinds of a new error after which a print that has not begun does not begin."""


class Refusal(StrEnum):
    """Why nothing was started."""

    REFUSED = "refused"
    BUSY = "busy"
    LOCKED = "locked"


class Launch:
    """One start, sent at `sent_at` under `sequence_id`, when the printer was in `state` and showed the error `number` and `hms`."""

    def __init__(self, token: str, sequence_id: str, sent_at: float, state: str, number: int, hms: Iterable[Fault]) -> None:
        self.token, self.sequence_id = token, sequence_id
        self.landed = False
        self.begun = False
        self.answer_seen = False
        self.refusal: Refusal | None = None
        self.words = ""
        self._sent_at = sent_at
        self._state, self._number = state, number
        self._locked_before = any(fault.kind is Kind.LOCKED for fault in hms)

    def answered(self, answer: Answer) -> None:
        """The printer answered the command itself."""
        self.answer_seen = True
        if answer.ok:
            self.landed = True
        elif answer.unsigned:
            self._refuse(Refusal.LOCKED, LOCKED_WORDS)
        elif answer.ok is False:
            self._refuse(Refusal.REFUSED, answer.reason or "the printer gives no reason")

    def look(self, token: str | None, state: str, fault: Fault | None, number: int, hms: Iterable[Fault]) -> None:
        """The printer reported. `token` is whose print it names."""
        ours = token == self.token
        if ours:
            self.landed = True
        if ours and (state in ACTIVE or (state == "FINISH" and self._state != "FINISH")):
            self.begun = True
            return
        if ours and state == "FAILED" and self._state != "FAILED":
            self._refuse(Refusal.REFUSED, str(fault) if fault else "the printer gave the print up before it began")
            return
        if number != self._number:
            self._number = 0  # what was shown before is gone: the same error again is a new one
            if fault is not None and fault.kind in _PROOF and number not in CANCELLED:
                self._refuse(Refusal.BUSY if fault.code == BUSY_CODE else Refusal.REFUSED, str(fault))
                return
        if not ours and any(fault.kind is Kind.LOCKED for fault in hms):
            if not self._locked_before:
                self._refuse(Refusal.LOCKED, LOCKED_WORDS)
        else:
            self._locked_before = False

    def due(self, landed: float, begun: float) -> float:
        """When patience ends: `landed` seconds until the printer knows of it, `begun` more until it works."""
        return self._sent_at + landed + (begun if self.landed else 0.0)

    def over(self, now: float, landed: float, begun: float) -> bool:
        return now >= self.due(landed, begun)

    def _refuse(self, kind: Refusal, words: str) -> None:
        self.refusal, self.words = kind, words
