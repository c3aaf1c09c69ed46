"""The commands that wait for a person, and the prompts they put on the host's screen.

M0 stops where it is; M600 parks first and lets the nozzle cool after a while. Only an answer ends them: a prompt must never
time out by itself, because nobody may have put filament in.
"""

from math import inf

from drivers.virtual.marlin import motion, warmth, words
from drivers.virtual.marlin.core import FOR_USER, PROCESSING, Core, Handler, Steps

_PARK_SECONDS = 3.0


def ask(core: Core, text: bytes, *buttons: bytes) -> None:
    """Show a prompt."""
    core.prompted = True
    core.action(b"prompt_end")
    core.action(b"prompt_begin " + text)
    for button in buttons:
        core.action(b"prompt_button " + button)
    core.action(b"prompt_show")


def await_user(core: Core, seconds: float = inf) -> Steps:
    """Until somebody answers, or for so long."""
    end = core.now + seconds
    core.waits_for_user, core.busy = True, FOR_USER
    while core.waits_for_user and core.now < end:
        yield end
    core.waits_for_user, core.busy = False, PROCESSING


def stop(core: Core, args: bytes, default: bytes) -> Steps:
    """M0 and M1: with S or P only for so long."""
    given = words.numbers(args) if args[:1] in (b"S", b"P") else {}
    seconds = given.get("S", given.get("P", 0.0) / 1000)
    yield from motion.still(core)
    ask(core, (args if args and not given else default), b"Continue")
    yield from await_user(core, seconds or inf)


def change_filament(core: Core, _args: bytes) -> Steps:
    """M600 and M125: park, ask, wait, heat up again, go back."""
    yield from motion.still(core)
    target, core.parked = core.nozzle.target, True
    core.action(b"paused")
    ask(core, b"Pause", b"Dismiss")
    yield from motion.pause(core, _PARK_SECONDS)
    ask(core, b"Nozzle Parked", b"Continue")
    yield from await_user(core, core.board.park_timeout)
    if core.prompted:
        core.heat_nozzle(0.0)
        ask(core, b"HeaterTimeout", b"Reheat")
        yield from await_user(core)
        yield from warmth.reheat(core, target)
        ask(core, b"Reheat Done", b"Continue")
        yield from await_user(core)
    core.parked = False
    ask(core, b"Resuming", b"Dismiss")
    yield from warmth.reheat(core, target)
    yield from motion.pause(core, _PARK_SECONDS)
    core.action(b"resumed")


def answer(core: Core) -> None:
    """The prompt is answered, or M108 says to go on."""
    core.prompted = False
    if core.waits_for_user:
        core.waits_for_user = False
        core.poke()


def go_on(core: Core) -> None:
    """M108: end every wait, for heat and for a person."""
    if core.waits_for_heat:
        core.waits_for_heat = False
        core.poke()
    answer(core)


COMMANDS: dict[bytes, Handler] = {
    b"M0": lambda core, args: stop(core, args, b"M0 Stop"),
    b"M1": lambda core, args: stop(core, args, b"M1 Stop"),
    b"M108": lambda _core, _args: None,  # acts when it arrives, never in its turn
    b"M125": change_filament,
    b"M600": change_filament,
    b"M876": lambda core, _: answer(core),
}
