"""Prints one file with OctoPrint's serial layer alone, no server and no plugins: `python host_octoprint.py PORT BAUD FILE`, run by
the Python of `.venv-octoprint`. Its settings are OctoPrint's own, in a folder that is thrown away. The bench stops it.
"""

import logging
import sys
import tempfile
import time

import octoprint.plugin
from octoprint.settings import settings


class Profiles:
    """What the serial layer wants to know of the machine."""

    def get_current_or_default(self) -> dict[str, object]:
        return {
            "extruder": {"count": 1, "sharedNozzle": False, "offsets": [(0, 0)]},
            "heatedBed": True,
            "heatedChamber": False,
            "volume": {"width": 200, "depth": 200, "height": 200, "formFactor": "rectangular", "origin": "lowerleft"},
            "axes": {axis: {"speed": 6000, "inverted": False} for axis in "xyze"},
        }


def main(port: str, baud: str, file: str) -> None:
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        settings(init=True, basedir=folder)
        octoprint.plugin.plugin_manager(init=True, plugin_folders=[], plugin_bases=[], plugin_entry_points=[])
        from octoprint.util.comm import MachineCom  # reads the settings as it is loaded

        comm = MachineCom(port=port, baudrate=int(baud), printerProfileManager=Profiles())
        comm.start()
        while not comm.isOperational():
            time.sleep(0.02)
        time.sleep(1.0)  # it asks the machine a few things first
        comm.selectFile(file, False)
        comm.startPrint()
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:4])
