"""What systemd hears: READY when the door is open, a sign of life while the farm turns, STOPPING at the end."""

import os
import socket
import subprocess

import pytest

from tests.daemon_process import FARMD, DaemonProcess

pytestmark = pytest.mark.slow


def test_ready_watchdog_and_stopping_are_told(tmp_path):
    farm = DaemonProcess(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        ears.settimeout(20)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        with farm.log.open("ab") as log:
            daemon = subprocess.Popen([FARMD, "run", "--config", farm.config], env=environment, stdout=log, stderr=log)
        try:
            first = ears.recv(4096).decode()
            assert first.startswith("READY=1\nSTATUS=")
            assert ears.recv(4096).decode().startswith("WATCHDOG=1")
            daemon.terminate()
            heard = [ears.recv(4096).decode()]
            while not heard[-1].startswith("STOPPING=1"):
                heard.append(ears.recv(4096).decode())
            assert daemon.wait(5) == 0
        finally:
            daemon.kill()
            daemon.wait(5)
