"""Sends events to the webhook endpoints: signed, again until taken, and out of order, twice or not at all as a test orders. It must
never change an object of the books; only whether an event was taken."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from tests.doubles.stripe_books import Books, Object, matches

RETRY_AFTER = (5, 300, 1800, 7200, 18000, 36000, 36000, 36000, 36000, 36000)  # about three days, as a live account's


@dataclass
class Delivery:
    event: Object
    endpoint: str
    due: float
    attempt: int = 0


@dataclass(frozen=True)
class Sent:
    """One attempt; `status` is None if nobody answered."""

    event: str
    type: str
    status: int | None


def signature(body: bytes, secrets: list[str], timestamp: int) -> str:
    """The header Stripe-Signature; several secrets while one is rolled."""
    signed = f"{timestamp}.".encode() + body
    marks = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={timestamp}", *marks])


class Webhooks:
    """`wake` is called, from whatever thread, when there may be something to send. Deliveries are sent one after another."""

    def __init__(self, books: Books, clock: Callable[[], float], lock: Any) -> None:
        self._books, self._clock, self._lock = books, clock, lock
        self.queue: list[Delivery] = []
        self.sent: list[Sent] = []
        self.signing_clock: Callable[[], float] = time.time  # receivers that use the stripe library look at the wall clock
        self.secrets: dict[str, list[str]] = {}
        self.timeout = 10.0
        self.wake: Callable[[], None] = lambda: None
        self._sending = 0
        self._dropping, self._holding, self._copies, self._delay = False, False, 1, 0.0
        books.listeners.append(self.announce)

    # what a test orders

    def drop(self) -> None:
        """Nothing arrives any more, nor later: the network ate it."""
        self._dropping = True

    def deliver(self) -> None:
        """At once and once, as in the beginning; what was held goes out."""
        with self._lock:
            self._dropping, self._holding, self._copies, self._delay = False, False, 1, 0.0
        self.wake()

    def duplicate(self, times: int = 2) -> None:
        self._copies = times

    def delay(self, seconds: float) -> None:
        """By the double's clock, for events from now on."""
        self._delay = seconds

    def hold(self) -> None:
        self._holding = True

    def release(self, order: str | Random = "fifo") -> None:
        with self._lock:
            if isinstance(order, Random):
                order.shuffle(self.queue)
            elif order == "reverse":
                self.queue.reverse()
            elif order != "fifo":
                raise ValueError(f"order is fifo, reverse or a random.Random, not {order}")
            self._holding = False
        self.wake()

    @property
    def idle(self) -> bool:
        """Nothing is under way and nothing due; later attempts may still wait for their time."""
        with self._lock:
            return not self._sending and (self._holding or all(each.due > self._clock() for each in self.queue))

    @property
    def waiting(self) -> list[str]:
        """The types of the events not yet sent."""
        with self._lock:
            return [each.event["type"] for each in self.queue]

    # what happens

    def announce(self, event: Object) -> None:
        """An event came to be (the lock is held)."""
        for endpoint in self._books.tables["webhook_endpoint"].values():
            if endpoint["status"] == "enabled" and any(matches(kind, event["type"]) for kind in endpoint["enabled_events"]):
                self._books.owe(event, endpoint["id"])
                if not self._dropping:
                    due = self._clock() + self._delay
                    self.queue.extend(Delivery(event, endpoint["id"], due) for _ in range(self._copies))
        self.wake()

    def _next(self) -> Delivery | None:
        with self._lock:
            if self._holding:
                return None
            ripe = next((each for each in self.queue if each.due <= self._clock()), None)
            if ripe is not None:
                self.queue.remove(ripe)
                self._sending += 1
            return ripe

    async def send_due(self, client: httpx.AsyncClient) -> None:
        while (delivery := self._next()) is not None:
            try:
                await self._attempt(client, delivery)
            finally:
                self._sending -= 1

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        with self._lock:
            endpoint = self._books.tables["webhook_endpoint"].get(delivery.endpoint)
            if endpoint is None:
                return
            event = dict(delivery.event, api_version=endpoint["api_version"] or delivery.event["api_version"])
            secrets = self.secrets.get(delivery.endpoint) or [endpoint["secret"]]
        status = await self.post(client, endpoint["url"], event, secrets)
        with self._lock:
            if status is not None and 200 <= status < 300:
                self._books.taken(delivery.event["id"], delivery.endpoint)
            elif delivery.attempt < len(RETRY_AFTER):
                due = self._clock() + RETRY_AFTER[delivery.attempt]
                self.queue.append(Delivery(delivery.event, delivery.endpoint, due, delivery.attempt + 1))

    async def post(
        self, client: httpx.AsyncClient, url: str, event: Object, secrets: list[str], timestamp: int | None = None
    ) -> int | None:
        """One signed POST; the status, or None where nobody answered."""
        body = json.dumps(event, indent=2).encode()
        moment = int(self.signing_clock()) if timestamp is None else timestamp
        headers = {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature(body, secrets, moment)}
        try:
            async with asyncio.timeout(self.timeout):
                status = (await client.post(url, content=body, headers=headers)).status_code
        except (httpx.TransportError, TimeoutError):
            status = None
        with self._lock:
            self.sent.append(Sent(event["id"], event["type"], status))
        return status
