"""Drives a printer with bambulabs-api as its users do (`.ci/bambu-clients-environment` installs it): HOST SERIAL CODE FILE.

Run by the tests as a process of its own, which prints what the library says at each step as one line of JSON. It must not import
anything of ours.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

from bambulabs_api import Printer

PATIENCE = 30.0


def give_up(words: str) -> NoReturn:
    """The library's threads have no end of their own."""
    sys.stderr.write(words + "\n")
    sys.stdout.flush()
    os._exit(1)


def until(printer: Printer, *states: str) -> None:
    """Wait until the library shows one of these states, and tell what else it shows then."""
    deadline = time.monotonic() + PATIENCE
    while printer.get_state().value not in states:
        if time.monotonic() > deadline:
            give_up(f"it shows {printer.get_state().value} and never {states}")
        time.sleep(0.02)
    tell(printer)


def tell(printer: Printer) -> None:
    feeder = printer.ams_hub().ams_hub.get(0)  # it forgets the places at a report that holds the numbers alone
    sys.stdout.write(
        json.dumps(
            {
                "state": printer.get_state().value,
                "percent": printer.get_percentage(),
                "layers": printer.total_layer_num(),
                "file": printer.gcode_file(),
                "error": printer.print_error_code(),
                "trays": {number: tray.tray_type for number, tray in feeder.filament_trays.items()} if feeder else None,
                "bed": printer.get_bed_temperature(),
                "light": printer.get_light_state(),
            }
        )
        + "\n"
    )


def main() -> None:
    host, serial, code, file = sys.argv[1:]
    printer, name = Printer(host, code, serial), Path(file).name
    printer.mqtt_start()
    deadline = time.monotonic() + PATIENCE
    while not (printer.mqtt_client_ready() and printer.mqtt_dump().get("print", {}).get("gcode_state")):
        if time.monotonic() > deadline:
            give_up("the library never gets a report")
        time.sleep(0.02)
    until(printer, "IDLE")
    printer.turn_light_on()
    answer = printer.upload_file(Path(file).open("rb"), name)  # noqa: SIM115 - the library closes it
    if not str(answer).startswith("226"):
        give_up(f"the upload was answered {answer}")
    printer.start_print(name, 1)
    until(printer, "RUNNING")
    printer.pause_print()
    until(printer, "PAUSE")
    printer.resume_print()
    until(printer, "RUNNING")
    printer.stop_print()
    until(printer, "FAILED", "IDLE")
    printer.start_print(name, 1)
    until(printer, "PREPARE", "RUNNING")
    until(printer, "FINISH")
    printer.delete_file(name)
    printer.mqtt_stop()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
