"""What farmd tells systemd (sd_notify(3)): ready, alive, stopping, and a status line in words.

Silent when not started by systemd. The watchdog is fed by `daemon` alone, and only while the farm's loops turn.
"""

import os
import socket


class Notifier:
    """Speaks to the socket in `$NOTIFY_SOCKET`, if there is one."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")

    def send(self, *lines: str) -> None:
        """Send assignments such as `READY=1`. Never raises: a deaf supervisor is no reason to stop printing."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.sendto("\n".join(lines).encode(), address)
            except OSError:
                return

    def watchdog_seconds(self) -> float | None:
        """How often systemd wants to hear from us, or None."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        return int(microseconds) / 1e6 if microseconds.isdigit() else None
