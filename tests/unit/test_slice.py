"""The real PrusaSlicer behind the slicing service: right figures, every copy, and none of its silent mistakes."""

import asyncio
import hashlib
import re
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import lib3mf
import numpy as np
import pytest

from farmd.domain.machines import MACHINES
from farmd.domain.model import Size
from farmd.domain.slicing import GateRefused, PrinterClass, SliceOptions, SliceRejected
from farmd.pipeline.gate import Expected, check_gcode
from farmd.pipeline.plate import capacity
from farmd.pipeline.printable import printable_height
from farmd.pipeline.slice import Plate, SliceService
from farmd.pipeline.slicers.prusa import PrusaSlicer
from farmd.pipeline.validate import validate_model
from tests.meshes import signed_volume, welded
from tests.models import Facets, box, icosphere, stl, threemf, together
from tests.waiting import until

PROFILES = Path(__file__).resolve().parents[2] / "config" / "profiles"
GENERIC = PrinterClass("generic-0.4", Size(250, 210, 210), 0.4)
MK3S = PrinterClass("mk3s-0.4", Size(250, 210, 210), 0.4)

pytestmark = [
    pytest.mark.slicer,
    pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="prusa-slicer is not installed"),
]


def pyramid(side: float, height: float) -> Facets:
    corners = np.array([(0, 0, 0), (side, 0, 0), (side, side, 0), (0, side, 0), (side / 2, side / 2, height)], float)
    return corners[np.array([(0, 2, 1), (0, 3, 2), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)])]


