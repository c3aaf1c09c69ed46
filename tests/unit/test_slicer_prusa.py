"""The PrusaSlicer adapter against programs that stand in for PrusaSlicer: every way it can end has one meaning.

The stand-ins are real processes run through the real sandbox; the real PrusaSlicer is met in `test_slice.py`.
"""

import asyncio
import stat
from pathlib import Path

import pytest

from farmd.domain.slicing import SliceRejected, SlicerFailed, SlicerUnavailable
from farmd.pipeline.sandbox import Limits
from farmd.pipeline.slicers.engine import EngineVersion, Figures
from farmd.pipeline.slicers.prusa import PrusaSlicer, read_figures

pytestmark = pytest.mark.slow  # processes of their own

TAIL = """; filament used [mm] = 1206.86
; filament used [g] = 3.60
; estimated printing time (normal mode) = 1d 2h 3m 4s
; estimated printing time (silent mode) = 9d
"""
LIMITS = Limits(cpu_seconds=5, memory_bytes=2 << 30, file_bytes=1 << 20, wall_seconds=10)


def stand_in(tmp_path: Path, body: str) -> str:
    """A program that answers --help like PrusaSlicer 2.5.0 and otherwise does `body` ($out is its output file)."""
    script = tmp_path / "prusa-slicer"
    script.write_text(
        "#!/bin/bash\n"
        'if [ "$1" = --help ]; then echo run >> "$(dirname "$0")/probes"; echo "PrusaSlicer-2.5.0+x based on Slic3r"; exit; fi\n'
        'while [ $# -gt 0 ]; do [ "$1" = --output ] && out=$2; shift; done\n' + body
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def run(tmp_path: Path, body: str, limits: Limits = LIMITS, stages: list[float] | None = None) -> Figures:
    engine = PrusaSlicer(stand_in(tmp_path, body), limits)
    (tmp_path / "work").mkdir()
    heard = stages if stages is not None else []
    plate, settings, gcode = (tmp_path / "work" / name for name in ("plate.3mf", "settings.ini", "plate.gcode"))
    return asyncio.run(engine.slice(plate, settings, gcode, heard.append))


def test_figures_and_stages_are_read(tmp_path: Path) -> None:
    stages: list[float] = []
    body = (
        "for s in '10 => Processing triangulated mesh' '20 => Generating perimeters' '70 => Infilling layers' "
        "'30 => Preparing infill' '88 => Generating skirt and brim' '90 => Exporting G-code to x'; do echo \"$s\"; done\n"
        f"cat > $out <<'END'\n{TAIL}END\n"
    )
    assert run(tmp_path, body, stages=stages) == Figures(93784, 3.6, 1206.86)
    assert stages == sorted(stages)
    assert len(stages) == 5  # the stage that is announced after a later one is not told
    assert all(0 <= stage < 1 for stage in stages)


def test_the_command_line_confines_it(tmp_path: Path) -> None:
    body = f"cat > $out <<'END'\n{TAIL}END\n"
    command = stand_in(tmp_path, body)
    Path(command).write_text(Path(command).read_text().replace("while [", 'printf "%s|" "$@" > args\nwhile [', 1))
    work = tmp_path / "work"
    work.mkdir()
    asyncio.run(PrusaSlicer(command).slice(work / "p.3mf", work / "s.ini", work / "p.gcode", lambda _: None))
    args = (work / "args").read_text().split("|")
    assert args[args.index("--post-process") + 1] == ""
    assert args.index("--post-process") > args.index("--load")
    assert args[args.index("--load") + 1] == str(work / "s.ini")
    assert "--dont-arrange" in args
    assert args[-2] == str(work / "p.3mf")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("echo 'Objects could not fit on the bed' >&2; kill -ABRT $$", "does_not_fit"),
        ("kill -SEGV $$", "slicer_crashed"),
        ("echo 'error: The print is empty.' >&2; exit 1", "empty_print"),
        ("echo 'Loading of a model file failed.' >&2; exit 1", "model_unreadable"),
        ("echo 'failed due to invalid custom G-code sections' >&2; exit 1", "settings_refused"),
        ("echo 'something new' >&2; exit 1", "slicer_refused"),
        ("while :; do :; done", "too_complex"),
        ("exec cat /dev/zero > $out", "too_complex"),
    ],
)
def test_rejections(tmp_path: Path, body: str, code: str) -> None:
    with pytest.raises(SliceRejected) as caught:
        run(tmp_path, body, Limits(cpu_seconds=1, memory_bytes=2 << 30, file_bytes=1 << 20, wall_seconds=20))
    assert caught.value.code == code
    assert caught.value.cure


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sleep 60", "not done after 1 seconds"),
        ("kill -KILL $$", "SIGKILL"),
        ("kill -TERM $$; sleep 5", "SIGTERM"),
        ("echo 'G-code export failed. Is the disk full?' >&2; exit 1", "could not write"),
        ("exit 0", "wrote nothing"),
        ("echo 'G1 X1' > $out", "cut off"),
    ],
)
def test_failures_worth_another_try(tmp_path: Path, body: str, message: str) -> None:
    limits = Limits(cpu_seconds=5, memory_bytes=2 << 30, file_bytes=1 << 20, wall_seconds=1)
    with pytest.raises(SlicerFailed, match=message):
        run(tmp_path, body, limits)


def test_a_slicer_that_cannot_load_its_libraries_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(SlicerUnavailable, match="libwx"):
        run(tmp_path, "echo 'prusa-slicer: error while loading shared libraries: libwx.so' >&2; exit 127")


def test_the_version_is_asked_once(tmp_path: Path) -> None:
    engine = PrusaSlicer(stand_in(tmp_path, ""))

    async def ask() -> list[EngineVersion | None]:
        return list(await asyncio.gather(*(engine.probe() for _ in range(5))))

    assert asyncio.run(ask()) == [EngineVersion("prusaslicer", "2.5.0")] * 5
    assert (tmp_path / "probes").read_text().count("run") == 1


def test_a_missing_slicer_is_found_once_it_is_installed(tmp_path: Path) -> None:
    engine = PrusaSlicer(str(tmp_path / "prusa-slicer"))
    assert asyncio.run(engine.probe()) is None
    with pytest.raises(SlicerUnavailable, match="not installed"):
        asyncio.run(engine.slice(tmp_path / "a", tmp_path / "b", tmp_path / "c", lambda _: None))
    stand_in(tmp_path, "")
    assert asyncio.run(engine.probe()) == EngineVersion("prusaslicer", "2.5.0")


def test_another_program_is_not_taken_for_a_slicer(tmp_path: Path) -> None:
    assert asyncio.run(PrusaSlicer("true").probe()) is None
    assert list(tmp_path.iterdir()) == []


def test_figures_of_a_missing_file_are_a_failed_run(tmp_path: Path) -> None:
    with pytest.raises(SlicerFailed, match="wrote nothing"):
        read_figures(tmp_path / "none.gcode")
