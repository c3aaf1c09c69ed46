"""When a message is tried again, and when farmd gives it up: pure arithmetic over one try's answer.

2xx is delivered; everything else, a redirect included, is a failure. Nothing is given up before the whole schedule ran out, except
at a receiver that says it is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from farmd.store.courier import Settled

SCHEDULE = (0.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds before each try; about 75 hours in all."""
JITTER = 0.1
LONGEST_WAIT = 86400.0
_GONE = 410
_THROTTLED = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one try brought: the receiver's status, or None with the reason why there is none."""

    status: int | None
    detail: str | None
    took_ms: int
    retry_after: str | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def judge(answer: Answer, tries: int, now: datetime, chance: float, schedule: Sequence[float] = SCHEDULE) -> Settled:
    """What is to be recorded of the try number `tries` (from 1). `chance` in [0, 1) spreads the next one by a tenth."""
    if answer.delivered:
        return _settled("DELIVERED", answer, tries, now)
    if answer.status == _GONE:
        return _settled("DEAD", answer, tries, now, gone="the receiver answered 410 Gone")
    if tries >= len(schedule):
        return _settled("DEAD", answer, tries, now)
    wait = schedule[tries] * (1 - JITTER + 2 * JITTER * chance)
    return _settled("PENDING", answer, tries, now + timedelta(seconds=max(wait, pause(answer, now))))


def _settled(state: str, answer: Answer, tries: int, next_at: datetime, gone: str | None = None) -> Settled:
    return Settled(state, tries, next_at, answer.status, answer.detail, answer.took_ms, gone)


def pause(answer: Answer, now: datetime) -> float:
    """Seconds the receiver asked to be left alone: its Retry-After (seconds or a date) with 429 or 503, a day at most; else 0."""
    if answer.status not in _THROTTLED or not answer.retry_after:
        return 0.0
    text = answer.retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT)
