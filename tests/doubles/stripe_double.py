"""A Stripe that exists only on 127.0.0.1: what tests hold in their hands. The buyer, the dashboard, the bank and time are methods
here; the code under test meets only the HTTP API and the webhooks. Nothing here may be imported by farmd.

    with stripe_double() as stripe:
        client = StripeClient(stripe.key, base_addresses={"api": stripe.url}, ...)
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from random import Random
from typing import Any

from tests.doubles import stripe_checkout as checkout
from tests.doubles import stripe_payments as payments
from tests.doubles import stripe_refunds as refunds
from tests.doubles.stripe_books import Books, Object
from tests.doubles.stripe_faults import Faults, Hook, Request
from tests.doubles.stripe_routes import add_endpoint
from tests.doubles.stripe_server import StripeServer
from tests.doubles.stripe_webhooks import Webhooks

KEY = "sk_test_51DoubleOfStripe0000000001"


class StripeDouble:
    """Every method may be called from any thread. What is returned is Stripe's own object as it is: to be read, never changed."""

    def __init__(self, clock: Callable[[], float], seed: int | None, key: str) -> None:
        self._passed, self._clock = 0.0, clock
        self.books = Books(self.now, Random(seed))
        self.server = StripeServer(self.books, self.now, key)
        self.key, self.secret = key, ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    @property
    def webhooks(self) -> Webhooks:
        return self.server.webhooks

    @property
    def faults(self) -> Faults:
        return self.server.faults

    # time

    def now(self) -> float:
        return self._clock() + self._passed

    def forward(self, seconds: float) -> None:
        """What falls due on the way does so at its own moment; webhooks of it are sent."""
        with self.server.lock:
            self._passed += seconds
            self.books.roll()
        self.server.nudge()

    def _act(self, what: Callable[..., Object], *arguments: Any) -> Object:
        with self.server.lock:
            self.books.roll()
            return what(self.books, *arguments)

    # the buyer

    def pay(self, session_id: str, *, amount: int | None = None, currency: str | None = None) -> Object:
        return self._act(checkout.pay, session_id, amount, currency)

    def pay_async(self, session_id: str) -> Object:
        return self._act(checkout.pay_async, session_id)

    def settle_async(self, session_id: str, ok: bool = True) -> Object:
        return self._act(checkout.settle_async, session_id, ok)

    def decline(self, session_id: str) -> Object:
        return self._act(checkout.decline, session_id)

    # the dashboard

    def expire(self, session_id: str) -> Object:
        return self._act(checkout.expire, {}, session_id)

    def dashboard_refund(self, pi: str, amount: int | None = None) -> Object:
        return self._act(refunds.create, {"payment_intent": pi} | ({} if amount is None else {"amount": amount}))

    def dashboard_capture(self, pi: str, amount: int | None = None) -> Object:
        return self._act(payments.capture, {} if amount is None else {"amount_to_capture": amount}, pi)

    def dashboard_cancel(self, pi: str) -> Object:
        return self._act(payments.cancel, {}, pi)

    # the bank

    def lapse(self, pi: str) -> None:
        """The authorisation ends now, not only after its seven days."""
        with self.server.lock:
            payments.lapse(self.books, self.intents[pi])

    def dispute(self, pi: str, amount: int | None = None) -> Object:
        with self.server.lock:
            return refunds.dispute(self.books, self.intents[pi], amount)

    def close_dispute(self, pi: str, won: bool) -> Object:
        with self.server.lock:
            found = next(each for each in reversed(self.disputes.values()) if each["payment_intent"] == pi)
            return refunds.close_dispute(self.books, found, won)

    def settle_refund(self, refund_id: str, end: str, failure_reason: str = "lost_or_stolen_card") -> Object:
        return self._act(refunds.settle, refund_id, end, failure_reason)

    def refunds_start_as(self, status: str) -> None:
        """`succeeded` (in the beginning), `pending` or `requires_action`."""
        self.books.refunds_start_as = status

    # the account

    def deliver_to(
        self, url: str, *, enabled_events: tuple[str, ...] = ("*",), api_version: str | None = None, status: str = "enabled"
    ) -> Object:
        """The one webhook endpoint from now on; its secret is `secret`."""
        with self.server.lock:
            self.books.tables["webhook_endpoint"].clear()
            params = {"url": url, "enabled_events": enabled_events, "api_version": api_version}
            made = add_endpoint(self.books, params)
            self.webhooks.secrets = {made["id"]: [self.secret]}
            made.update(secret=self.secret, status=status)
        return made

    def rotate_secret(self, *, both: bool = True) -> str:
        """A new secret; with `both`, the old one still signs beside it."""
        with self.server.lock:
            old, self.secret = self.secret, self.books.number("whsec_", 32)
            for number in self.webhooks.secrets:
                self.webhooks.secrets[number] = [self.secret, old] if both else [self.secret]
        return self.secret

    def restrict(self, *prefixes: str) -> None:
        """The key is answered 403 on paths that begin so, as `/v1/refunds`; none lifts it."""
        self.server.forbidden = set(prefixes)

    def skew(self, seconds: float) -> None:
        """How far the header Date is from the double's clock."""
        self.server.skew = seconds

    # webhooks by hand

    def send_event(
        self, event: str | Object, *, secret: str | None = None, timestamp: int | None = None, url: str | None = None
    ) -> "Future[int | None]":
        """This event once more, or any body; gives the status, None if nobody answered. `url` is the endpoint's unless given."""
        with self.server.lock:
            body = self.events[event] if isinstance(event, str) else event
            goal = url or next(iter(self.books.tables["webhook_endpoint"].values()))["url"]
        sending = self.webhooks.post(self.server.client, goal, dict(body), [secret or self.secret], timestamp)
        return self.server.call(sending)

    def forge(self, kind: str, found: Object, *, secret: str = "whsec_forged", url: str | None = None) -> "Future[int | None]":
        """An event that Stripe knows nothing of, signed with a secret of the forger's."""
        event = {
            "id": self.books.number("evt_1"),
            "object": "event",
            "api_version": self.books.api_version,
            "created": self.books.now(),
        }
        event |= {"data": {"object": found}, "livemode": False, "pending_webhooks": 1, "type": kind, "request": None}
        return self.send_event(event, secret=secret, url=url)

    # the network

    def fail_next(
        self, method: str, path: str, *, kind: str, times: int = 1, seconds: float = 0.0, headers: dict[str, str] | None = None
    ) -> None:
        """See `Faults.fail_next`: 400, 500, 500_after, 409, 429, drop_before, drop_after, hang, hang_before, slow."""
        self.faults.fail_next(method, path, kind=kind, times=times, seconds=seconds, headers=headers)

    def release_hung(self) -> None:
        """What hangs after its effect is cut; what hangs before it goes on and is answered."""
        self.server.call(self.server.let_go()).result(10)

    def down(self, how: str = "refuses") -> None:
        """`refuses` connections, or `closes` them unanswered."""
        if how not in ("refuses", "closes"):
            raise ValueError("Stripe refuses or closes")
        if how == "closes":
            self.server.reachable = False
        self.server.call(self.server.unlisten() if how == "refuses" else self.server.end_connections()).result(10)

    def up(self) -> None:
        self.server.reachable = True
        self.server.call(self.server.listen()).result(10)

    def hooks(self, *, before: Hook | None = None, after: Hook | None = None) -> None:
        """Called with method, path and encoded parameters at either side of the effect of every call."""
        self.faults.before_effect, self.faults.after_effect = before, after

    # what is known

    @property
    def requests(self) -> list[Request]:
        return list(self.server.requests)

    def calls(self, method: str, path: str) -> list[Request]:
        return [each for each in self.requests if (each.method, each.path) == (method, path)]

    @property
    def sessions(self) -> dict[str, Object]:
        return self.books.tables["checkout.session"]

    @property
    def intents(self) -> dict[str, Object]:
        return self.books.tables["payment_intent"]

    @property
    def charges(self) -> dict[str, Object]:
        return self.books.tables["charge"]

    @property
    def refunds(self) -> dict[str, Object]:
        return self.books.tables["refund"]

    @property
    def disputes(self) -> dict[str, Object]:
        return self.books.tables["dispute"]

    @property
    def events(self) -> dict[str, Object]:
        return self.books.tables["event"]

    def captured(self, pi: str) -> int:
        """What was taken from the buyer."""
        with self.server.lock:
            return sum(each["amount_captured"] for each in self.charges.values() if each["payment_intent"] == pi)

    def refunded(self, pi: str) -> int:
        """What went back, or is on its way; what was never captured does not count."""
        with self.server.lock:
            return sum(refunds.given_back(self.books, each) for each in self.charges.values() if each["payment_intent"] == pi)


@contextmanager
def stripe_double(*, clock: Callable[[], float] = time.time, seed: int | None = None, key: str = KEY) -> Iterator[StripeDouble]:
    """An empty account. `clock` gives seconds since the epoch; `forward` is added to it."""
    double = StripeDouble(clock, seed, key)
    double.secret = double.books.number("whsec_", 32)
    double.server.start()
    try:
        yield double
    finally:
        double.server.stop()
