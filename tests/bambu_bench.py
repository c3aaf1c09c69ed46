"""A virtual Bambu printer without sockets, in a time of the test's own."""

import json
from pathlib import Path
from typing import Any

from drivers.virtual.bambu import BLACK_PLA, Faults, Feeder, Firmware, make_project
from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.models import MODELS
from drivers.virtual.bed import Bed

NAME = "part.gcode.3mf"
SECONDS = 200.0


class Bench:
    """`heard` is every message so far, `picture` what a careful client knows by now."""

    def __init__(self, folder: Path, model: str = "P1S", *, ejects: bool = False) -> None:
        self.model = MODELS[model]
        self.card, self.bed, self.feeder = Card(folder / "card"), Bed(ejects=ejects), Feeder(self.model.ams)
        self.feeder.spools[0] = BLACK_PLA
        self.faults = Faults()
        self.firmware = Firmware(self.model, "01P00A1", self.card, self.bed, self.feeder, faults=self.faults)
        self.record, self.machine = self.firmware.record, self.firmware.machine
        self.now = 0.0
        self.heard: list[dict[str, Any]] = []
        self.picture: dict[str, Any] = {}
        self._number = 100
        self.put()
        self.listen()

    def put(self, name: str = NAME, content: bytes | None = None, **words: Any) -> None:
        made = make_project(words.pop("seconds", SECONDS), **{"model": self.model.code} | words)
        (self.card.root / name).write_bytes(made if content is None else content)

    def listen(self) -> list[dict[str, Any]]:
        """What was said since the last time."""
        news = [json.loads(payload) for payload in self.firmware.take()]
        self.heard += news
        for said in news:
            report = said.get("print", {})
            if report.get("command") == "push_status":
                self.picture |= report
        return news

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        self.now += seconds
        self.firmware.advance(self.now)
        return self.listen()

    def say(self, section: str, command: str, **fields: Any) -> dict[str, Any] | None:
        """The answer to a command, a second later."""
        self._number += 1
        number = str(self._number)
        body = {"sequence_id": number, "command": command, **fields}
        self.firmware.receive(json.dumps({section: body}).encode(), self.now)
        own = [said[section] for said in self.listen() + self.wait(0.1) if section in said]
        return next((body for body in own if body.get("sequence_id") == number and body.get("command") != "push_status"), None)

    def start(self, subtask_id: str = "4711", **changes: Any) -> dict[str, Any] | None:
        body = {
            "param": "Metadata/plate_1.gcode",
            "url": f"ftp:///{NAME}",
            "file": NAME,
            "subtask_name": "part",
            "subtask_id": subtask_id,
            "task_id": subtask_id,
            "project_id": subtask_id,
            "profile_id": "0",
            "use_ams": True,
            "ams_mapping": [0],
            "ams_mapping2": [{"ams_id": 0, "slot_id": 0}],
        }
        return self.say("print", "project_file", **(body | changes))

    def printing(self) -> None:
        """A print is well under way."""
        self.start()
        self.wait(60)
        assert self.picture["gcode_state"] == "RUNNING"

    def states(self) -> list[str]:
        """What `gcode_state` was, each change once."""
        seen = [said["print"]["gcode_state"] for said in self.heard if "gcode_state" in said.get("print", {})]
        return [state for number, state in enumerate(seen) if not number or seen[number - 1] != state]
