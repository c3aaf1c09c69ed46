"""OctoPrint's own VirtualPrinter behind a pseudo terminal, in the environment of `.ci/octoprint-environment`.

`virtual_printer_port.py [LINK]` prints the name of its terminal, or of the link to it, and serves it until it is ended. With a link
it takes one word a line: `cut` pulls the cable, `restore` puts it back, `foreign` starts a print from the card. Run by the tests as
a process of its own; it must not import anything of ours.
"""

import os
import pty
import select
import sys
import tempfile
import threading
import tty
from contextlib import suppress
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


class Cable:
    """The pseudo terminal, or none while it is pulled."""

    def __init__(self, printer: VirtualPrinter, link: Path | None) -> None:
        self._printer, self._link = printer, link
        self._ends: tuple[int, int] | None = None
        self.restore()

    def restore(self) -> None:
        if self._ends is not None:
            return
        ours, theirs = self._ends = pty.openpty()
        tty.setraw(theirs)
        if self._link is not None:
            self._link.symlink_to(os.ttyname(theirs))
        self._listener = threading.Thread(target=self._listen, args=(ours,), daemon=True)
        self._listener.start()
        self.name = str(self._link or os.ttyname(theirs))

    def cut(self) -> None:
        if self._ends is None or self._link is None:
            return
        ends, self._ends = self._ends, None
        self._link.unlink()
        self._listener.join()  # a terminal lives on while anybody reads from it
        for end in ends:
            os.close(end)

    def say(self, line: bytes) -> None:
        if self._ends is not None:
            with suppress(OSError):
                os.write(self._ends[0], line.rstrip(b"\n") + b"\n")

    def _listen(self, ours: int) -> None:
        """Line by line: of a piece with two of them the printer would look at the second only when more comes."""
        rest = b""
        while self._ends is not None:
            if not select.select([ours], [], [], 0.02)[0]:
                continue
            *lines, rest = (rest + os.read(ours, 4096)).split(b"\n")
            for line in lines:
                data = line + b"\n"
                while data:
                    data = data[self._printer.write(data) :]


def obey(printer: VirtualPrinter, cable: Cable, card: Path) -> None:
    """What the tests do to cable and machine."""
    for word in sys.stdin:
        match word.strip():
            case "cut":
                cable.cut()
            case "restore":
                cable.restore()
            case "foreign":
                (card / "own-print.gcode").write_text("G1 X10 F600\nG1 X200 F600\n" * 5000)
                printer._selectSdFile("own-print.gcode")
                printer._startSdPrint()
        sys.stdout.write("done\n")
        sys.stdout.flush()


def main() -> None:
    plugin_manager(init=True, plugin_folders=[], plugin_bases=[], plugin_entry_points=[])
    with tempfile.TemporaryDirectory() as folder:
        printer = VirtualPrinter(Settings(Path(folder)), None, folder, read_timeout=1.0)
        cable = Cable(printer, Path(sys.argv[1]) if sys.argv[1:] else None)
        sys.stdout.write(cable.name + "\n")
        sys.stdout.flush()
        threading.Thread(target=obey, args=(printer, cable, Path(folder) / "virtualSd"), daemon=True).start()
        while True:
            line = printer.readline()
            if line:
                cable.say(line)


if __name__ == "__main__":
    main()
