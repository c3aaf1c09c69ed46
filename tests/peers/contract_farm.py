"""A farm for strangers: the daemon as a process, a key of each role, and as many virtual printers as a test asks for.

What is used here is the `farmd` command, HTTP and signals; nothing of farmd is imported.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests import forked
from tests.daemon_process import DaemonProcess, wait_for
from tests.forked import Forked
from tests.models import cube, stl
from tests.shop import ADDRESS

CUSTOMER = "cust-uuid"
ROLES = ("customer", "operator", "admin")
PROBLEM = {"type", "title", "status", "detail", "instance", "code", "errors"}
CUBE = {"id": "sku-pla-black-20mm-cube", "name": "Cube 20 mm", "unitPrice": 12.50, "material": "PLA", "color": "#1a1a1a"}


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row, below those that the system hands out by itself."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 32_000, 10):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no free ports")


class VirtualPrinters:
    """`farmd virtual` on fixed ports, so that it can go away and come back."""

    def __init__(self, folder: Path, count: int, speed: float) -> None:
        self.file, self._log = folder / "virtual.toml", folder / "virtual.log"
        first = free_ports(count)
        self._argv = ["--octoprint", str(count), "--speed", str(speed), "--port", str(first), "--write", str(self.file)]
        self._process: Forked | None = None

    def start(self) -> str:
        """Returns their [[printers]] blocks."""
        self.file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = process = Forked(["virtual", *self._argv], log, log)

        def answer() -> bool:
            assert process.poll() is None, self._log.read_text()
            return self.file.exists()

        wait_for(answer, 30)
        return self.file.read_text()

    def kill(self) -> None:
        """Power cut."""
        self._end("kill")

    def stop(self) -> None:
        self._end("terminate")

    def _end(self, how: str) -> None:
        process, self._process = self._process, None
        if process is not None:
            getattr(process, how)()
            process.wait(10)


@dataclass
class Farm:
    """A running daemon and its keys by role."""

    daemon: DaemonProcess
    keys: dict[str, str]
    printers: VirtualPrinters | None = None

    def ask(self, method: str, path: str, body: Any = None, role: str | None = "admin", **more: Any) -> httpx.Response:
        """One request; `role` None sends no key."""
        headers = more.pop("headers", {}) | ({"X-API-Key": self.keys[role]} if role else {})
        if body is not None:
            more["json"] = body
        return self.daemon.http.request(method, path, headers=headers, **more)

    def ok(self, method: str, path: str, body: Any = None, role: str = "admin", **more: Any) -> Any:
        answer = self.ask(method, path, body, role, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def cli(self, *argv: str, role: str = "admin", **environment: str) -> subprocess.CompletedProcess[str]:
        """A command against the daemon; `environment` replaces variables."""
        mine = {"FARMD_URL": self.daemon.url, "FARMD_CONFIG": str(self.daemon.config), "FARMD_API_KEY": self.keys[role]}
        return forked.run(argv, os.environ | mine | {"NO_COLOR": "1"} | environment)

    def sell(self, sku: str, size: float | None = 8, **more: Any) -> None:
        """A SKU that is a cube of this size, or has no model."""
        self.ok("POST", "/api/skus", CUBE | {"id": sku, "name": sku} | more)
        if size is not None:
            self.ok("PUT", f"/api/skus/{sku}/model", content=stl(cube(size)))

    def order(self, sku: str, quantity: int = 1, customer: str = CUSTOMER, *, paid: bool = False) -> str:
        line = {"skuId": sku, "quantity": quantity, "options": {"quality": "draft", "infill": 0}}
        body = {"customerId": customer, "lineItems": [line], "shippingAddress": ADDRESS}
        order = str(self.ok("POST", "/api/orders", body)["id"])
        if paid:
            self.ok("POST", f"/api/orders/{order}/pay", {"reference": "till"})
        return order

    def job(self, order: str) -> dict[str, Any]:
        """The first job of an order in full."""
        return dict(self.ok("GET", f"/api/jobs/{self.ok('GET', f'/api/orders/{order}')['jobs'][0]['id']}"))


@contextmanager
def running_farm(
    folder: Path, printers: int = 0, speed: float = 200, more: str = "", roles: tuple[str, ...] = ("admin",)
) -> Iterator[Farm]:
    """A farm from its first key to its SIGTERM; keys are made of these roles."""
    virtual = VirtualPrinters(folder, printers, speed) if printers else None
    daemon = DaemonProcess(folder, virtual.start() if virtual else "", more=more)
    try:
        owner = {"customer": ("--customer", CUSTOMER)}
        keys = {role: daemon.make_key(role, role, *owner.get(role, ())) for role in roles}
        daemon.start()
        yield Farm(daemon, keys, virtual)
        assert daemon.stop() < 5
    finally:
        daemon.kill()
        if virtual:
            virtual.stop()


def refused(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """Check that an answer is a problem document of RFC 9457 in this API's shape, and return it."""
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == PROBLEM
    assert problem["status"] == status
    assert problem["detail"]
    assert all({"pointer", "detail"} <= set(error) for error in problem["errors"])
    if code is not None:
        assert problem["code"] == code, problem
    return dict(problem)
