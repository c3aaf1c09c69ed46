"""What Stripe knows: its objects, its events and what falls due as time passes. It is told the time and hands events to whoever
listens; it must never open a socket or look at a clock of its own."""

import copy
import string
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import stripe

from tests.doubles.stripe_errors import bad_parameter, missing
from tests.doubles.stripe_objects import listed, shaped

EVENTS_LIVE = 30 * 86400
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}
Object = dict[str, Any]


class Books:
    """One account in test mode. Every table is in the order of creation; `request` is the call that is being answered."""

    def __init__(self, clock: Callable[[], float], chance: Random) -> None:
        self._clock, self._chance = clock, chance
        self._moment: float | None = None
        self._due: dict[str, tuple[float, Callable[[], None]]] = {}
        kinds = ("checkout.session", "payment_intent", "charge", "refund", "dispute", "event", "webhook_endpoint")
        self.tables: dict[str, dict[str, Object]] = {kind: {} for kind in kinds}
        self.plans: dict[str, Object] = {}  # what a session's buyer is asked for, and its line items
        self.undelivered: dict[str, set[str]] = {}  # event -> the endpoints that have not taken it
        self.request: Object = {"id": None, "idempotency_key": None}
        self.listeners: list[Callable[[Object], None]] = []
        self.api_version: str = stripe.api_version
        self.refunds_start_as = "succeeded"
        self.account = shaped(
            "account",
            id=self.number("acct_", 16),
            charges_enabled=True,
            payouts_enabled=True,
            details_submitted=True,
            country="US",
            default_currency="usd",
            type="standard",
        )

    def now(self) -> int:
        return int(self._clock() if self._moment is None else self._moment)

    def number(self, prefix: str, length: int = 24) -> str:
        return prefix + "".join(self._chance.choices(string.ascii_letters + string.digits, k=length))

    # objects

    def add(self, kind: str, **known: Any) -> Object:
        made = shaped(kind, **known)
        self.tables[kind][made["id"]] = made
        return made

    def find(self, kind: str, number: str, param: str = "id") -> Object:
        found = self.tables[kind].get(number)
        if found is None:
            raise missing(kind, number, param)
        return found

    def page(self, kind: str, url: str, params: Object, keep: Callable[[Object], bool] = lambda _: True) -> Object:
        """Newest first; `ending_before` gives those next to its cursor, not the newest of all."""
        newest_first = [
            each for each in reversed(self.tables[kind].values()) if _created_in(each, params.get("created")) and keep(each)
        ]
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise bad_parameter("limit", "This value must be between 1 and 100.", "parameter_invalid_integer")
        if "starting_after" in params and "ending_before" in params:
            raise bad_parameter("ending_before", "You can only specify one of starting_after and ending_before.")
        order = {number: place for place, number in enumerate(self.tables[kind])}
        for cursor in ("starting_after", "ending_before"):
            if cursor in params:
                self.find(kind, params[cursor], cursor)
        if "ending_before" in params:
            newer = [each for each in newest_first if order[each["id"]] > order[params["ending_before"]]]
            return listed(url, newer[-limit:], len(newer) > limit)
        if "starting_after" in params:
            newest_first = [each for each in newest_first if order[each["id"]] < order[params["starting_after"]]]
        return listed(url, newest_first[:limit], len(newest_first) > limit)

    def expanded(self, found: Object, paths: Iterable[str]) -> Object:
        """A copy of an answer with the objects in it that were asked for."""
        answer = copy.deepcopy(found)
        for path in paths:
            self._expand(answer, path.split("."), path)
        return answer

    def _expand(self, inside: Any, steps: list[str], path: str) -> None:
        if isinstance(inside, list):
            for each in inside:
                self._expand(each, steps, path)
            return
        name, *rest = steps
        if (inside.get("object"), name) == ("checkout.session", "line_items"):
            inside[name] = self.line_items(inside["id"], {})
        elif (inside.get("object"), name) == ("charge", "refunds"):
            inside[name] = self.page(
                "refund", f"/v1/charges/{inside['id']}/refunds", {}, lambda each: each["charge"] == inside["id"]
            )
        if name not in inside or not (rest or inside[name] is None or isinstance(inside[name], dict) or self._named(inside[name])):
            raise bad_parameter("expand", f"This property cannot be expanded ({path}).")
        if named := self._named(inside[name]):
            inside[name] = copy.deepcopy(named)
        if rest and inside[name] is not None:
            self._expand(inside[name], rest, path)

    def _named(self, number: Any) -> Object | None:
        if not isinstance(number, str):
            return None
        return next((table[number] for table in self.tables.values() if number in table), None)

    def line_items(self, session: str, params: Object) -> Object:
        items = self.plans[session]["line_items"]
        limit = params.get("limit", 10)
        return listed(f"/v1/checkout/sessions/{session}/line_items", copy.deepcopy(items[:limit]), len(items) > limit)

    # events

    def emit(self, kind: str, found: Object) -> Object:
        """An event with the object as it stands at this moment."""
        event = self.add(
            "event",
            id=self.number("evt_1"),
            api_version=self.api_version,
            created=self.now(),
            data={"object": copy.deepcopy(found)},
            livemode=False,
            pending_webhooks=0,
            request=dict(self.request),
            type=kind,
        )
        self.undelivered[event["id"]] = set()
        for listener in self.listeners:
            listener(event)
        return event

    def owe(self, event: Object, endpoint: str) -> None:
        self.undelivered[event["id"]].add(endpoint)
        event["pending_webhooks"] = len(self.undelivered[event["id"]])

    def taken(self, event: str, endpoint: str) -> None:
        """An endpoint answered 2xx."""
        if event in self.undelivered:
            self.undelivered[event].discard(endpoint)
            self.tables["event"][event]["pending_webhooks"] = len(self.undelivered[event])

    def list_events(self, params: Object) -> Object:
        types = set(params.get("types", [])) | ({params["type"]} if "type" in params else set())
        if len(params.get("types", [])) > 20:
            raise bad_parameter("types", "You may pass up to 20 event types.")
        wanted = params.get("delivery_success")

        def keep(event: Object) -> bool:
            if types and not any(matches(kind, event["type"]) for kind in types):
                return False
            return wanted is None or wanted is not bool(self.undelivered[event["id"]])

        return self.page("event", "/v1/events", params, keep)

    # time

    def due(self, number: str, moment: float, act: Callable[[], None]) -> None:
        """`act` once `moment` has come; what it does with an object that has changed meanwhile is its own affair."""
        self._due[number] = (moment, act)

    def roll(self) -> None:
        """Everything that fell due, in the order it did, each at its own moment."""
        now = self._clock()
        while ripe := [(moment, number) for number, (moment, _) in self._due.items() if moment <= now]:
            moment, number = min(ripe)
            _, act = self._due.pop(number)
            self._moment, self.request = moment, {"id": None, "idempotency_key": None}
            try:
                act()
            finally:
                self._moment = None
        for old in [each["id"] for each in self.tables["event"].values() if each["created"] < now - EVENTS_LIVE]:
            del self.tables["event"][old], self.undelivered[old]


def matches(wanted: str, kind: str) -> bool:
    """Whether an event's type is one asked for; `*` stands at the end, as in `charge.*`."""
    return wanted in ("*", kind) or (wanted.endswith(".*") and kind.startswith(wanted[:-1]))


def _created_in(found: Object, created: Any) -> bool:
    if created is None:
        return True
    if isinstance(created, int):
        return found["created"] == created
    return all(COMPARE[how](found["created"], moment) for how, moment in created.items())
