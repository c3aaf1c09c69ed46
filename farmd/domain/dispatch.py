"""Which plate goes to which printer, and why not the others.

Pure. Hard rules first (`refusals`), each with its reason in an owner's words; then a due-date-aware ranking, Apparent Tardiness
Cost with Setups (Lee & Pinedo, EJOR 100, 1997): weight over work, discounted by slack and by the filament change a choice costs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log

from farmd.domain.spools import Spool, loaded, same_word, spool_for

K_SLACK = 0.5
K_SETUP = 1.0
SETUP_SECONDS = 1200.0
"""What a filament change costs an operator."""


@dataclass(frozen=True, slots=True)
class PrinterView:
    """A printer as dispatch sees it. `material` and `color` are what a person said; `spools`, where the machine tells them itself,
    are believed instead."""

    id: str
    class_key: str
    online: bool
    idle: bool
    phase: str
    bed: str  # clear | occupied | unknown | reserved
    enabled: bool
    material: str | None
    color: str | None
    nozzle: float
    volume: tuple[float, float, float]
    profile: str
    holding: str | None = None  # id of the attempt that has it
    quarantined: str | None = None  # why
    last_color: str | None = None
    spools: tuple[Spool, ...] | None = None


@dataclass(frozen=True, slots=True)
class PlateView:
    """A plate that waits. `seconds` and `grams` are the slicer's estimates per printer class; a class that is missing was
    not sliced for."""

    id: str
    job_id: str
    order_id: str
    material: str
    color: str
    size: tuple[float, float, float]
    seconds: Mapping[str, int]
    due: float  # seconds from now, negative when late
    age: float  # seconds since the order was paid
    weight: float = 1.0
    nozzle: float | None = None
    profile: str | None = None
    avoid: frozenset[str] = frozenset()  # printers this plate failed on
    grams: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A rule that keeps a plate off a printer."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Match:
    """The chosen pair, and the slot of the spool to print with where the machine has several."""

    plate_id: str
    printer_id: str
    slot: str | None = None


def fits(size: tuple[float, float, float], volume: tuple[float, float, float]) -> bool:
    """Whether a part (mm) fits a build volume as it stands or turned by 90 degrees."""
    x, y, z = size
    return z <= volume[2] and ((x <= volume[0] and y <= volume[1]) or (y <= volume[0] and x <= volume[1]))


def _mm(size: tuple[float, float, float]) -> str:
    return " x ".join(f"{side:g}" for side in size) + " mm"


def misfits(plate: PlateView, printer: PrinterView) -> list[Refusal]:
    """Rules about what the printer is and has loaded; they stay true until a person changes something."""
    found = []
    if not fits(plate.size, printer.volume):
        found.append(Refusal("volume", f"the part ({_mm(plate.size)}) does not fit the build volume ({_mm(printer.volume)})"))
    if plate.profile and plate.profile != printer.profile:
        found.append(Refusal("profile", f"needs the profile {plate.profile}, the printer has {printer.profile}"))
    if plate.nozzle and plate.nozzle != printer.nozzle:
        found.append(Refusal("nozzle", f"needs a {plate.nozzle} mm nozzle, the printer has {printer.nozzle} mm"))
    found += _by_word(plate, printer) if printer.spools is None else _by_sight(plate, printer, printer.spools)
    if not found and printer.class_key not in plate.seconds:
        found.append(Refusal("not_sliced", "this plate's layout is not sliced for this kind of printer"))
    return found


def _by_word(plate: PlateView, printer: PrinterView) -> list[Refusal]:
    """The filament a person said is loaded. While a printer of which nobody said anything is away, it may hold what is needed."""
    if not printer.online and printer.material is None and printer.color is None:
        return []
    found = []
    if not same_word(printer.material, plate.material):
        found.append(Refusal("material", f"needs {plate.material}, the printer has {printer.material or 'nothing'} loaded"))
    if not same_word(printer.color, plate.color):
        found.append(Refusal("color", f"needs colour {plate.color}, the printer has {printer.color or 'none'} loaded"))
    return found


def _by_sight(plate: PlateView, printer: PrinterView, spools: Sequence[Spool]) -> list[Refusal]:
    """The filaments the machine says are loaded."""
    if slot_for(plate, printer) is not None:
        return []
    rule = "material"
    if alike := [spool for spool in spools if same_word(spool.material, plate.material)]:
        rule = "spool" if any(same_word(spool.color, plate.color) for spool in alike) else "color"
    return [Refusal(rule, f"needs {plate.material} {plate.color}; loaded: {loaded(spools)}")]


def slot_for(plate: PlateView, printer: PrinterView) -> str | None:
    """The slot this printer would feed this plate from; None when none will do, or where the machine tells nothing."""
    grams = plate.grams.get(printer.class_key, 0.0)
    spool = spool_for(printer.spools or (), plate.material, plate.color, grams)
    return spool.slot if spool else None


def refusals(plate: PlateView, printer: PrinterView) -> list[Refusal]:
    """Every rule that keeps this plate off this printer now; empty means it may start."""
    found = []
    if not printer.enabled:
        found.append(Refusal("disabled", "the printer is disabled; enable it to use it"))
    if printer.quarantined:
        found.append(Refusal("quarantined", printer.quarantined))
    if not printer.online:
        found.append(Refusal("offline", f"the printer is {printer.phase}"))
    elif printer.holding:
        found.append(Refusal("busy", f"the printer works on {printer.holding}"))
    elif not printer.idle:
        found.append(Refusal("busy", f"the printer is {printer.phase} with something farmd did not start"))
    if printer.bed != "clear" and not printer.holding:
        found.append(Refusal("bed", f"the bed is {printer.bed}; look at it, empty it and confirm with clear-bed"))
    if printer.id in plate.avoid:
        found.append(Refusal("failed_here", "this plate failed on this printer before; another one gets the next try"))
    return found + misfits(plate, printer)


def index(plate: PlateView, printer: PrinterView, mean_seconds: float) -> float:
    """The ATCS priority of printing this plate on this printer now; greater is sooner. As a logarithm, since what is due in days is
    worth less than the smallest number otherwise; by the quickest kind of printer, since a slow one makes nothing more urgent."""
    work = max(min(plate.seconds.values()), 60)
    slack = max(plate.due - work, 0.0)
    setup = SETUP_SECONDS if printer.last_color is not None and printer.last_color != plate.color else 0.0
    weight = plate.weight * (1.0 + plate.age / 86_400.0)
    return log(weight / work) - slack / (K_SLACK * mean_seconds) - setup / (K_SETUP * SETUP_SECONDS)


def relaxed(plate: PlateView, printers: Sequence[PrinterView]) -> PlateView:
    """A plate that failed on every printer it fits, of those in work, may go back to one of them."""
    if not plate.avoid:
        return plate
    in_work = (printer for printer in printers if printer.enabled and printer.online and not printer.quarantined)
    able = [printer for printer in in_work if not misfits(plate, printer)]
    if able and all(printer.id in plate.avoid for printer in able):
        return replace(plate, avoid=frozenset())
    return plate


def _mean_seconds(plates: Iterable[PlateView]) -> float:
    every = [seconds for plate in plates for seconds in plate.seconds.values()]
    return max(sum(every) / len(every), 60.0) if every else 60.0


def assign(plates: Iterable[PlateView], printers: Sequence[PrinterView]) -> list[Match]:
    """Pairs to start now, each plate and each printer at most once, best first; of equally good printers the quickest."""
    waiting = [relaxed(plate, printers) for plate in plates]
    free = [p for p in printers if p.enabled and p.online and p.idle and not p.holding and p.bed == "clear" and not p.quarantined]
    if not waiting or not free:
        return []
    mean = _mean_seconds(waiting)
    ranked = sorted(
        ((index(plate, printer, mean), plate, printer) for printer in free for plate in waiting if not refusals(plate, printer)),
        key=lambda entry: (-entry[0], entry[1].seconds[entry[2].class_key], entry[1].id, entry[2].id),
    )
    used: set[str] = set()
    matches = []
    for _, plate, printer in ranked:
        if plate.id not in used and printer.id not in used:
            used.update((plate.id, printer.id))
            matches.append(Match(plate.id, printer.id, slot_for(plate, printer)))
    return matches


def place_in_queue(plate: PlateView, others: Iterable[PlateView], printer: PrinterView) -> int:
    """1 for the plate this printer would take first among those it may ever take; `others` are all that wait, by the order of which
    `assign` decides."""
    others = list(others)
    mean = _mean_seconds(others)
    mine = index(plate, printer, mean)
    ahead = (other for other in others if other.id != plate.id and not misfits(other, printer))
    return 1 + sum(1 for other in ahead if (index(other, printer, mean), plate.id) > (mine, other.id))
