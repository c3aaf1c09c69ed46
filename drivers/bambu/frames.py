"""What arrives on a printer's report topic, told apart: reports, answers to commands, versions. Nothing is kept here.

Payloads come from firmware of many ages and may be cut short, no UTF-8 or of another shape altogether; whatever cannot be read is
None and never an error. An answer says that a command was queued, not that it was done.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

LONGEST = 4 << 20
"""Bytes; no report is longer, and a longer one is not read."""
_SIGNATURE_ERRORS = range(0x05024007, 0x0502400A)
"""err_code of a command that was not, or not rightly, signed."""
_UNSIGNED_WORDS = "verify failed"


@dataclass(frozen=True, slots=True)
class Report:
    """A `push_status`: all fields (`full`) or those that changed. `full` is None where the firmware does not say which."""

    fields: dict[str, Any]
    full: bool | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the printer said to the command `sequence_id`. `ok` is None for a bare echo, which proves nothing."""

    sequence_id: str
    ok: bool | None
    reason: str = ""
    unsigned: bool = False  # refused because it is not signed: Developer Mode is off


@dataclass(frozen=True, slots=True)
class Version:
    """The printer's modules, by name: firmware is that of `ota`."""

    modules: Mapping[str, str]


Frame = Report | Answer | Version


def read_frame(payload: bytes | bytearray) -> Frame | None:
    """One message; None for what says nothing to us or cannot be read."""
    message = _loads(payload)
    if type(message) is not dict:
        return None
    section = message.get("print")
    if type(section) is dict:
        command = section.get("command")
        if command == "push_status":
            return Report(section, _full(section))
        if "result" in section or command is not None:
            return _answer(section)
        return Report(section, _full(section)) if section else None
    for section in message.values():
        if type(section) is dict:
            if section.get("command") == "get_version":
                return Version(_modules(section.get("module")))
            return _answer(section)
    return None


def _loads(payload: bytes | bytearray) -> Any:
    if len(payload) > LONGEST:
        return None
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        pass
    try:  # A1 printers send names in whatever bytes somebody typed
        return orjson.loads(payload.decode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return None


def _full(section: Mapping[str, Any]) -> bool | None:
    msg = section.get("msg")
    return None if msg is None else msg in (0, "0")


def _answer(section: Mapping[str, Any]) -> Answer | None:
    sequence_id = section.get("sequence_id")
    if not isinstance(sequence_id, str | int):
        return None
    result, reason = section.get("result"), section.get("reason")
    code = section.get("err_code")
    said = reason if isinstance(reason, str) else ""
    unsigned = (isinstance(code, int) and code in _SIGNATURE_ERRORS) or _UNSIGNED_WORDS in said.lower()
    return Answer(str(sequence_id), _ok(result), said, unsigned)


def _ok(result: object) -> bool | None:
    if isinstance(result, bool):
        return result
    if isinstance(result, int):
        return result == 0
    word = result.lower() if isinstance(result, str) else ""
    if word == "success":
        return True
    return False if word.startswith("fail") else None


def _modules(listed: object) -> dict[str, str]:
    found = {}
    for module in listed if isinstance(listed, list) else ():
        if isinstance(module, dict) and isinstance(module.get("name"), str) and isinstance(module.get("sw_ver"), str):
            found[module["name"]] = module["sw_ver"]
    return found
