"""The real daemon as a process of its own, driven from outside: the command line, HTTP, and signals.

What these tests see is what a farm owner sees: nothing of farmd is called but its command.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
from standardwebhooks import Webhook

from tests import forked
from tests.forked import Forked
from tests.plain_http import NO_TLS
from tests.waiting import pause

FARMD = Path(sys.executable).with_name("farmd")

CONFIG = """\
[server]
port = {port}
[store]
url = "sqlite:///farmd.db"
files = "files"
[farm]
currency = "USD"
[shipping]
flat = "8.00"
[tax]
rate = "0.0826"
base = "items+shipping"
rounding = "half_up"
[webhooks]
allow = ["127.0.0.1"]
{more}
"""

PRINTER = """
[[printers]]
id = "{id}"
driver = "octoprint"
url = "{url}"
api_key = "{key}"
material = "PLA"
color = "#1a1a1a"
bed = [250, 210, 210]
profile = "generic-0.4"
bed_clear = "{bed_clear}"
"""


def wait_for(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll `look` until it is truthy and return that; fail with its last answer."""
    began = time.monotonic()
    while not (answer := look()):
        waited = time.monotonic() - began
        assert waited < seconds, f"still {answer!r} after {seconds} s"
        time.sleep(pause(waited))
    return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def printer_block(name: str, url: str, key: str, bed_clear: str = "manual") -> str:
    return PRINTER.format(id=name, url=url, key=key, bed_clear=bed_clear)


class DaemonProcess:
    """One data directory and the daemon that comes and goes on it."""

    started: ClassVar[list["DaemonProcess"]] = []

    def __init__(self, folder: Path, *blocks: str, more: str = "", installed: bool = False) -> None:
        """`installed`: run the command that stands on the disk, with all it loads, and not a fork of a process that has done so."""
        self.folder, self.port, self._installed = folder, free_port(), installed
        self.config = folder / "farmd.toml"
        self.config.write_text(CONFIG.format(port=self.port, more=more + "".join(blocks)))
        self.log = folder / "farmd.log"
        self._process: subprocess.Popen[bytes] | Forked | None = None
        self._client: httpx.Client | None = None
        DaemonProcess.started.append(self)

    @classmethod
    def end_all(cls) -> None:
        """Kill whatever a failed test left running."""
        while cls.started:
            cls.started.pop().kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cli(self, *argv: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a farmd command to its end."""
        environment = os.environ | {"FARMD_URL": self.url, "FARMD_CONFIG": str(self.config), "NO_COLOR": "1"}
        if key:
            environment["FARMD_API_KEY"] = key
        if not self._installed:
            return forked.run(argv, environment)
        return subprocess.run([FARMD, *argv], env=environment, capture_output=True, text=True, timeout=60)

    def make_key(self, name: str, role: str, *more: str) -> str:
        done = self.cli("keys", "create", name, "--role", role, *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        with self.log.open("ab") as log:
            argv = ["run", "--config", self.config]
            if self._installed:
                self._process = subprocess.Popen([FARMD, *argv], stdout=log, stderr=log)
            else:
                self._process = Forked(argv, log, log)
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False, verify=NO_TLS)
        wait_for(self._ready, 30)

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    @property
    def http(self) -> httpx.Client:
        assert self._client is not None
        return self._client

    @property
    def pid(self) -> int | None:
        """The daemon's process, while it runs."""
        return None if self._process is None else self._process.pid

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM; returns the seconds it took."""
        began = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - began

    def _end(self, number: signal.Signals) -> None:
        if self._client is not None:
            self._client.close()
        process, self._process, self._client = self._process, None, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.wait(15)

    def call(self, method: str, path: str, key: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.http.request(method, path, headers={"X-API-Key": key}, **({"json": body} if body is not None else {}), **more)


class Receiver:
    """An independent webhook receiver: verifies every delivery with the `standardwebhooks` package."""

    def __init__(self) -> None:
        self.secret: str | None = None
        self.received: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.refused: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                receiver.take(raw, dict(self.headers))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def take(self, raw: bytes, headers: dict[str, str]) -> None:
        headers = {name.lower(): value for name, value in headers.items()}
        try:
            assert self.secret is not None
            Webhook(self.secret).verify(raw, headers)
        except Exception as error:  # whatever the verifier says is evidence
            self.refused.append(repr(error))
            return
        if headers["webhook-id"] not in self.ids:
            self.ids.append(headers["webhook-id"])
            self.received.append(json.loads(raw))

    def types(self, order_id: str) -> list[str]:
        return [event["type"] for event in self.received if event["data"].get("orderId") == order_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
