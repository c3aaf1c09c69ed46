"""Real OctoPrint servers for the tests, with OctoPrint's own virtual printer behind them.

Each instance has its own folder and port and outlives being killed: `start` on the same folder brings it back as a power cut
would leave it. OctoPrint lives in `.venv-octoprint` (see `.ci/octoprint-environment`), never among farmd's packages; where
that is missing the tests skip and say so.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plain_http import NO_TLS
from tests.waiting import pause

SERVER = Path(__file__).parents[2] / ".venv-octoprint" / "bin" / "octoprint"
API_KEY = "0123456789ABCDEF0123456789ABCDEF"
VIEWER_KEY = "FEDCBA9876543210FEDCBA9876543210"
START_SECONDS = 60.0

CONFIG = """\
server: {{host: 127.0.0.1, port: {port}, firstRun: false, onlineCheck: {{enabled: false}}, pluginBlacklist: {{enabled: false}}}}
accessControl: {{salt: 0123456789abcdef0123456789abcdef}}
serial:
  port: VIRTUAL
  baudrate: 115200
  autoconnect: true
  timeout: {{communication: 2, communicationBusy: 2}}
  maxCommunicationTimeouts: {{idle: 2, printing: 2, long: 2}}
plugins:
  _disabled: [achievements, announcements, backup, classicwebcam, corewizard, customcontrolmanager, discovery,
    errortracking, eventmanager, file_check, firmware_check, gcodeviewer, health_check, logging, pi_support,
    pluginmanager, softwareupdate, tracking, uploadmanager, action_command_notification]
  virtual_printer: {{enabled: true, simulated_errors: [], _config_version: 1}}
gcodeAnalysis: {{runAt: never}}
"""

USERS = """\
_version: 2
farmd:
  {{active: true, apikey: {key}, groups: [admins, users], password: none, permissions: [], roles: [user, admin], settings: {{}}}}
viewer:
  {{active: true, apikey: {viewer}, groups: [readonly], password: none, permissions: [], roles: [user], settings: {{}}}}
"""


def require_octoprint() -> None:
    """Skip the calling test or fixture where the environment was not made."""
    if not SERVER.exists():
        pytest.skip("real OctoPrint is not installed; run .ci/octoprint-environment")


class RealOctoPrint:
    """One server on one folder. `start` may be called again after `stop` or `kill`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(CONFIG.format(port=self.port))
        (folder / "users.yaml").write_text(USERS.format(key=API_KEY, viewer=VIEWER_KEY))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server and wait until its printer is Operational."""
        argv = [str(SERVER), "serve", "--iknowwhatimdoing", "--basedir", str(self.folder)]
        with (self.folder / "stdout.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        self.wait(lambda: self.state() == "Operational", START_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely, and by force after ten seconds."""
        self._end(signal.SIGTERM)

    def call(self, method: str, path: str, json: Any = None) -> httpx.Response:
        """One request with the admin's key. Raises `httpx.TransportError` while the server is away."""
        with httpx.Client(trust_env=False, timeout=10, verify=NO_TLS) as client:
            return client.request(method, f"{self.url}{path}", json=json, headers={"X-Api-Key": API_KEY})

    def state(self) -> str:
        """The state's words, empty while the server is away."""
        try:
            answer = self.call("GET", "/api/job")
        except httpx.TransportError:
            return ""
        return str(answer.json().get("state")) if answer.status_code == 200 else ""

    def inject(self, fault: str) -> None:
        """Make the virtual printer misbehave, by one of its `!!DEBUG:` words."""
        answer = self.call("POST", "/api/printer/command", {"command": f"!!DEBUG:{fault}"})
        assert answer.status_code == 204, answer.text

    def print_by_hand(self, name: str, gcode: bytes) -> None:
        """Upload and start a file as somebody at OctoPrint's own page would."""
        with httpx.Client(trust_env=False, timeout=10, verify=NO_TLS) as client:
            answer = client.post(
                f"{self.url}/api/files/local",
                headers={"X-Api-Key": API_KEY},
                files={"file": (name, gcode)},
                data={"print": "true"},
            )
        assert answer.status_code == 201, answer.text
        assert answer.json()["effectivePrint"], answer.text

    def rest(self) -> None:
        """Bring the printer back to Operational with nothing selected, whatever the last test did."""
        self.call("POST", "/api/job", {"command": "cancel"})
        self.wait(self._operational, 60)
        self.call("POST", "/api/files/local/current", {"command": "unselect"})

    def _operational(self) -> bool:
        """Whether the printer stands by; one that is gone (a hung one goes only after a while) is connected anew."""
        state = self.state()
        if state in ("Offline", "Offline after error", "Error"):
            self.call("POST", "/api/connection", {"command": "connect", "port": "VIRTUAL", "baudrate": 115200})
        return state == "Operational"

    def forget_files(self) -> None:
        """Delete every file and folder, and with them their history."""
        for entry in self.call("GET", "/api/files/local").json()["files"]:
            answer = self.call("DELETE", f"/api/files/local/{entry['path']}")
            assert answer.status_code == 204, answer.text

    def wait(self, condition: Callable[[], bool], seconds: float) -> None:
        """Poll until `condition` holds; fails the test with the server's last words after `seconds`."""
        began = time.monotonic()
        while not condition():
            if self._process is not None and self._process.poll() is not None:
                pytest.fail(f"OctoPrint ended by itself:\n{self._last_words()}")
            if (waited := time.monotonic() - began) > seconds:
                pytest.fail(f"OctoPrint is {self.state()!r} after {seconds} s:\n{self._last_words()}")
            time.sleep(pause(waited))

    def _last_words(self) -> str:
        return (self.folder / "stdout.log").read_text(errors="replace")[-2000:]

    def _end(self, signum: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, signum)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@contextmanager
def running_octoprint(folder: Path) -> Iterator[RealOctoPrint]:
    """A started server on `folder`, stopped at the end; skips where OctoPrint is not installed."""
    require_octoprint()
    server = RealOctoPrint(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def moving_gcode(seconds: float) -> bytes:
    """A file OctoPrint's virtual printer takes about `seconds` to print: it waits only on moves to greater coordinates."""
    lines = max(1, round(seconds / 0.05))
    moves = "".join(f"G1 X{(step + 1) * 10} F1200\n" for step in range(lines))
    return f"G90\nM82\nG92 X0\n{moves}".encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
