"""The commands of the SD card: list, write, select, print, abort.

A print from the card feeds the queue by itself and gives no `ok` for its lines. An abort turns everything off, which a
cancel of a streamed print never does.
"""

from drivers.virtual.marlin import motion, reports, words
from drivers.virtual.marlin.core import Core, Handler, Steps

END_OF_FILE = b"M1001"


def listing(core: Core, _args: bytes) -> None:
    core.say(b"Begin file list")
    for name, content in sorted(core.card.files.items()):
        core.say(f"{name} {len(content)}".encode())
    core.say(b"End file list")


def mount(core: Core, _args: bytes) -> None:
    core.warn(b"SD card ok")


def select(core: Core, args: bytes) -> None:
    name = core.card.name(args)
    if core.card.select(name):
        core.warn(f"Now fresh file: {name}".encode())
        core.say(f"File opened: {name} Size: {core.card.size}".encode())
        core.say(b"File selected")
    else:
        core.say(f"open failed, File: {name}.".encode())


def start(core: Core, _args: bytes) -> None:
    if core.card.selected:
        core.card.printing = True
        core.planner.fence()


def hold(core: Core, _args: bytes) -> None:
    core.card.printing = False
    core.planner.fence()


def seek(core: Core, args: bytes) -> None:
    if (position := words.first_number(args, "S")) is not None:
        core.card.position = int(position)


def status(core: Core, args: bytes) -> None:
    if words.first_number(args, "S") is None:
        core.say(reports.card_status(core))
    else:
        reports.automatic(core, reports.CARD, args)


def write(core: Core, args: bytes) -> None:
    name = core.card.name(args)
    core.card.begin_writing(name)
    core.warn(f"Now fresh file: {name}".encode())
    core.say(f"Writing to file: {name}".encode())


def save(core: Core, payload: bytes) -> None:
    """What becomes of a command while a file is being written."""
    if ends_writing(payload):
        core.card.end_writing()
        core.say(b"Done saving file.")
    else:
        core.card.write(payload)


def ends_writing(payload: bytes) -> bool:
    """`M29` alone or with a blank, never `M290`."""
    at = payload.find(b"M29")
    return at >= 0 and not payload[at + 3 : at + 4].isdigit()


def delete(core: Core, args: bytes) -> None:
    name = core.card.name(args)
    found = core.card.files.pop(name, None) is not None
    core.say(f"File deleted:{name}".encode() if found else f"Deletion failed, File: {name}.".encode())


def abort(core: Core) -> None:
    """What M524 does as soon as it is read: nothing moves, nothing heats, the file is closed."""
    if core.card.selected:
        core.card.halt()
        core.quickstop()
        core.all_off()
        core.fan = 0.0


def abort_in_turn(core: Core, _args: bytes) -> Steps | None:
    if not core.card.selected:
        return None
    abort(core)
    return motion.home(core, b"X Y")


def done(core: Core, _args: bytes) -> Steps:
    """The end of the file, when the last move is made."""
    yield from motion.still(core)
    core.card.halt()
    core.say(b"Done printing file")


COMMANDS: dict[bytes, Handler] = {
    b"M20": listing,
    b"M21": mount,
    b"M22": lambda core, _: core.card.halt(),
    b"M23": select,
    b"M24": start,
    b"M25": hold,
    b"M26": seek,
    b"M27": status,
    b"M28": write,
    b"M29": lambda _core, _args: None,  # nothing is being written; the queue itself sees the other case
    b"M30": delete,
    b"M524": abort_in_turn,
    END_OF_FILE: done,
}
