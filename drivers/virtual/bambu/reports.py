"""What a virtual Bambu printer says of itself: every field under the name and in the type of the real report, texts for numbers
where the firmware sends texts.

Only reading: the same machine gives the same report, up to the strength of its radio, which never stands still.
"""

from collections.abc import Mapping
from typing import Any

from drivers.virtual.bambu.card import CardState
from drivers.virtual.bambu.machine import SPEEDS, Machine
from drivers.virtual.bambu.models import Ams

_FAN_ON, _FAN_OFF = "15", "0"
_HOMED, _REFILL, _OTHER_FLAGS = 0b111, 1 << 10, 0x32000090
_SIGN_BIT = 0x80000000  # some firmware sets it, and the number is negative then
_UNSIGNED_BIT = 0x20000000


def whole(machine: Machine, *, signed_only: bool, beat: int) -> dict[str, Any]:
    """Every field of `print`, without the envelope. `beat` counts the reports."""
    machine.look()
    model, names = machine.model, machine.names
    fields = {
        "gcode_state": machine.state,
        "mc_percent": machine.percent,
        "mc_remaining_time": machine.minutes_left,
        "mc_print_stage": machine.phase_text,
        "mc_print_sub_stage": 0,
        "layer_num": machine.layer,
        "total_layer_num": machine.layers,
        "gcode_file": machine.gcode_file,
        "gcode_file_prepare_percent": str(machine.prepare_percent),
        "subtask_name": names.subtask_name,
        "subtask_id": names.subtask_id,
        "task_id": names.task_id,
        "project_id": names.project_id,
        "profile_id": names.profile_id,
        "print_type": machine.print_type,
        "print_error": machine.print_error,
        "hms": [{"attr": attr, "code": code} for attr, code in machine.hms],
        "stg": [2, 13, 14, 1] if machine.busy else [],
        "stg_cur": machine.stage,
        "spd_lvl": machine.speed,
        "spd_mag": SPEEDS[machine.speed],
        "lights_report": _lights(machine),
        "sdcard": machine.card.state is not CardState.MISSING,
        "home_flag": _home_flag(machine),
        "wifi_signal": f"-{45 + beat % 3}dBm",
        "nozzle_diameter": machine.nozzle_diameter,
        "nozzle_type": "stainless_steel",
        "s_obj": [],
        "lifecycle": "product",
        "upgrade_state": {"sequence_id": 0, "progress": "", "status": "", "new_version_state": 2, "force_upgrade": False},
        "upload": {"status": "idle", "progress": 0, "message": ""},
        "ipcam": {"ipcam_dev": "1", "ipcam_record": "enable", "timelapse": "disable", "mode_bits": 3},
        "xcam": {"first_layer_inspector": model.lidar, "printing_monitor": True, "halt_print_sensitivity": "medium"},
        "online": {"ahb": False, "rfid": False, "version": 7},
    }
    fields |= temperatures(machine) | _filament(machine)
    if model.fun is not None:
        fields["fun"] = f"{int(model.fun, 16) | (_UNSIGNED_BIT if signed_only else 0):X}"
    if model.fail_reason:
        fields["fail_reason"] = str(machine.fail_reason)
    return fields


def temperatures(machine: Machine) -> dict[str, Any]:
    """What the heaters and fans say."""
    nozzle, bed = machine.heaters["nozzle"], machine.heaters["bed"]
    fan = _FAN_ON if machine.state == "RUNNING" and machine.layer > 1 else _FAN_OFF
    return {
        "nozzle_temper": round(nozzle.actual(machine.now), 4),
        "nozzle_target_temper": round(nozzle.target),
        "bed_temper": round(bed.actual(machine.now), 4),
        "bed_target_temper": round(bed.target),
        "chamber_temper": 31 if machine.model.lidar else 5,
        "cooling_fan_speed": fan,
        "big_fan1_speed": _FAN_OFF,
        "big_fan2_speed": _FAN_OFF,
        "heatbreak_fan_speed": _FAN_ON if nozzle.target else _FAN_OFF,
    }


def difference(before: Mapping[str, Any], after: Mapping[str, Any], *, ams_lists: bool) -> dict[str, Any]:
    """The fields that are new or another; of `ams` without its lists only the numbers that changed."""
    changed = {key: value for key, value in after.items() if key not in before or before[key] != value}
    if "ams" in changed and not ams_lists:
        old, new = before.get("ams", {}), after["ams"]
        numbers = {key: value for key, value in new.items() if key != "ams" and old.get(key) != value}
        changed.pop("ams")
        if numbers:
            changed["ams"] = numbers
    return changed


def version(machine: Machine, serial: str) -> list[dict[str, str]]:
    """The modules, as `get_version` lists them."""
    model = machine.model
    modules = [
        {
            "name": "ota",
            "sw_ver": "01.07.02.00",
            "hw_ver": "OTA",
            "product_name": model.product,
            "sn": serial,
            "project_name": model.code,
        },
        {"name": "esp32", "sw_ver": "01.12.36.55", "hw_ver": "AP05", "sn": serial, "project_name": model.code},
        {"name": "mc", "sw_ver": "00.00.31.07", "hw_ver": "MC07", "sn": serial, "project_name": model.code},
    ]
    if (product := machine.feeder.product()) is not None:
        name = "ams_f1/0" if machine.feeder.box is Ams.LITE else "ams/0"
        modules.append(
            {"name": name, "sw_ver": "00.00.06.49", "hw_ver": "AMS08", "product_name": product, "sn": f"AMS{serial[3:]}"}
        )
    return modules


def _filament(machine: Machine) -> dict[str, Any]:
    outside = machine.feeder.outside_report()
    found: dict[str, Any] = {"ams": machine.feeder.report(), "ams_status": 0, "ams_rfid_status": 0}
    return found | ({"vir_slot": [outside]} if machine.model.name == "P2S" else {"vt_tray": outside})


def _lights(machine: Machine) -> list[dict[str, str]]:
    lights = [{"node": "chamber_light", "mode": "on" if machine.light else "off"}]
    return lights + ([{"node": "work_light", "mode": "flashing"}] if machine.model.work_light else [])


def _home_flag(machine: Machine) -> int:
    flag = _OTHER_FLAGS | int(machine.card.state) << 8 | (_REFILL if machine.feeder.auto_refill else 0)
    flag |= _HOMED if machine.busy else 0
    if machine.model.ams is Ams.LITE:
        flag |= _SIGN_BIT
    return flag - (1 << 32) if flag & _SIGN_BIT else flag
