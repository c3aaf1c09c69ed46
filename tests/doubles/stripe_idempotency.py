"""What was answered under which idempotency key: the answer is given again, whatever happened since. It must never keep the answer
of a call whose work did not begin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.doubles.stripe_errors import Refused

KEPT_FOR = 24 * 3600
LONGEST_KEY = 255


@dataclass
class Kept:
    endpoint: str
    params: str
    moment: float
    status: int | None = None  # None: still being worked at
    body: Any = None
    request_id: str = ""


class Keys:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.kept: dict[str, Kept] = {}

    def begin(self, key: str, endpoint: str, params: str, request_id: str) -> Kept | None:
        """The answer that is kept for this very call; None if it is the first."""
        if len(key) > LONGEST_KEY:
            raise _refused(400, f"Idempotency keys can be at most {LONGEST_KEY} characters.")
        now = self._clock()
        for old in [name for name, kept in self.kept.items() if kept.status is not None and kept.moment < now - KEPT_FOR]:
            del self.kept[old]
        kept = self.kept.get(key)
        if kept is None:
            self.kept[key] = Kept(endpoint, params, now, request_id=request_id)
            return None
        cure = f"Try using a key other than '{key}' if you meant to execute a different request."
        if kept.endpoint != endpoint:
            between = f"('{endpoint}' vs '{kept.endpoint}')"
            raise _refused(
                400,
                f"Keys for idempotent requests can only be used for the same endpoint they were first used for {between}. {cure}",
            )
        if kept.params != params:
            raise _refused(
                400, f"Keys for idempotent requests can only be used with the same parameters they were first used with. {cure}"
            )
        if kept.status is None:
            message = (
                "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice)"
            )
            raise _refused(409, f"{message}: {key}", "idempotency_key_in_use")
        return kept

    def keep(self, key: str, status: int, body: Any) -> None:
        self.kept[key].status, self.kept[key].body = status, body

    def forget(self, key: str) -> None:
        """Nothing began: the key is as good as new."""
        self.kept.pop(key, None)


def _refused(status: int, message: str, code: str | None = None) -> Refused:
    return Refused(status, message, kind="idempotency_error", code=code)
