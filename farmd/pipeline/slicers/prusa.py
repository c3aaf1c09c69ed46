"""PrusaSlicer, driven from its command line: one process per plate, confined, with every setting spelled out.

Its return codes are honest about models and settings, and its signals mean "this geometry breaks me", so both become
rejections. What it says on success is not believed here either: the G-code gate comes after.
This adapter must never hand it anything but our own plate file, nor run it without an empty `--post-process`.
"""

import asyncio
import re
import signal
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import structlog

from farmd.domain.slicing import SliceRejected, SlicerFailed, SlicerUnavailable
from farmd.pipeline.sandbox import Finished, Limits, run_limited
from farmd.pipeline.slicers.engine import EngineVersion, Figures

SLICE_LIMITS = Limits(cpu_seconds=900, memory_bytes=4 << 30, file_bytes=1 << 30, wall_seconds=1800)
PROBE_LIMITS = Limits(cpu_seconds=20, memory_bytes=4 << 30, file_bytes=1 << 20, wall_seconds=30)
TAIL_BYTES = 64 * 1024

# The stages as they are announced, in their real order (the numbers on the lines jump back and forth).
STAGES = ("Processing", "Generating perimeters", "Preparing infill", "Infilling", "Generating skirt", "Exporting")
STAGE_LINE = re.compile(r"\d+ => (.+)")
SIZE_ANSWER = "Choose a smaller part, a larger printer, or fewer copies."

# (what it says, our code, what to do); the first that matches tells.
REFUSALS = (
    ("could not fit on the bed", "does_not_fit", SIZE_ANSWER),
    ("outside of the print volume", "does_not_fit", SIZE_ANSWER),
    ("print is empty", "empty_print", "Its walls may be thinner than the nozzle: make them at least 0.8 mm thick."),
    ("no extrusions", "empty_print", "Its walls may be thinner than the nozzle: make them at least 0.8 mm thick."),
    ("Loading of a model file failed", "model_unreadable", "Repair the model and upload it again."),
    ("bad_alloc", "too_complex", "Simplify the model: fewer triangles, less detail."),
    ("custom G-code", "settings_refused", "Correct the start or end G-code of the printer's profile."),
    ("Error while reading config file", "settings_refused", "Correct the printer's profile."),
    ("Invalid value", "settings_refused", "Correct the printer's profile."),
    ("fill pattern", "settings_refused", "Choose another infill pattern in the profile."),
)
DISK_FULL = ("disk full", "No space left", "disk quota")
ENDED_BY_OTHERS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
LIMIT_SIGNALS = {signal.SIGXCPU: "more than the CPU time allowed", signal.SIGXFSZ: "more than the file size allowed"}

log = structlog.get_logger()


class PrusaSlicer:
    """The engine `prusaslicer`. `command` is the program's name or path."""

    def __init__(self, command: str = "prusa-slicer", limits: Limits = SLICE_LIMITS) -> None:
        self._command = command
        self._limits = limits
        self._version: EngineVersion | None = None
        self._probing = asyncio.Lock()

    async def probe(self) -> EngineVersion | None:
        async with self._probing:
            if self._version is None:
                self._version = await self._ask_version()
            return self._version

    async def slice(self, plate: Path, settings: Path, gcode: Path, on_stage: Callable[[float], None]) -> Figures:
        argv = [self._command, "--load", str(settings), "--datadir", str(gcode.parent), "--dont-arrange"]
        # Last, so that it wins over whatever any file says: nothing ever runs after slicing.
        argv += ["--export-gcode", "--output", str(gcode), "--post-process", "", str(plate)]
        finished = await self._run(argv, gcode.parent, self._limits, _stage_listener(on_stage))
        _judge(finished, self._limits)
        return read_figures(gcode)

    async def _ask_version(self) -> EngineVersion | None:
        try:
            finished = await self._run([self._command, "--help"], Path(gettempdir()), PROBE_LIMITS, None)
        except SlicerUnavailable as absent:
            log.warning("slicer_unavailable", reason=str(absent))
            return None
        found = re.search(r"PrusaSlicer-(\d[^\s+]*)", finished.stdout)
        if found is None:
            log.warning("slicer_unavailable", command=self._command, reason=_last_words(finished))
            return None
        return EngineVersion("prusaslicer", found[1])

    async def _run(self, argv: list[str], cwd: Path, limits: Limits, on_line: Callable[[str], None] | None) -> Finished:
        try:
            finished = await run_limited(argv, cwd=cwd, limits=limits, on_line=on_line)
        except (FileNotFoundError, PermissionError) as error:
            self._version = None
            raise SlicerUnavailable(f"{error}; jobs wait until then") from error
        if finished.returncode in {126, 127}:
            self._version = None
            raise SlicerUnavailable(f"{self._command} cannot start: {_last_words(finished)}")
        return finished


