"""A shop whose daemon may die at any moment: a customer and an operator who try again, as people and programs do.

The daemon is forked by `daemon_zygote`; Stripe is the double, which may also be the one that kills. The judge reads both books.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import httpx

from tests.daemon_process import free_port
from tests.doubles.stripe_double import StripeDouble
from tests.plain_http import NO_TLS
from tests.waiting import pause

ROOT = Path(__file__).parents[2]
CONFIG = """\
[server]
port = {port}
[store]
url = "sqlite:///farmd.db"
files = "files"
[shipping]
flat = "8.00"
[tax]
rate = "0.0826"
[payments]
provider = "stripe"
[payments.stripe]
api_key = "{key}"
webhook_secrets = ["{secret}"]
api_base = "{base}"
success_url = "https://shop.test/thanks"
sweep_seconds = 5
capture = "{capture}"
{printer}
"""


class Zygote:
    """The process that forks daemons."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("daemon_zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def fork(self, **wish: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps(wish), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@dataclass
class Death:
    """Where the first daemon dies: at its `commit`-th commit, or at the `call`-th call that Stripe works at; on which side."""

    commit: int = 0
    call: int = 0
    after: bool = False

    def __str__(self) -> str:
        side = "after" if self.after else "before"
        return f"{side} commit {self.commit}" if self.commit else f"{side} call {self.call}" if self.call else "never"


@dataclass
class MortalShop:
    """One life. `calls` counts what Stripe worked at."""

    folder: Path
    zygote: Zygote
    stripe: StripeDouble
    death: Death
    capture: str = "automatic"
    printer: str = ""
    key: str = ""
    port: int = field(default_factory=free_port)
    calls: list[str] = field(default_factory=list)
    deaths: int = 0
    process: int = 0

    def __post_init__(self) -> None:
        values = {"key": self.stripe.key, "secret": self.stripe.secret, "base": self.stripe.url}
        text = CONFIG.format(port=self.port, capture=self.capture, printer=self.printer, **values)
        self.config.write_text(text)
        self.stripe.deliver_to(f"http://127.0.0.1:{self.port}/webhooks/stripe")
        self.stripe.hooks(before=self._before, after=self._after)
        headers = {"X-API-Key": self.key}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=20, trust_env=False, headers=headers, verify=NO_TLS
        )

    @property
    def config(self) -> Path:
        return self.folder / "farmd.toml"

    def _before(self, method: str, path: str, _body: str) -> None:
        self.calls.append(f"{method} {path}")
        if len(self.calls) == self.death.call and not self.death.after:
            self.kill()

    def _after(self, _method: str, _path: str, _body: str) -> None:
        if len(self.calls) == self.death.call and self.death.after:
            self.kill()

    # the daemon

    def start(self) -> None:
        """The first daemon has its death before it; every later one lives."""
        mine = self.death if self.deaths == 0 else Death()
        wish = {"config": str(self.config), "log": str(self.folder / "farmd.log"), "commits": str(self.folder / "commits")}
        self.process = self.zygote.fork(**wish, die_at=mine.commit, after=mine.after)

    def kill(self) -> None:
        if self.alive():
            os.kill(self.process, signal.SIGKILL)

    def alive(self) -> bool:
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        return self.process > 0

    def _revive(self) -> None:
        if self.process and self.alive():
            return
        self.deaths += bool(self.process)
        self.start()

    # the people

    def until(self, look: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Try again until it comes true, whatever happens to the daemon meanwhile."""
        began = time.monotonic()
        while True:
            try:
                if answer := look():
                    return answer
            except httpx.TransportError:
                self._revive()
            waited = time.monotonic() - began
            assert waited < seconds, f"{self.death}: still {answer if 'answer' in locals() else None!r}"
            time.sleep(pause(waited))

    def ask(self, method: str, path: str, body: Any = None, key: str | None = None, fine: tuple[int, ...] = (200, 201)) -> Any:
        """One wish, repeated with the same key until it is answered."""
        headers = {"Idempotency-Key": key} if key else {}

        def once() -> httpx.Response | None:
            answer = self.http.request(method, path, json=body, headers=headers)
            return answer if answer.status_code != 503 else None

        answer = self.until(once)
        assert answer.status_code in fine, f"{self.death}: {method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def view(self, order: str) -> dict[str, Any]:
        return dict(self.ask("GET", f"/api/orders/{order}"))

    def session(self, order: str) -> dict[str, Any] | None:
        mine = [each for each in self.stripe.sessions.values() if each["client_reference_id"] == order]
        return mine[-1] if mine else None

    # the judge

    def settled(self) -> bool:
        """Nothing is asked of Stripe any more, and no message is unread."""
        self._revive()
        wanted, unread = "SELECT 1 FROM payment_calls WHERE state = 'WANTED'", "SELECT 1 FROM inbox WHERE state = 'NEW'"
        return not self.query(wanted) and not self.query(unread)

    def query(self, sql: str, *values: str) -> list[Any]:
        books = sqlite3.connect(self.folder / "farmd.db", timeout=5)
        try:
            return books.execute(sql, values).fetchall()
        finally:
            books.close()

    def close(self) -> None:
        self.http.close()
        self.stripe.hooks()
        self.kill()