class Bench:
    """A service over the real slicer, and models put on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.service = SliceService(PrusaSlicer(), root / "cache", PROFILES, workers=2)

    async def ask(
        self,
        facets: Facets,
        options: SliceOptions | None = None,
        cls: PrinterClass = GENERIC,
        copies: int = 1,
        volume: float | None = None,
    ) -> Plate:
        mesh = welded(facets)
        geometry = self.root / f"{len(facets)}-{facets.sum():.3f}.mesh"
        mesh.save(geometry)
        size = Size(*(float(length) for length in mesh.vertices.max(axis=0)))
        volume = signed_volume(mesh) if volume is None else volume
        return await self.service.artifact(geometry, geometry.name, size, volume, options or SliceOptions(), cls, copies)

    def slice(self, *arguments: object, **named: object) -> Plate:
        return asyncio.run(self.ask(*arguments, **named))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(("cls", "minutes"), [(GENERIC, 22), (MK3S, 29)])
def test_a_cube_has_the_known_weight_and_time(bench: Bench, cls: PrinterClass, minutes: int) -> None:
    artifact, path = bench.slice(box(), cls=cls)
    assert artifact.estimate.filament_grams == pytest.approx(3.7, abs=0.15)
    assert artifact.estimate.seconds / 60 == pytest.approx(minutes, abs=4)
    assert artifact.estimate.height_mm == 20
    text = path.read_text()
    assert "; fill_density = 15%" in text
    assert "; layer_height = 0.2" in text
    assert text.index("M140 S0") > text.index(";LAYER_CHANGE")


BAMBU = [
    PrinterClass(profile, MACHINES[machine].bed, 0.4, machine)
    for profile, machine in (
        ("bambu-p1s-0.4", "P1S"),
        ("bambu-x1c-0.4", "X1C"),
        ("bambu-a1-0.4", "A1"),
        ("bambu-a1-mini-0.4", "A1MINI"),
        ("bambu-p1s-0.4", "P1P"),
        ("bambu-x1c-0.4", "X1E"),
    )
]


@pytest.mark.parametrize("cls", BAMBU, ids=lambda cls: cls.machine)
def test_a_cube_for_a_bambu_printer_is_a_file_others_can_read(bench: Bench, cls: PrinterClass) -> None:
    options = SliceOptions(material="PETG", color="#1a1a1a")
    artifact, path = bench.slice(box(), options, cls, copies=2)
    assert path.name.endswith(".gcode.3mf")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        gcode = archive.read("Metadata/plate_1.gcode")
        told = archive.read("Metadata/slice_info.config").decode()
        assert archive.read("Metadata/plate_1.gcode.md5").decode() == hashlib.md5(gcode, usedforsecurity=False).hexdigest().upper()
    model = lib3mf.get_wrapper().CreateModel()
    model.QueryReader("3mf").ReadFromFile(str(path))
    assert f'key="printer_model_id" value="{MACHINES[cls.machine].code}"' in told
    assert f'key="prediction" value="{artifact.estimate.seconds}"' in told
    text = gcode.decode()
    head, _, commands = text.partition("; EXECUTABLE_BLOCK_START\n")
    layers = commands.count("\n;LAYER_CHANGE")
    assert f"; total layer number: {layers}\n" in head
    assert re.findall(r"^M73 L(\d+)$", commands, re.MULTILINE) == [str(number) for number in range(1, layers + 1)]
    assert re.findall(r"^M991 S0 P(\d+)$", commands, re.MULTILINE) == [str(number) for number in range(layers)]
    assert commands.index("\nG28\n") < commands.index("\nM620 S0A\n") < commands.index("\nG29 ") < commands.index("\n;LAYER_CHANGE")
    assert commands.endswith("M73 P100 R0\n; EXECUTABLE_BLOCK_END\n")
    ends = re.findall(r"^(M104|M109|M140|M190) S(\d+)", commands, re.MULTILINE)
    assert [value for name, value in ends if name in ("M140", "M190")][-1] == "0"
    assert [value for name, value in ends if name in ("M104", "M109")][-1] == "0"


@pytest.mark.parametrize("cls", BAMBU, ids=lambda cls: cls.machine)
@pytest.mark.parametrize("choice", [("fine", "ABS"), ("draft", "TPU"), ("standard", "PLA"), ("draft", "ASA")])
def test_the_gate_passes_every_choice_for_a_bambu_printer(bench: Bench, cls: PrinterClass, choice: tuple[str, str]) -> None:
    quality, material = choice
    bench.slice(box(12, 12, 6), SliceOptions(quality, 20, material, "#1a1a1a"), cls=cls)


@pytest.mark.parametrize("cls", [BAMBU[0], BAMBU[3]], ids=lambda cls: cls.machine)
def test_a_full_bed_of_a_bambu_printer_passes_too(bench: Bench, cls: PrinterClass) -> None:
    copies = capacity(Size(59, 59, 1), cls)
    artifact, _ = bench.slice(box(59, 59, 1), SliceOptions(quality="draft", infill=0), cls, copies)
    assert artifact.copies == copies == (15 if cls.machine == "P1S" else 4)


def test_copies_stand_apart_and_are_labelled(bench: Bench) -> None:
    artifact, path = bench.slice(box(), copies=3)
    assert artifact.copies == 3
    labels = set(re.findall(r"^; printing object (.+)$", path.read_text(), re.MULTILINE))
    assert labels == {f"part id:0 copy {copy}" for copy in range(3)}
    assert artifact.estimate.filament_grams == pytest.approx(3 * 3.6, abs=0.4)


def test_a_turned_copy_is_printed_where_it_was_placed(bench: Bench) -> None:
    bar = PrinterClass("generic-0.4", Size(60, 210, 210), 0.4)  # the bar fits only when turned
    artifact, _ = bench.slice(box(180, 12, 4), cls=bar)
    bbox = artifact.bbox
    assert (bbox.max_x - bbox.min_x, bbox.max_y - bbox.min_y) == pytest.approx((12, 180), abs=1)
    assert (bbox.min_x + bbox.max_x) / 2 == pytest.approx(30, abs=0.2)


def test_a_full_bed_is_laid_out_without_the_slicer_complaining(bench: Bench) -> None:
    copies = capacity(Size(48, 40, 1), GENERIC)
    artifact, _ = bench.slice(box(48, 40, 1), SliceOptions(quality="draft"), copies=copies)
    assert artifact.copies == copies == 19


@pytest.mark.parametrize("infill", [0, 1, 50, 100])
def test_the_gate_passes_any_infill(bench: Bench, infill: int) -> None:
    bench.slice(box(), SliceOptions(infill=infill))


@pytest.mark.parametrize("quality", ["draft", "fine"])
@pytest.mark.parametrize("material", ["PETG", "ASA", "ABS", "TPU"])
@pytest.mark.parametrize("cls", [GENERIC, MK3S])
def test_the_gate_passes_every_shipped_choice(bench: Bench, quality: str, material: str, cls: PrinterClass) -> None:
    artifact, path = bench.slice(box(12, 12, 6), SliceOptions(quality, 20, material, "#1a1a1a"), cls=cls)
    assert artifact.estimate.filament_grams > 0
    assert "; extruder_colour = #1A1A1A" in path.read_text()


@pytest.mark.parametrize(
    "facets",
    [
        pytest.param(icosphere(3, 4), id="small ball"),
        pytest.param(icosphere(4, 40), id="large ball"),
        pytest.param(box(60, 60, 0.6), id="thin plate"),
        pytest.param(box(3, 3, 60), id="needle"),
        pytest.param(box(10, 10, 2), id="box whose binary STL PrusaSlicer refuses"),
        pytest.param(box(60, 1.2, 20), id="wall"),
        pytest.param(box(20, 20, 20.07), id="height between layers"),
        pytest.param(pyramid(10, 40), id="sharp tip"),
        pytest.param(together(pyramid(10, 40), np.add(pyramid(8, 40), (20, 0, 0))), id="two sharp tips"),
    ],
)
def test_honest_models_pass_the_gate(bench: Bench, facets: Facets) -> None:
    bench.slice(facets)


def test_real_models_pass_the_gate(bench: Bench) -> None:
    shapes = Path("/usr/share/PrusaSlicer/shapes")
    if not shapes.is_dir():
        pytest.skip(f"{shapes} is not installed")

    async def through_the_pipeline(name: str) -> Plate:
        geometry = bench.root / f"{name}.mesh"
        report = await validate_model(shapes / name, geometry, bed_limit=Size(240, 200, 210))
        return await bench.service.artifact(
            geometry, report.geometry_sha256, report.size, report.volume_mm3, SliceOptions(), GENERIC, 1
        )

    for name in ("bunny.stl", "torus.stl", "M3x10_screw.stl", "cone.stl"):
        if (shapes / name).exists():
            artifact, _ = asyncio.run(through_the_pipeline(name))
            assert artifact.copies == 1, name


def test_a_part_taller_than_the_printer_never_reaches_the_slicer(bench: Bench) -> None:
    with pytest.raises(SliceRejected, match="do not fit") as caught:
        bench.slice(box(20, 20, 400))
    assert caught.value.code == "does_not_fit"


def raw_slice(directory: Path, model: bytes, *arguments: str, name: str = "model.stl") -> Path:
    """PrusaSlicer as a shop would call it, without farmd: the mistakes it reports as success."""
    (directory / name).write_bytes(model)
    out = directory / "raw.gcode"
    base = ["prusa-slicer", "--load", str(PROFILES / "generic-0.4.ini"), *arguments]
    done = subprocess.run([*base, "-g", "-o", str(out), str(directory / name)], cwd=directory, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def cube_of(height: float, **changes: object) -> Expected:
    known = {
        "height": height, "least_height": height, "copies": 1, "volume_mm3": 400 * height,
        "area_mm2": 800 + 80 * height, "infill": 0.15, "layer_height": 0.2, "skin": 1.2, "nozzle": 0.4,
        "filament_diameter": 1.75, "flow": 1.0, "bed": Size(220, 220, 250), "nozzle_max_c": 235, "bed_max_c": 70,
    }  # fmt: skip
    return Expected(**(known | changes))


def test_the_gate_refuses_what_prusaslicer_calls_a_success(tmp_path: Path) -> None:
    tall = raw_slice(tmp_path, stl(box(20, 20, 300)))
    with pytest.raises(GateRefused) as caught:
        check_gcode(tall, cube_of(300.0))
    assert caught.value.code == "too_tall"
    off_the_bed = raw_slice(tmp_path, stl(box()), "--dont-arrange", "--center", "0,100")
    with pytest.raises(GateRefused) as caught:
        check_gcode(off_the_bed, cube_of(20.0))
    assert caught.value.code == "outside_bed"
    two_of_twenty = raw_slice(tmp_path, stl(np.delete(box(), 5, axis=0)))
    with pytest.raises(GateRefused) as caught:
        check_gcode(two_of_twenty, cube_of(20.0))
    assert caught.value.code == "wrong_height"


def test_a_hole_in_the_geometry_is_caught_behind_the_slicer(bench: Bench) -> None:
    """Validation refuses such a model; should one ever slip through, the gate still does."""
    with pytest.raises((GateRefused, SliceRejected)) as caught:
        bench.slice(np.delete(box(), 5, axis=0), volume=8000.0)
    assert caught.value.code in {"wrong_height", "wrong_volume", "slicer_refused"}


def test_a_hostile_3mf_runs_nothing_here_and_would_have_elsewhere(bench: Bench) -> None:
    """CVE-2023-47268: a 3MF's own settings can name a program to run after slicing."""
    mark, script = bench.root / "mark", bench.root / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    # PrusaSlicer skips the first line of such a file.
    config = f"; generated by PrusaSlicer 2.5.0\n; post_process = {script}\n; start_gcode = M112\n"
    hostile = threemf(box(), extra={"Metadata/Slic3r_PE.config": config})
    (bench.root / "raw").mkdir()
    subprocess.run(
        ["prusa-slicer", "-g", "-o", str(bench.root / "raw" / "x.gcode"), "hostile.3mf"],
        cwd=_written(bench.root / "raw", hostile), capture_output=True, check=True,
    )  # fmt: skip
    assert mark.exists(), "the file is not hostile to this PrusaSlicer: the rest of this test would prove nothing"
    mark.unlink()

    async def our_way() -> Path:
        source, geometry = bench.root / "raw" / "hostile.3mf", bench.root / "hostile.mesh"
        report = await validate_model(source, geometry, bed_limit=None)
        size, volume = report.size, report.volume_mm3
        _, path = await bench.service.artifact(geometry, report.geometry_sha256, size, volume, SliceOptions(), GENERIC, 1)
        return path

    path = asyncio.run(our_way())
    assert not mark.exists()
    assert str(script) not in path.read_text()
    assert "M112" not in path.read_text()

    async def even_if_handed_over() -> None:
        work = bench.root / "work"
        work.mkdir()
        settings = work / "settings.ini"
        settings.write_text((PROFILES / "generic-0.4.ini").read_text().replace("post_process =", ""))
        await PrusaSlicer().slice(bench.root / "raw" / "hostile.3mf", settings, work / "out.gcode", lambda _: None)

    asyncio.run(even_if_handed_over())
    assert not mark.exists()


