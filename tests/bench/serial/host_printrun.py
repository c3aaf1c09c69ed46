"""Prints one file with printrun's printcore: `python host_printrun.py PORT BAUD FILE`, run by the Python of printrun's environment.

It does what Pronterface does, without its windows. The bench stops it.
"""

import logging
import sys
import time
from pathlib import Path

from printrun import gcoder
from printrun.printcore import printcore


def main(port: str, baud: str, file: str) -> None:
    logging.disable(logging.CRITICAL)
    core = printcore()
    core.connect(port, int(baud))
    while not core.online:
        time.sleep(0.02)
    with Path(file).open() as lines:
        job = gcoder.LightGCode(lines)
    time.sleep(0.3)  # the answer to its greeting may not become the first line's
    core.startprint(job)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:4])
