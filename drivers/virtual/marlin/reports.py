"""The commands that tell something or set how often it is told: identity, text, progress, settings.

What is answered here is read by hosts that know real firmware; the spelling must never be improved.
"""

from math import inf

from drivers.virtual.marlin import motion, warmth, words
from drivers.virtual.marlin.core import Core, Handler

TEMPERATURE, POSITION, CARD = "temperature", "position", "card"
_ABLE = {
    TEMPERATURE: (b"M155", "AUTOREPORT_TEMP"),
    POSITION: (b"M154", "AUTOREPORT_POS"),
    CARD: (b"M27", "AUTOREPORT_SD_STATUS"),
}

_SETTINGS = (
    b"; Steps per unit:",
    b" M92 X80.00 Y80.00 Z400.00 E93.00",
    b"; Max feedrates (units/s):",
    b" M203 X300.00 Y300.00 Z5.00 E25.00",
    b"; Home offset:",
    b" M206 X0.00 Y0.00 Z0.00",
)


def identity(core: Core, _args: bytes) -> None:
    for text in core.board.firmware_lines():
        core.say(text.encode())


def line_number(core: Core, args: bytes) -> None:
    """M110: set the number, or tell it."""
    number = words.first_number(args, "N")
    if number is None:
        core.say(b"Line: %d" % core.last_number)
    else:
        core.last_number = int(number)


def keepalive(core: Core, args: bytes) -> None:
    seconds = words.first_number(args, "S")
    if seconds is None:
        core.warn(b"M113 S%d" % core.keepalive)
    else:
        core.keepalive = min(60.0, max(0.0, seconds))


def automatic(core: Core, what: str, args: bytes) -> None:
    """M155, M154 and M27 S: report every so many seconds, 0 to stop. A board that was built without does not know how."""
    command, ability = _ABLE[what]
    if core.board.capabilities.get(ability) is False:
        core.warn(b'Unknown command: "' + command + b'"')
        return
    seconds = words.first_number(args, "S")
    if seconds is None:
        return
    core.every[what] = min(60.0, max(0.0, seconds))
    if core.every[what]:
        core.reported[what] = core.now + core.every[what]
    else:
        core.reported.pop(what, None)
    core.report_at = min(core.reported.values(), default=inf)


def tell_due(core: Core) -> None:
    """The automatic reports whose time has come."""
    for what, due in core.reported.items():
        if due <= core.now:
            core.reported[what] = core.now + core.every[what]
            _tell(core, what)
    core.report_at = min(core.reported.values(), default=inf)


def _tell(core: Core, what: str) -> None:
    if what == TEMPERATURE:
        core.say(warmth.temperatures(core))
    elif what == POSITION:
        core.say(motion.position(core))
    elif core.card.printing:
        core.say(card_status(core))


def card_status(core: Core) -> bytes:
    card = core.card
    return b"SD printing byte %d/%d" % (card.position, card.size) if card.selected else b"Not SD printing"


def progress(core: Core, args: bytes) -> None:
    given = words.numbers(args)
    if "P" in given:
        core.percent = given["P"]
    if core.board.progress_report:
        shown = f"{core.percent:g}%" if core.percent is not None else "---"
        left = f" Time left: {given['R']:g}m;" if "R" in given else ""
        core.warn(f" M73 Progress: {shown};{left}".encode())


def message(core: Core, args: bytes) -> None:
    core.message = args.decode("latin-1")


def say(core: Core, args: bytes) -> None:
    """M118: E1 in front makes an `echo:` of it, A1 a `//`."""
    prefix = b""
    while args[:2] in (b"E1", b"A1", b"E0", b"A0"):
        prefix = {b"E1": b"echo:", b"A1": b"// "}.get(args[:2], prefix)
        args = args[2:].lstrip(b" ")
    core.say(prefix + args)


def settings(core: Core, _args: bytes) -> None:
    for text in _SETTINGS:
        core.warn(text)


def endstops(core: Core, _args: bytes) -> None:
    for text in (b"Reporting endstop status", b"x_min: open", b"y_min: open", b"z_min: open"):
        core.say(text)


COMMANDS: dict[bytes, Handler] = {
    b"M73": progress,
    b"M110": line_number,
    b"M113": keepalive,
    b"M115": identity,
    b"M117": message,
    b"M118": say,
    b"M119": endstops,
    b"M154": lambda core, args: automatic(core, POSITION, args),
    b"M155": lambda core, args: automatic(core, TEMPERATURE, args),
    b"M503": settings,
}

SILENT = (
    *(b"G21", b"G27", b"M75", b"M76", b"M77", b"M92", b"M111", b"M201", b"M203", b"M204", b"M205", b"M206", b"M207", b"M208"),
    *(b"M209", b"M211", b"M221", b"M301", b"M304", b"M412", b"M413", b"M420", b"M500", b"M501", b"M502", b"M593", b"M900"),
    *(b"T0",),
)
"""Known commands that change nothing a host could see here."""
