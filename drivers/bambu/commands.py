"""What is said to a printer, as the bytes of its request topic. Nothing is sent from here.

One section per message, each with a `sequence_id` that only grows: ids that come again are refused by some firmware, those from
20000 to 29999 belong to the vendor's own program.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from drivers.bambu.models import Model
from drivers.bambu.prints import Print
from drivers.bambu.trays import Mapping2

FIRST_IDS = range(100_000, 900_000)
"""Where a process may begin to count, so that two of them rarely say the same."""


@dataclass(frozen=True, slots=True)
class Command:
    """One message and the id its answer will carry."""

    sequence_id: str
    payload: bytes


class Commands:
    """The commands of one printer, numbered from `first` on."""

    def __init__(self, first: int) -> None:
        self._last = first

    def tell_all(self) -> Command:
        """Ask for every field at once."""
        return self._say("pushing", "pushall", {"version": 1, "push_target": 1})

    def report_again(self) -> Command:
        """Wake a report stream that fell silent."""
        return self._say("pushing", "start", {})

    def tell_version(self) -> Command:
        return self._say("info", "get_version", {})

    def pause(self) -> Command:
        return self._say("print", "pause", {"param": ""})

    def resume(self) -> Command:
        return self._say("print", "resume", {"param": ""})

    def stop(self) -> Command:
        return self._say("print", "stop", {"param": ""})

    def forget_error(self, number: int, subtask_id: str) -> tuple[Command, Command]:
        """Put away an error of the print before, and its window on the screen."""
        dialog = {"name": "print_error", "action": "close", "source": 1, "type": "dialog", "err": f"{number & 0xFFFFFFFF:08X}"}
        return (
            self._say("print", "clean_print_error", {"subtask_id": subtask_id, "print_error": number}),
            self._say("system", "uiop", dialog),
        )

    def start(self, print_: Print, places: Mapping2, model: Model, url: str) -> Command:
        """Print a file of the printer's storage. `url` is where it lies, in the word `auto`, `ftp` or `sdcard`."""
        where = "file:///sdcard/" if url == "sdcard" else "ftp:///"
        body = {
            "param": f"Metadata/plate_{print_.plate}.gcode",
            "url": where + print_.file,
            "file": print_.file,
            "md5": "",
            "subtask_name": print_.name,
            "project_id": print_.subtask_id,
            "profile_id": "0",
            "task_id": print_.subtask_id,
            "subtask_id": print_.subtask_id,
            "bed_type": "auto",
            "timelapse": False,
            "bed_leveling": True,
            "bed_levelling": True,
            "auto_bed_leveling": 1,
            "flow_cali": False,
            "extrude_cali_flag": 0,
            "nozzle_offset_cali": 0,
            "vibration_cali": model.vibration,
            "layer_inspect": False,
            "use_ams": places.use_ams,
            "cfg": "0",
            "ams_mapping": list(places.flat),
            "ams_mapping2": [{"ams_id": ams, "slot_id": slot} for ams, slot in places.places],
        }
        return self._say("print", "project_file", body)

    def _say(self, section: str, command: str, words: Mapping[str, Any]) -> Command:
        self._last = self._last + 1 if self._last < 2**31 - 2 else FIRST_IDS.start
        sequence_id = str(self._last)
        return Command(sequence_id, orjson.dumps({section: {"sequence_id": sequence_id, "command": command, **words}}))
