"""The commands that heat and cool, and the lines that tell temperatures.

M104 only sets a target; M109 holds the queue until it is reached and the machine with it. A wait must end at once when it
is told to, never by itself before the heat is there.
"""

from math import inf

from drivers.virtual.marlin import words
from drivers.virtual.marlin.core import Core, Handler, Steps
from drivers.virtual.marlin.heaters import Heater

_WINDOW = 3.0  # degrees around the target that count as there
_TELL_EVERY = 1.0


def aim(core: Core, which: str, args: bytes) -> None:
    """M104, M140 and M141."""
    target = words.first_number(args, "S")
    if target is not None:
        _set(core, which, target)


def wait(core: Core, which: str, args: bytes) -> Steps:
    """M109, M190 and M191: S waits on the way up only, R both ways."""
    given = words.numbers(args)
    target = given.get("S", given.get("R"))
    if target is not None:
        _set(core, which, target)
    heater: Heater = getattr(core, which)
    core.planner.fence()
    falling = heater.actual(core.now) > heater.target
    if heater.target <= 0 or (falling and "R" not in given):
        return
    yield from _settle(core, heater)


def _settle(core: Core, heater: Heater) -> Steps:
    edge = heater.target - _WINDOW if heater.actual(core.now) <= heater.target else heater.target + _WINDOW
    arrives = core.now if abs(heater.actual(core.now) - heater.target) <= _WINDOW else heater.reaches(edge)
    content = arrives + core.board.residency
    core.waits_for_heat = True
    tell = core.now + _TELL_EVERY
    while core.waits_for_heat and core.now < content:
        yield min(tell, content)
        if core.now >= tell and core.waits_for_heat:
            tell += _TELL_EVERY
            left = b"?" if core.now < arrives else b"%d" % max(0, content - core.now)
            core.say(temperatures(core) + b" W:" + left)
    core.waits_for_heat = False


def _set(core: Core, which: str, target: float) -> None:
    if which == "nozzle":
        core.heat_nozzle(target)
    else:
        getattr(core, which).aim(target, core.now)


def report(core: Core, _args: bytes) -> None:
    """M105: the report is part of the ok."""
    core.ok_tail = temperatures(core)


def temperatures(core: Core) -> bytes:
    """With the blank that stands before an automatic report."""
    now, nozzle, bed, chamber = core.now, core.nozzle, core.bed, core.chamber
    text = f" T:{nozzle.actual(now):.2f} /{nozzle.target:.2f} B:{bed.actual(now):.2f} /{bed.target:.2f}"
    if core.board.chamber:
        text += f" C:{chamber.actual(now):.2f} /{chamber.target:.2f}"
    text += f" @:{nozzle.power(now)} B@:{bed.power(now)}"
    return (text + f" C@:{chamber.power(now)}" if core.board.chamber else text).encode()


def fan(core: Core, args: bytes) -> None:
    speed = words.first_number(args, "S")
    core.fan = min(255.0, 255.0 if speed is None else speed)


def fan_off(core: Core, _args: bytes) -> None:
    core.fan = 0.0


def cold_extrusion(core: Core, args: bytes) -> None:
    given = words.numbers(args)
    if "P" in given:
        core.cold_allowed = bool(given["P"])
    elif given.get("S") == 0:
        core.cold_allowed = True
    else:
        core.warn(
            b"Cold extrudes are %sabled (min temp %dC)" % (b"en" if core.cold_allowed else b"dis", core.board.coldest_extrusion)
        )


def reheat(core: Core, target: float) -> Steps:
    """Bring the nozzle back to `target`, as after a pause."""
    core.heat_nozzle(target)
    there = core.nozzle.reaches(target)
    while core.now < there < inf:
        yield there


COMMANDS: dict[bytes, Handler] = {
    b"M104": lambda core, args: aim(core, "nozzle", args),
    b"M109": lambda core, args: wait(core, "nozzle", args),
    b"M140": lambda core, args: aim(core, "bed", args),
    b"M190": lambda core, args: wait(core, "bed", args),
    b"M141": lambda core, args: aim(core, "chamber", args),
    b"M191": lambda core, args: wait(core, "chamber", args),
    b"M105": report,
    b"M106": fan,
    b"M107": fan_off,
    b"M302": cold_extrusion,
}
