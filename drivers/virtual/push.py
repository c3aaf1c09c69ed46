"""The push socket of a virtual OctoPrint: `/sockjs/websocket`, plain JSON messages.

A socket hears nothing but `connected` until it authenticates. What was missed is never repeated. A slow listener must
not hold up the machine: each socket has its own queue and `current` is made fresh when it is sent.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from drivers.virtual.people import People

_RATE = 0.5  # seconds between two `current` messages at throttle 1
_IDLE_RATE = 2.0
_CONNECTED = {
    "version": "1.11.8",
    "display_version": "1.11.8",
    "branch": "HEAD",
    "python_version": "3.11.7",
    "plugin_hash": "virtual",
    "config_hash": "virtual",
    "debug": False,
    "safe_mode": None,
    "online": True,
    "permissions": [],
}
Message = dict[str, Any]


class Subscription:
    """What one socket wants to hear; everything until it says otherwise. A malformed wish changes nothing."""

    def __init__(self) -> None:
        self.state = True
        self.events: list[str] | None = None  # None: all of them
        self.throttle = 1

    def wants(self, event: str) -> bool:
        return self.events is None or event in self.events

    def subscribe(self, wish: Any) -> None:
        if not isinstance(wish, dict):
            return
        events = wish.get("events", [])
        state = wish.get("state", False)
        if isinstance(events, bool | list) and isinstance(state, bool | dict):
            self.events = (None if events else []) if isinstance(events, bool) else events
            self.state = state is not False

    def slow_down(self, factor: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):
            self.throttle = max(1, int(factor))


class Listener:
    """One open socket."""

    def __init__(self, hub: "PushHub", socket: WebSocket) -> None:
        self._hub, self._socket = hub, socket
        self._subscription = Subscription()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._heard = asyncio.Event()  # set once it is authenticated
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Until the other side goes away."""
        await self._socket.accept()
        await self._send({"connected": _CONNECTED})
        tasks = [asyncio.create_task(task()) for task in (self._listen, self._deliver, self._repeat)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def event(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        if not self._heard.is_set():
            return
        if self._subscription.wants(kind):
            self._outbox.put_nowait({"event": {"type": kind, "payload": payload}})
        if kind == "PrinterStateChanged":
            self._changed.set()

    async def _listen(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                with contextlib.suppress(json.JSONDecodeError):
                    self._obey(json.loads(await self._socket.receive_text()))

    def _obey(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        if "auth" in message:
            self._authenticate(str(message["auth"]))
        elif "throttle" in message:
            self._subscription.slow_down(message["throttle"])
        elif "subscribe" in message:
            had_state = self._subscription.state
            self._subscription.subscribe(message["subscribe"])
            if self._heard.is_set() and self._subscription.state and not had_state:
                self._outbox.put_nowait({"history": self._hub.history()})

    def _authenticate(self, claim: str) -> None:
        name, colon, session = claim.partition(":")
        if not colon:
            return
        if self._hub.people.by_session(name, session) is None:
            self._heard.clear()
            self._outbox.put_nowait({"reauthRequired": {"reason": "stale"}})
        elif not self._heard.is_set():
            self._heard.set()
            if self._subscription.state:
                self._outbox.put_nowait({"history": self._hub.history()})
            self._outbox.put_nowait({"timelapse": None})

    async def _deliver(self) -> None:
        while True:
            await self._send(await self._outbox.get())

    async def _repeat(self) -> None:
        while True:
            await self._heard.wait()
            if self._subscription.state:
                self._outbox.put_nowait({"current": self._hub.current()})
            await asyncio.sleep(_RATE * self._subscription.throttle)
            with contextlib.suppress(TimeoutError):
                if not self._hub.moving():
                    await asyncio.wait_for(self._changed.wait(), _IDLE_RATE)
            self._changed.clear()

    async def _send(self, message: Message) -> None:
        await self._hub.awake.wait()
        with contextlib.suppress(WebSocketDisconnect):
            await self._socket.send_text(json.dumps(message))


class PushHub:
    """All open sockets of one server. `current` makes the state message, `moving` tells whether it changes by itself."""

    def __init__(self, people: People, current: Callable[[], Message], moving: Callable[[], bool]) -> None:
        self.people, self.current, self.moving = people, current, moving
        self.awake = asyncio.Event()  # cleared while the server hangs
        self.awake.set()
        self._listeners: set[Listener] = set()

    def history(self) -> Message:
        """What a socket hears once, before the first `current`."""
        return {name: value for name, value in self.current().items() if name != "busyFiles"}

    async def endpoint(self, socket: WebSocket) -> None:
        listener = Listener(self, socket)
        self._listeners.add(listener)
        try:
            await listener.serve()
        finally:
            self._listeners.discard(listener)

    def publish(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        """Tell everybody who wants to know."""
        for listener in self._listeners:
            listener.event(kind, payload)
