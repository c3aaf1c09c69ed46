"""Everything the dashboard shows, gathered in one read: what needs a person first, then the printers, then the orders in work."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from farmd.fleet.panel import panels
from farmd.fleet.registry import Registry
from farmd.store.views import order_views
from farmd.store.work_lists import Connection, benches, orders_in_work

SHOWN_ORDERS = 100
_RESTING = ("idle", "finished")


@dataclass(frozen=True, slots=True)
class Board:
    """One look at the farm."""

    attention: list[dict[str, str]]
    printers: list[dict[str, Any]]
    orders: list[dict[str, Any]]


def board(connection: Connection, registry: Registry, now: datetime) -> Board:
    """The farm as it is now."""
    machines = [_with_actions(machine) for machine in panels(connection, registry, now)]
    orders = order_views(connection, orders_in_work(connection, SHOWN_ORDERS))
    calls = [*_of_orders(orders), *_of_printers(machines), *_of_benches(connection)]
    calls += [
        _call(order["id"], "ready", "All parts are good: pack it and record the shipment") for order in orders if _ready(order)
    ]
    return Board(calls, machines, [_with_progress(order) for order in orders])


def _ready(order: dict[str, Any]) -> bool:
    return bool(order["status"] == "ready")


def _call(where: str, code: str, detail: str) -> dict[str, str]:
    return {"where": where, "code": code, "detail": detail}


def _of_orders(orders: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    return [_call(order["id"], entry["code"], entry["detail"]) for order in orders for entry in order["attention"]]


def _of_printers(machines: list[dict[str, Any]]) -> list[dict[str, str]]:
    calls = [_call(machine["id"], entry["code"], entry["detail"]) for machine in machines for entry in machine["attention"]]
    waiting = (machine for machine in machines if "clear-bed" in machine["actions"])
    return calls + [_call(machine["id"], "bed", f"The bed is {machine['bed']}: empty it, then confirm") for machine in waiting]


def _of_benches(connection: Connection) -> list[dict[str, str]]:
    return [_call(job, "post_process", f"{count} unit(s) wait at {step!r}") for job, step, count in benches(connection)]


def _to_ship(orders: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    detail = "All parts are good: pack it and record the shipment"
    return [_call(order["id"], "ready", detail) for order in orders if order["status"] == "ready"]


def _with_actions(machine: dict[str, Any]) -> dict[str, Any]:
    """The buttons that make sense on a printer now."""
    attempt, actions = machine["attempt"], []
    if attempt is not None:
        running = {"PRINTING": ["pause"], "PAUSED": ["resume"]}.get(attempt["state"], [])
        actions = [*running, *([] if attempt["cancelWanted"] else ["cancel"])]
    elif machine["bed"] != "clear" and machine["phase"] in _RESTING:
        actions = ["clear-bed"]
    return machine | {"actions": actions}


def _with_progress(order: dict[str, Any]) -> dict[str, Any]:
    ordered = sum(job["quantity"] for job in order["jobs"]) or 1
    good = sum(job["units"]["good"] for job in order["jobs"])
    printed = sum(job["units"]["printed"] for job in order["jobs"])
    return order | {"ordered": ordered, "good": good, "printed": printed, "share": round((good + printed) / ordered * 100)}
