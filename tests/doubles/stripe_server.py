"""The double on its socket: HTTP/1.1 on 127.0.0.1, in a thread with a loop of its own, so that any test and any child process may
call it. Between the socket and the books stand keys of idempotency and faults; it must never answer what the books did not say."""

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.doubles import stripe_routes
from tests.doubles.stripe_books import Books
from tests.doubles.stripe_errors import Refused
from tests.doubles.stripe_faults import Fault, Faults, Request, refusal
from tests.doubles.stripe_idempotency import Keys
from tests.doubles.stripe_params import decode
from tests.doubles.stripe_webhooks import Webhooks

LOOK_EVERY = 0.05  # at the clock, for what falls due


class Hangup(Exception):
    """The connection ends without an answer."""


class StripeServer:
    """Runs from `start` to `stop`. `key` opens the door; `forbidden` are path prefixes a restricted key may not use."""

    def __init__(self, books: Books, clock: Callable[[], float], key: str) -> None:
        self.books, self.key, self.clock = books, key, clock
        self.lock = threading.RLock()
        self.faults, self.keys = Faults(), Keys(clock)
        self.webhooks = Webhooks(books, clock, self.lock)
        self.forbidden: set[str] = set()
        self.requests: list[Request] = []
        self.skew = 0.0
        self.reachable = True
        self.port = 0
        self.broken: list[Exception] = []  # the double's own errors, raised when it stops
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="stripe-double", daemon=True)
        self._ready = threading.Event()

    # life

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the double did not come up")

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        if self._thread.is_alive():
            raise RuntimeError("the double does not stop")
        if self.broken:
            raise RuntimeError("the double itself broke") from self.broken[0]

    def call(self, work: Any) -> "Future[Any]":
        """A coroutine run in the double's loop; wait for it with `.result(seconds)` or `asyncio.wrap_future`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _main(self) -> None:
        self._loop, self._over, self._nudge = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._let_go = asyncio.Event()
        self.webhooks.wake = self.nudge
        await self.listen()
        async with httpx.AsyncClient(trust_env=False, verify=False) as self.client:  # noqa: S501 - webhooks go to 127.0.0.1
            sender = asyncio.create_task(self._turn())
            self._ready.set()
            await self._over.wait()
            self._let_go.set()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            await self.unlisten()

    async def _turn(self) -> None:
        while not self._over.is_set():
            with self.lock:
                self.books.roll()
            await self.webhooks.send_due(self.client)
            self._nudge.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._nudge.wait()

    def nudge(self) -> None:
        with suppress(RuntimeError):  # the loop is gone: the test is over
            self._loop.call_soon_threadsafe(self._nudge.set)

    async def listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def unlisten(self) -> None:
        """Refuse new connections and end those that stand."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await self.end_connections()
        await server.wait_closed()

    async def end_connections(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def let_go(self) -> None:
        """Whatever hangs goes on."""
        self._let_go.set()
        self._let_go = asyncio.Event()

    # one connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while self.reachable:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, Hangup, asyncio.CancelledError):
            return  # the caller hung up, or was to be hung up on
        except Exception as error:  # told by `stop`, where a test sees it
            self.broken.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
        if not self.reachable:
            raise Hangup
        url = urlsplit(target)
        encoded = url.query if method in ("GET", "DELETE") else body
        with suppress(Refused):
            params = decode(encoded)
        request = Request(method, url.path, encoded, params, headers)
        self.requests.append(request)
        number = self.books.number("req_", 14)
        status, extra, answer = await self._answer(request, number)
        request.status = status
        data = json.dumps(answer, indent=2).encode()
        known = {"Request-Id": number, "Content-Type": "application/json", "Content-Length": str(len(data))}
        known["Date"] = formatdate(self.clock() + self.skew, usegmt=True)
        known["Stripe-Version"] = request.version or self.books.api_version
        if request.idempotency_key:
            known["Idempotency-Key"] = request.idempotency_key
        lines = [f"HTTP/1.1 {status} Answer", *(f"{name}: {value}" for name, value in (known | extra).items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        await writer.drain()

    # one request

    async def _answer(self, request: Request, number: str) -> tuple[int, dict[str, str], Any]:
        key = request.idempotency_key if request.method == "POST" else None
        try:
            self._admit(request)
            fault = self.faults.take(request.method, request.path)
            if fault and fault.kind == "drop_before":
                raise Hangup
            if fault and (refused := refusal(fault)):
                raise refused
            if key:
                with self.lock:
                    kept = self.keys.begin(key, request.path, request.body, number)
                if kept is not None:
                    request.replayed = True
                    await self._afterwards(fault)
                    return kept.status or 500, {"Idempotent-Replayed": "true", "Original-Request": kept.request_id}, kept.body
        except Refused as refused:
            return refused.status, refused.headers, refused.body
        try:
            await self._before(request, fault)
        except asyncio.CancelledError:
            if key:
                self.keys.forget(key)
            raise
        with self.lock:
            status, headers, body = self._effect(request, number, key, fault)
        await self._hook(self.faults.after_effect, request)
        await self._afterwards(fault)
        return status, headers, body

    def _admit(self, request: Request) -> None:
        given = request.headers.get("authorization", "")
        if given != f"Bearer {self.key}":
            shown = given.removeprefix("Bearer ")
            raise Refused(401, f"Invalid API Key provided: {shown[:8]}{'*' * max(4, len(shown) - 12)}{shown[12:][-4:]}")
        if any(request.path.startswith(prefix) for prefix in self.forbidden):
            raise Refused(403, f"The provided key '{self.key[:8]}***' does not have the required permissions for this endpoint.")

    async def _before(self, request: Request, fault: Fault | None) -> None:
        """What comes between a request and its effect. A caller who hangs up meanwhile does not stop it."""
        if self.faults.latency:
            await asyncio.sleep(self.faults.latency)
        if fault and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        if fault and fault.kind == "hang_before":
            await self._let_go.wait()
        await self._hook(self.faults.before_effect, request)

    def _effect(self, request: Request, number: str, key: str | None, fault: Fault | None) -> tuple[int, dict[str, str], Any]:
        self.books.roll()
        self.books.request = {"id": number, "idempotency_key": key}
        saved, headers = True, dict[str, str]()
        try:
            status, body = 200, stripe_routes.answer(self.books, request.method, request.path, request.body)
        except Refused as refused:
            status, body, saved, headers = refused.status, refused.body, refused.saved, refused.headers
        finally:
            self.books.request = {"id": None, "idempotency_key": None}
        if fault and fault.kind == "500_after":
            status, saved = 500, True
            body = {"error": {"type": "api_error", "message": "An unknown error occurred"}}
        if key and saved:
            self.keys.keep(key, status, body)
        elif key:
            self.keys.forget(key)
        return status, headers, body

    async def _afterwards(self, fault: Fault | None) -> None:
        if fault and fault.kind == "drop_after":
            raise Hangup
        if fault and fault.kind == "hang":
            await self._let_go.wait()
            raise Hangup

    async def _hook(self, hook: Callable[[str, str, str], None] | None, request: Request) -> None:
        if hook is not None:
            await asyncio.to_thread(hook, request.method, request.path, request.body)
