"""What goes wrong between farmd and Stripe as a test orders it, and the record of every request. It must never change the books."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.stripe_errors import Refused

KINDS = ("400", "500", "500_after", "409", "429", "drop_before", "drop_after", "hang", "hang_before", "slow")
Hook = Callable[[str, str, str], None]


@dataclass
class Request:
    """One call as it came in; `status` is None as long as, or because, it was never answered."""

    method: str
    path: str
    body: str
    params: dict[str, Any]
    headers: dict[str, str]
    status: int | None = None
    replayed: bool = False

    @property
    def idempotency_key(self) -> str | None:
        return self.headers.get("idempotency-key")

    @property
    def version(self) -> str | None:
        return self.headers.get("stripe-version")


@dataclass
class Fault:
    method: str
    pattern: str
    kind: str
    times: int
    seconds: float
    headers: dict[str, str]


@dataclass
class Faults:
    """`before_effect` and `after_effect` are called with method, path and body around every call that is worked at; they may kill
    whoever asked. `latency` holds for every call."""

    latency: float = 0.0
    before_effect: Hook | None = None
    after_effect: Hook | None = None
    queue: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def fail_next(
        self, method: str, path: str, *, kind: str, times: int = 1, seconds: float = 0.0, headers: dict[str, str] | None = None
    ) -> None:
        """The next `times` calls of `method` whose path fits the regular expression `path` fail as `kind` says."""
        if kind not in KINDS:
            raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
        with self.lock:
            self.queue.append(Fault(method, path, kind, times, seconds, headers or {}))

    def clear(self) -> None:
        with self.lock:
            self.queue.clear()

    def take(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.queue:
                if fault.method in (method, "*") and re.fullmatch(fault.pattern, path):
                    fault.times -= 1
                    if fault.times < 1:
                        self.queue.remove(fault)
                    return fault
        return None


def refusal(fault: Fault) -> Refused | None:
    """The answer of a fault that comes before the effect."""
    if fault.kind == "400":
        return Refused(400, "This cannot be done in the state the object is in.", code="unexpected_state", headers=fault.headers)
    if fault.kind == "500":
        return Refused(500, "An unknown error occurred", kind="api_error", headers=fault.headers)
    if fault.kind == "409":
        message = (
            "This object cannot be accessed right now because another API request or Stripe process is currently accessing it."
        )
        return Refused(409, message, code="lock_timeout", headers=fault.headers)
    if fault.kind == "429":
        headers = {"Retry-After": "1", "Stripe-Rate-Limited-Reason": "global-rate"} | fault.headers
        return Refused(429, "Request rate limit exceeded.", code="rate_limit", headers=headers)
    return None
