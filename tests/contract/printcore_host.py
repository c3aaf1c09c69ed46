"""Prints a file with Printrun's printcore, in the environment of `.ci/printrun-environment`: PORT BAUD FILE.

Run by the tests as a process of its own; exits when printcore has nothing left to print. It must not import anything of ours.
"""

import os
import sys
import threading
from pathlib import Path

from printrun.gcoder import LightGCode
from printrun.printcore import printcore

ONLINE_SECONDS, PRINT_SECONDS = 20, 60


def main() -> None:
    port, baud, file = sys.argv[1:]
    host, online, done = printcore(), threading.Event(), threading.Event()
    host.onlinecb, host.endcb = online.set, done.set
    host.connect(port, int(baud))
    if not online.wait(ONLINE_SECONDS):
        sys.exit("printcore found no printer")
    host.startprint(LightGCode(Path(file).read_text().splitlines()))
    if not done.wait(PRINT_SECONDS):
        sys.exit(f"printcore stands at line {host.queueindex}")
    sys.stdout.flush()
    os._exit(0)  # its disconnect() trips over its own threads now and then


if __name__ == "__main__":
    main()