def read_figures(gcode: Path) -> Figures:
    """The figures PrusaSlicer leaves at the end of its file. Raises SlicerFailed when they are not there."""
    try:
        with gcode.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - TAIL_BYTES))
            tail = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        raise SlicerFailed("the slicer reported success and wrote nothing") from None
    time = re.search(r"^; estimated printing time \(normal mode\) = (.+)$", tail, re.MULTILINE)
    millimetres = re.search(r"^; filament used \[mm\] = ([\d.]+)", tail, re.MULTILINE)
    grams = re.search(r"^; (?:total )?filament used \[g\] = ([\d.]+)", tail, re.MULTILINE)
    if not (time and millimetres and grams):
        raise SlicerFailed("the G-code ends without the slicer's estimates: it was cut off, or another slicer made it")
    return Figures(_seconds(time[1]), float(grams[1]), float(millimetres[1]))


def _seconds(text: str) -> int:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([dhms])", text))


def _stage_listener(on_stage: Callable[[float], None]) -> Callable[[str], None]:
    furthest = -1

    def hear(line: str) -> None:
        nonlocal furthest
        announced = STAGE_LINE.fullmatch(line.strip())
        if announced is None:
            return
        stage = next((place for place, name in enumerate(STAGES) if announced[1].startswith(name)), -1)
        if stage > furthest:
            furthest = stage
            on_stage(stage / len(STAGES))

    return hear


def _judge(finished: Finished, limits: Limits) -> None:
    """Return on success; else raise what this end means for the job."""
    said = _last_words(finished)
    if finished.timed_out:
        raise SlicerFailed(f"the slicer was not done after {limits.wall_seconds:g} seconds")
    if finished.returncode < 0:
        _judge_signal(signal.Signals(-finished.returncode), said)
    if finished.returncode != 0:
        output = f"{finished.stderr}\n{finished.stdout}"
        if any(phrase in output for phrase in DISK_FULL):
            raise SlicerFailed(f"the slicer could not write its file: {said}")
        for phrase, code, cure in REFUSALS:
            if phrase in output:
                raise SliceRejected(code, f"the slicer says: {said}", cure)
        raise SliceRejected("slicer_refused", f"the slicer says: {said}", "Repair the model, or change its options.")


def _judge_signal(number: signal.Signals, said: str) -> None:
    if number in ENDED_BY_OTHERS:
        raise SlicerFailed(f"the slicer was killed ({number.name}), perhaps by the system being out of memory")
    if number in LIMIT_SIGNALS:
        detail = f"slicing it takes {LIMIT_SIGNALS[number]}"
        raise SliceRejected("too_complex", detail, "Simplify the model: fewer triangles, less detail.")
    if "could not fit on the bed" in said:
        raise SliceRejected("does_not_fit", f"the slicer says: {said}", SIZE_ANSWER)
    raise SliceRejected(
        "slicer_crashed",
        f"the slicer crashes on this model ({number.name}): {said}",
        "Repair the model (its faces may cross each other) and upload it again.",
    )


def _last_words(finished: Finished) -> str:
    """The last line that says something, errors before progress."""
    for text in (finished.stderr, finished.stdout):
        for line in reversed(text.splitlines()):
            if line.strip() and "[trace]" not in line and not STAGE_LINE.fullmatch(line.strip()):
                return line.strip()[:300]
    return "nothing"