@pytest.mark.parametrize(
    ("facets", "height"),
    [
        (box(), 20.0),
        (np.delete(box(), 5, axis=0), 20.0),  # a hole in it must not lower what is expected
        (pyramid(10, 40), 38.3),  # 0.4 mm wide 1.6 mm below the tip
        (icosphere(4, 10), 20.0),
    ],
)
def test_how_high_a_model_can_be_printed(facets: Facets, height: float) -> None:
    assert printable_height(welded(facets), 0.4, 0.2) == pytest.approx(height, abs=0.15)


def _written(directory: Path, hostile: bytes) -> Path:
    (directory / "hostile.3mf").write_bytes(hostile)
    return directory


def test_cancelling_kills_the_real_slicer_within_a_second(bench: Bench) -> None:
    async def scenario() -> None:
        engine_files = bench.root / "cache" / "work"
        task = asyncio.create_task(bench.ask(icosphere(7, 60), SliceOptions("fine", 40)))
        await until(lambda: slicers(engine_files))
        before = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - before < 1
        assert not slicers(engine_files)
        assert list(engine_files.iterdir()) == []

    asyncio.run(scenario())


def slicers(work: Path) -> list[str]:
    """Processes of the machine that slice into `work`."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = line.read_bytes().decode("utf-8", "replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "prusa-slicer" in words[0] and any(str(work) in word for word in words):
            found.append(line.parent.name)
    return found


def test_thirty_equal_requests_slice_once_and_two_options_twice(bench: Bench) -> None:
    async def scenario() -> None:
        plates = await asyncio.gather(*(bench.ask(box()) for _ in range(30)))
        assert len(set(plates)) == 1
        other = await bench.ask(box(), SliceOptions(infill=16))
        assert other[0].key != plates[0][0].key

    asyncio.run(scenario())
    assert len(list((bench.root / "cache").glob("*.gcode"))) == 2
