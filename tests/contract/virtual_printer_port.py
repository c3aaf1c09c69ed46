"""OctoPrint's own VirtualPrinter behind a pseudo terminal, in the environment of `.ci/octoprint-environment`.

Prints the terminal's name and serves it until it is ended. Run by the tests as a process of its own; it must not import
anything of ours.
"""

import os
import pty
import sys
import tempfile
import threading
import tty
from pathlib import Path
from typing import Any

from octoprint.plugin import plugin_manager
from octoprint.plugins.virtual_printer import VirtualPrinterPlugin
from octoprint.plugins.virtual_printer.virtual import VirtualPrinter

OURS = {"throttle": 0.0, "sendWait": False, "simulated_errors": [], "echoOnM117": False, "brokenM29": False, "rxBuffer": 4096}


class Settings:
    """The plugin's defaults with `OURS` over them, through the few calls that the printer makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values = VirtualPrinterPlugin().get_settings_defaults() | OURS

    def get(self, path: list[str], merged: bool = False) -> Any:
        value: Any = self._values
        for key in path:
            value = value.get(key)  # the printer asks for some that have no default
        return value

    get_int = get_float = get_boolean = get

    def global_get_basefolder(self, name: str) -> str:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        return str(folder)


def main() -> None:
    plugin_manager(init=True, plugin_folders=[], plugin_bases=[], plugin_entry_points=[])
    with tempfile.TemporaryDirectory() as folder:
        printer = VirtualPrinter(Settings(Path(folder)), None, folder, read_timeout=1.0)
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        sys.stdout.write(os.ttyname(theirs) + "\n")
        sys.stdout.flush()
        threading.Thread(target=listen, args=(printer, ours), daemon=True).start()
        while True:
            line = printer.readline()
            if line:
                os.write(ours, line.rstrip(b"\n") + b"\n")


def listen(printer: VirtualPrinter, ours: int) -> None:
    """Line by line: of a piece with two of them the printer would look at the second only when more comes."""
    rest = b""
    while True:
        *lines, rest = (rest + os.read(ours, 4096)).split(b"\n")
        for line in lines:
            data = line + b"\n"
            while data:
                data = data[printer.write(data) :]


if __name__ == "__main__":
    main()
