"""Prints one file with marlin-host: `python host_marlin_host.py PORT BAUD FILE`, run by the Python of marlin-host's environment.

The bench stops it.
"""

import sys
import time
from pathlib import Path

from marlin_host import MarlinHost, SerialTransport


def main(port: str, baud: str, file: str) -> None:
    host = MarlinHost(SerialTransport(port, int(baud), reset_on_open=False), reliable=True, startup_timeout=0.5)
    host.connect()
    host.send("M110 N1")  # connecting numbers nothing when the machine had just started
    with Path(file).open() as lines:
        for _ in host.stream(lines):
            pass
    time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:4])
