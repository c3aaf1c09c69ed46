"""The commands that move: where a line of G-code leads, how long that takes and where the machine thinks it stands.

A move is acknowledged when it is planned, not when it is made. What is turned off or too cold must never move, and the
numbers a host sees are not always those of the machine: G92 lies between them.
"""

from math import atan2, hypot, pi

from drivers.virtual.marlin import words
from drivers.virtual.marlin.core import Core, Handler, Steps
from drivers.virtual.marlin.planner import Place

_X, _Y, _Z, _E, _F = b"XYZEF"
_STEPS_PER_MM = (80, 80, 400, 93)


def line(core: Core, args: bytes) -> Steps | None:
    """G0 and G1."""
    try:
        given = words.quick_numbers(args)
    except ValueError:
        given = {ord(letter): value for letter, value in words.numbers(args).items()}
    feedrate = given.get(_F)
    if feedrate is not None and feedrate > 0:
        core.feedrate = feedrate / 60
    x, y, z, e = _target(core, given)
    x0, y0, z0, e0 = core.place
    dx, dy, dz, de = x - x0, y - y0, z - z0, e - e0
    if de and core.too_cold():
        core.warn(b" cold extrusion prevented")
        core.origin[3] -= de
        e, de = e0, 0.0
    length = hypot(dx, dy, dz) if dx or dy or dz else abs(de)
    return _plan(core, length, (x, y, z, e))


def arc(core: Core, args: bytes, *, clockwise: bool) -> Steps | None:
    """G2 and G3, by centre or by radius."""
    given = words.numbers(args)
    if given.get("F", 0) > 0:
        core.feedrate = given["F"] / 60
    place = _target(core, {ord(letter): value for letter, value in given.items()})
    x0, y0, z0, _ = core.place
    i, j = given.get("I", 0.0), given.get("J", 0.0)
    if "R" in given:
        i, j = _centre(place[0] - x0, place[1] - y0, given["R"], clockwise=clockwise)
    if not i and not j:
        core.fail(b"G2/G3 bad parameters")
        return None
    start, end = atan2(-j, -i), atan2(place[1] - y0 - j, place[0] - x0 - i)
    turn = (start - end if clockwise else end - start) % (2 * pi) or 2 * pi
    return _plan(core, hypot(hypot(i, j) * turn, place[2] - z0), place)


def _centre(dx: float, dy: float, radius: float, *, clockwise: bool) -> tuple[float, float]:
    """The centre of an arc from here over (dx, dy), relative to its beginning; (0, 0) when there is no such arc."""
    chord = hypot(dx, dy)
    if not chord or abs(radius) * 2 < chord:
        return 0.0, 0.0
    height = (radius**2 - (chord / 2) ** 2) ** 0.5
    side = -1 if clockwise != (radius < 0) else 1
    return dx / 2 - side * dy / chord * height, dy / 2 + side * dx / chord * height


def _target(core: Core, given: dict[int, float]) -> Place:
    x, y, z, e = core.place
    zero = core.origin
    if core.absolute:
        if _X in given:
            x = given[_X] + zero[0]
        if _Y in given:
            y = given[_Y] + zero[1]
        if _Z in given:
            z = given[_Z] + zero[2]
    else:
        x, y, z = x + given.get(_X, 0.0), y + given.get(_Y, 0.0), z + given.get(_Z, 0.0)
    if _E in given:
        e = given[_E] + zero[3] if core.absolute_e else e + given[_E]
    return x, y, z, e


def _plan(core: Core, length: float, place: Place) -> Steps | None:
    if core.stopped or not length >= 1e-6:  # also what is no number
        return None
    speed = core.feedrate * core.speed_factor
    seconds = length / min(speed, core.board.max_feedrate)
    core.place, core.motors = place, True
    if core.planner.room_at(core.now) <= core.now:
        core.planner.push(core.now, seconds, place)
        return None
    return _when_there_is_room(core, seconds, place)


