"""What is not farmd in a bench: the double of Stripe and the clients, each in a process of its own, so that neither takes farmd's
time and farmd's CPU can be told alone.

A process is asked over a pipe, one question at a time: the name of a method and its arguments.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import httpx
import orjson

from tests.doubles import stripe_checkout
from tests.doubles.stripe_double import StripeDouble, stripe_double
from tests.doubles.stripe_params import check, decode
from tests.doubles.stripe_routes import route
from tests.doubles.stripe_webhooks import signature

_SPAWN = multiprocessing.get_context("spawn")


class Outside:
    """The near end of a process's pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def ask(self, name: str, *arguments: Any) -> Any:
        """What the method `name` over there returns. Raises `EOFError` when the process died; its traceback is on stderr."""
        self._pipe.send((name, arguments))
        return await asyncio.to_thread(self._pipe.recv)


@contextmanager
def outside(live: Callable[[Connection], None]) -> Iterator[Outside]:
    """A process in which `live` answers until the pipe is closed."""
    near, far = _SPAWN.Pipe()
    process = _SPAWN.Process(target=live, args=(far,), daemon=True)
    process.start()
    far.close()
    try:
        yield Outside(near)
    finally:
        near.close()
        process.join(20)
        if process.is_alive():
            process.terminate()


def _answer(pipe: Connection, who: Any) -> None:
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(who, name)(*arguments))


def stripe_process(pipe: Connection) -> None:
    """Lives as Stripe; see `_Stripe` for what it can be asked."""
    with stripe_double(seed=1) as stripe:
        _answer(pipe, _Stripe(stripe))


def crowd_process(pipe: Connection) -> None:
    """Lives as clients; see `_Crowd`."""
    _answer(pipe, _Crowd())


@dataclass
class _Stripe:
    double: StripeDouble

    def door(self) -> tuple[str, str, str]:
        return self.double.url, self.double.key, self.double.secret

    def deliver_to(self, url: str) -> None:
        self.double.deliver_to(url)

    def latency(self, seconds: float) -> None:
        self.double.faults.latency = seconds

    def asked(self) -> int:
        return len(self.double.server.requests)

    def idle(self) -> bool:
        return self.double.webhooks.idle

    def silence(self) -> None:
        """From now on nothing is told by itself."""
        self.double.webhooks.drop()

    def pay(self, session_ids: list[str]) -> None:
        for session_id in session_ids:
            self.double.pay(session_id)

    def open(self, reference: str, order_ids: list[str]) -> list[str]:
        """Sessions like that of the order `reference`, for others; their ids."""
        place = "/v1/checkout/sessions"
        (asked,) = (call for call in self.double.calls("POST", place) if call.params["client_reference_id"] == reference)
        like = check(route("POST", place)[0].params, decode(asked.body))
        with self.double.server.lock:
            made = (stripe_checkout.create(self.double.books, like | {"client_reference_id": each}) for each in order_ids)
            return [session["id"] for session in made]

    def messages(self, session_id: str, numbers: list[str]) -> list[bytes]:
        """Events with these numbers, all about one session."""
        event = {"object": "event", "type": "checkout.session.completed", "livemode": False, "created": int(self.double.now())}
        event["data"] = {"object": self.double.sessions[session_id]}
        return [orjson.dumps(event | {"id": number}) for number in numbers]


class _Crowd:
    def order(self, url: str, key: str, body: Any, clients: int, each: int) -> list[tuple[float, int, bool]]:
        """`clients` place `each` orders one after another; seconds, status and whether there is somewhere to pay, of every one."""
        return asyncio.run(self._order(url, key, body, clients, each))

    async def _order(self, url: str, key: str, body: Any, clients: int, each: int) -> list[tuple[float, int, bool]]:
        async def customer() -> list[tuple[float, int, bool]]:
            found = []
            async with httpx.AsyncClient(trust_env=False, timeout=60, headers={"X-API-Key": key}) as client:
                for _ in range(each):
                    begun = time.perf_counter()
                    answer = await client.post(f"{url}/api/orders", json=body)
                    has_place = answer.status_code == 201 and answer.json()["checkoutUrl"] is not None
                    found.append((time.perf_counter() - begun, answer.status_code, has_place))
            return found

        return [one for many in await asyncio.gather(*(customer() for _ in range(clients))) for one in many]

    def tell(self, url: str, secret: str, bodies: list[bytes], at_once: int) -> list[int]:
        """Sends signed messages over `at_once` connections; the status of every one."""
        return asyncio.run(self._tell(url, secret, bodies, at_once))

    async def _tell(self, url: str, secret: str, bodies: list[bytes], at_once: int) -> list[int]:
        async def sender(part: list[bytes]) -> list[int]:
            found = []
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                for body in part:
                    headers = {"Stripe-Signature": signature(body, [secret], int(time.time()))}
                    found.append((await client.post(f"{url}/webhooks/stripe", content=body, headers=headers)).status_code)
            return found

        return [one for many in await asyncio.gather(*(sender(bodies[n::at_once]) for n in range(at_once))) for one in many]
