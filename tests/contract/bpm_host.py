"""Drives a printer with bambu-printer-manager as its users do (`.ci/bambu-clients-environment` installs it): HOST SERIAL CODE FILE
FOLDER.

Run by the tests as a process of its own, which prints what the library says at each step as one line of JSON. It must not import
anything of ours.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from bpm.bambuconfig import BambuConfig
from bpm.bambuprinter import BambuPrinter
from bpm.bambutools import PlateType

PATIENCE = 30.0


def give_up(words: str) -> NoReturn:
    """The library's threads have no end of their own."""
    sys.stderr.write(words + "\n")
    sys.stdout.flush()
    os._exit(1)


def until(printer: BambuPrinter, *states: str) -> None:
    """Wait until the library shows one of these states, and tell what else it shows then."""
    deadline = time.monotonic() + PATIENCE
    while printer.printer_state.gcode_state not in states:
        if time.monotonic() > deadline:
            give_up(f"it shows {printer.printer_state.gcode_state!r} and never {states}")
        time.sleep(0.02)
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
    until(printer, "IDLE")
    printer.refresh()
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