def _when_there_is_room(core: Core, seconds: float, place: Place) -> Steps:
    while (free := core.planner.room_at(core.now)) > core.now:
        yield free
    if core.place is place:  # a quick stop in between takes this move with it
        core.planner.push(core.now, seconds, place)


def still(core: Core) -> Steps:
    """Wait until the machine stands."""
    core.planner.fence()
    while (end := core.planner.empties_at(core.now)) > core.now:
        yield end


def pause(core: Core, seconds: float) -> Steps:
    end = core.now + seconds
    while core.now < end:
        yield end


def dwell(core: Core, args: bytes) -> Steps:
    given = words.numbers(args)
    yield from still(core)
    yield from pause(core, given["S"] if "S" in given else given.get("P", 0.0) / 1000)


def home(core: Core, args: bytes) -> Steps:
    axes = [axis for axis in "XYZ" if axis in words.numbers(args)] or list("XYZ")
    yield from still(core)
    for axis in axes:
        yield from pause(core, core.board.homing_seconds)
        place = list(core.place)
        place["XYZ".index(axis)] = core.origin["XYZ".index(axis)] = 0.0
        core.place = place[0], place[1], place[2], place[3]
        core.planner.stand(core.place)
        core.homed = "".join(sorted({*core.homed, axis}))
    core.motors = True
    core.say(position(core))


def probe(core: Core, _args: bytes) -> Steps:
    yield from still(core)
    yield from pause(core, core.board.probing_seconds)


def set_position(core: Core, args: bytes) -> None:
    given = words.numbers(args)
    if not given:
        given = dict.fromkeys("XYZE", 0.0)
    for number, axis in enumerate("XYZE"):
        if axis in given:
            core.origin[number] = core.place[number] - given[axis]


def modes(core: Core, absolute: bool | None, absolute_e: bool | None) -> None:
    core.absolute = core.absolute if absolute is None else absolute
    core.absolute_e = core.absolute_e if absolute_e is None else absolute_e


def motors_off(core: Core, args: bytes) -> Steps:
    """M18 and M84; with S they only set a time of idleness."""
    yield from still(core)
    if words.first_number(args, "S") is None:
        core.motors, core.homed = False, ""


def quickstop(core: Core, _args: bytes) -> None:
    core.quickstop()


def fence(core: Core, _args: bytes) -> Steps:
    return still(core)


def speed_factor(core: Core, args: bytes) -> None:
    if percent := words.first_number(args, "S"):
        core.speed_factor = percent / 100


def report_position(core: Core, _args: bytes) -> None:
    core.say(position(core))


def position(core: Core) -> bytes:
    """As M114 tells it; the counts are of the steppers, which may be behind."""
    shown = " ".join(f"{axis}:{at:.2f}" for axis, at in zip("XYZE", core.logical(), strict=True))
    really = core.planner.place(core.now)
    counts = " ".join(f"{axis}:{round(at * steps)}" for axis, at, steps in zip("XYZ", really, _STEPS_PER_MM, strict=False))
    return f"{shown} Count {counts}".encode()


COMMANDS: dict[bytes, Handler] = {
    b"G0": line,
    b"G1": line,
    b"G2": lambda core, args: arc(core, args, clockwise=True),
    b"G3": lambda core, args: arc(core, args, clockwise=False),
    b"G4": dwell,
    b"G28": home,
    b"G29": probe,
    b"G90": lambda core, _: modes(core, True, True),
    b"G91": lambda core, _: modes(core, False, False),
    b"G92": set_position,
    b"M17": lambda core, _: setattr(core, "motors", True),
    b"M18": motors_off,
    b"M82": lambda core, _: modes(core, None, True),
    b"M83": lambda core, _: modes(core, None, False),
    b"M84": motors_off,
    b"M114": report_position,
    b"M220": speed_factor,
    b"M400": fence,
    b"M410": quickstop,
}
