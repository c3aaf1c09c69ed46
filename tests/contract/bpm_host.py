"""Drives a printer with bambu-printer-manager as its users do (`.ci/bambu-clients-environment` installs it): HOST SERIAL CODE FILE
FOLDER.

Run by the tests as a process of its own, which prints what the library says at each step as one line of JSON. It must not import
anything of ours.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from bpm.bambuconfig import BambuConfig
from bpm.bambuprinter import BambuPrinter
from bpm.bambutools import PlateType, ServiceState

PATIENCE = 30.0


def give_up(words: str) -> NoReturn:
    """The library's threads have no end of their own."""
    sys.stderr.write(words + "\n")
    sys.stdout.flush()
    os._exit(1)


def wait(condition: Callable[[], object], words: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            give_up(words)
        time.sleep(0.02)


def meet(printer: BambuPrinter) -> None:
    """Ask what the printer is until it is heard: the library may ask before it has subscribed to the answers."""
    asked = 0.0

    def heard() -> bool:
        nonlocal asked
        if time.monotonic() > asked + 1:
            asked = time.monotonic()
            printer.refresh()
        return bool(printer.config.firmware_version and printer.printer_state.spools)

    wait(heard, "it never hears what the printer is")


def until(printer: BambuPrinter, *states: str) -> None:
    """Wait until the library shows one of these states, and tell what else it shows then."""
    wait(lambda: printer.printer_state.gcode_state in states, f"it never shows {states}")
    state, job = printer.printer_state, printer.active_job_info
    told = {
        "state": state.gcode_state,
        "percent": job.print_percentage,
        "layers": job.total_layers,
        "name": job.subtask_name,
        "error": state.print_error,
        "spools": sorted((spool.id, spool.type) for spool in state.spools),
        "firmware": printer.config.firmware_version,
        "model": printer.config.printer_model.name,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def main() -> None:
    host, serial, code, file, folder = sys.argv[1:]
    printer = BambuPrinter(BambuConfig(host, code, serial, bpm_cache_path=Path(folder)))
    printer.start_session()
    wait(lambda: printer.service_state is ServiceState.CONNECTED, "it never connects")  # it says IDLE before, of nobody
    meet(printer)
    until(printer, "IDLE")
    name = f"/{Path(file).name}"
    with printer.ftp_connection() as files:
        files.upload_file(file, name)
    if not printer.sdcard_file_exists(name):
        give_up("the upload is not on the card")
    printer.print_3mf_file(name, 1, PlateType.AUTO, True, "[0]")
    until(printer, "RUNNING")
    printer.pause_printing()
    until(printer, "PAUSE")
    printer.resume_printing()
    until(printer, "RUNNING")
    printer.stop_printing()
    until(printer, "FAILED", "IDLE")
    printer.print_3mf_file(name, 1, PlateType.AUTO, True, "[0]")
    until(printer, "PREPARE", "RUNNING")
    until(printer, "FINISH")
    printer.delete_sdcard_file(name)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
