"""The machines that can be played, and in what each differs on the wire from the others. Tables alone.

Only what was seen on real ones stands here: words, types and forms that a client must cope with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Ams(Enum):
    """The box that feeds filament."""

    NONE = "none"
    AMS = "ams"
    LITE = "ams_f1"


@dataclass(frozen=True, slots=True)
class Model:
    """One kind of printer. `code` is what it calls itself and what a sliced file must call it; `prefix` begins its serial numbers.

    `full_reports`: every report holds every field, otherwise only what changed; `marks_full`: `msg` tells which is which.
    `reconnect_spoils_start`: a client that comes in while a start is under way makes it fail. `host_path`: a job's `gcode_file` is
    a path inside the host, which names no job. `ids_at_rest`: what the ids of a job say before there was one. `answers_command`: an
    acknowledgement repeats the command's name. `kills_listeners`: whoever subscribes to the request topic is thrown out.
    """

    name: str
    code: str
    product: str
    prefix: str
    bed: tuple[int, int, int]
    full_reports: bool = False
    marks_full: bool = True
    host_path: bool = False
    reconnect_spoils_start: bool = False
    fun: str | None = None  # bit 29 clear; None where the firmware sends no such word
    fail_reason: bool = False
    ids_at_rest: str = "0"
    stage_at_rest: int = 255
    success: str = "success"
    answers_command: bool = True
    kills_listeners: bool = True
    one_client_per_id: bool = True
    ams: Ams = Ams.AMS
    ams_in_deltas: bool = True  # else a difference holds the numbers of `ams` and never its lists
    sub_folders: bool = False  # an ftp:// address may lead into a folder
    sdcard_word: bool = True  # file:///sdcard/ is understood
    clamps_ids: bool = False
    work_light: bool = True
    lidar: bool = False


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("P1S", "C12", "Bambu Lab P1S", "01P", (256, 256, 256), clamps_ids=True),
        Model("P1P", "C11", "Bambu Lab P1P", "01S", (256, 256, 256), clamps_ids=True, reconnect_spoils_start=True),
        Model(
            "X1C",
            "BL-P001",
            "Bambu Lab X1 Carbon",
            "00M",
            (256, 256, 256),
            full_reports=True,
            host_path=True,
            fun="3EC18FFF9CFF",
            fail_reason=True,
            ids_at_rest="",
            stage_at_rest=-1,
            success="SUCCESS",
            kills_listeners=False,
            sub_folders=True,
            lidar=True,
        ),
        Model(
            "A1",
            "N2S",
            "Bambu Lab A1",
            "039",
            (256, 256, 256),
            answers_command=False,
            one_client_per_id=False,
            ams=Ams.LITE,
            ams_in_deltas=False,
            sub_folders=True,
        ),
        Model(
            "A1MINI",
            "N1",
            "Bambu Lab A1 mini",
            "030",
            (180, 180, 180),
            answers_command=False,
            one_client_per_id=False,
            ams=Ams.LITE,
            ams_in_deltas=False,
            sub_folders=True,
            work_light=False,
        ),
        Model(
            "P2S",
            "N7",
            "Bambu Lab P2S",
            "22E",
            (256, 256, 256),
            full_reports=True,
            marks_full=False,
            host_path=True,
            fun="3EC18FFF9CFF",
            fail_reason=True,
            ids_at_rest="",
            stage_at_rest=-1,
            success="SUCCESS",
            kills_listeners=False,
            sub_folders=True,
            sdcard_word=False,
        ),
    )
}


def model_named(word: str) -> Model:
    """Raises `ValueError` naming the models there are."""
    try:
        return MODELS[word]
    except KeyError:
        raise ValueError(f"there is no virtual {word}; there are {', '.join(MODELS)}") from None
