"""Whole files through the real child process: what is accepted, what is refused and why, and what is left behind."""

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farmd.domain.model import ModelReport, Size
from farmd.pipeline import validate
from farmd.pipeline.mesh import MeshError, load_mesh
from farmd.pipeline.sandbox import Limits
from farmd.pipeline.validate import ModelRejected, ValidatorFailed, validate_model
from tests import models

pytestmark = pytest.mark.slow  # each starts a process

BED = Size(250, 210, 210)
SHAPES = Path("/usr/share/PrusaSlicer/shapes")
OCCT = Path("/usr/share/opencascade/data/stl")


@pytest.fixture(scope="module")
def bomb():
    return models.zip_bomb()


@pytest.fixture(scope="module")
def large_sphere():
    return models.stl(models.icosphere(8))


def accept(folder: Path, content: bytes, bed_limit: Size | None = BED) -> ModelReport:
    source = folder / "upload.bin"
    source.write_bytes(content)
    return asyncio.run(validate_model(source, folder / "geometry", bed_limit=bed_limit))


def refuse(folder: Path, content: bytes, bed_limit: Size | None = BED) -> dict[str, str]:
    """The codes and details of a refusal, after checking that each has a cure and that nothing was left behind."""
    with pytest.raises(ModelRejected) as rejection:
        accept(folder, content, bed_limit)
    assert {entry.name for entry in folder.iterdir()} == {"upload.bin"}
    assert all(defect.cure for defect in rejection.value.defects)
    return {defect.code: defect.detail for defect in rejection.value.defects}


@pytest.mark.parametrize("name", models.good())
def test_real_parts_are_accepted_as_one_closed_outward_mesh(name, tmp_path):
    report = accept(tmp_path, models.good()[name])

    mesh = load_mesh(tmp_path / "geometry")
    corners = mesh.vertices[mesh.triangles].astype(float)
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert report.triangles == len(mesh.triangles)
    assert report.watertight
    assert mesh.vertices.min(axis=0) == pytest.approx([0, 0, 0])
    assert mesh.vertices.max(axis=0) == pytest.approx([report.size.x, report.size.y, report.size.z])
    overlap = 2000 if name == "overlapping_bodies" else 0
    assert volume == pytest.approx(report.volume_mm3 + overlap, rel=1e-5)
    assert {entry.name for entry in tmp_path.iterdir()} == {"upload.bin", "geometry"}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nothing", "empty_file"),
        ("empty_stl", "no_faces"),
        ("garbage", "unknown_format"),
        ("truncated", "truncated"),
        ("truncated_ascii", "truncated"),
        ("lying_count", "truncated"),
        ("missing_triangle", "open_edges"),
        ("flipped_triangle", "inconsistent_winding"),
        ("not_a_number", "not_finite"),
        ("degenerate", "degenerate"),
        ("flat_plane", "flat"),
        ("component_bomb", "too_complex"),
        ("traversal", "archive_names"),
        ("absolute_name", "archive_names"),
        ("backslash_name", "archive_names"),
        ("doctype", "xml_doctype"),
    ],
)
def test_every_bad_file_is_refused_with_its_code(name, code, tmp_path):
    assert code in refuse(tmp_path, models.bad()[name])


def test_the_table_above_knows_every_bad_file():
    listed = next(mark for mark in test_every_bad_file_is_refused_with_its_code.pytestmark if mark.name == "parametrize")
    assert {name for name, _ in listed.args[1]} == set(models.bad())


def test_all_defects_are_told_at_once_with_figures_and_place(tmp_path):
    content = models.stl(models.box(300, 300, 300, at=(100, 0, 0))[:-1])
    defects = refuse(tmp_path, content)

    assert defects == {
        "too_large": "The model is 300 x 300 x 300 mm; the largest printer takes 250 x 210 x 210 mm.",
        "open_edges": "3 open edges around (100, 200, 200): the surface is not closed.",
    }


def test_a_part_fits_turned_by_a_quarter_but_not_laid_on_its_side(tmp_path):
    assert accept(tmp_path, models.stl(models.box(200, 240, 10))).size == Size(200, 240, 10)
    (tmp_path / "geometry").unlink()
    assert "too_large" in refuse(tmp_path, models.stl(models.box(10, 10, 230)))


def test_without_a_bed_only_absurd_sizes_are_refused(tmp_path):
    assert accept(tmp_path, models.stl(models.cube(900)), bed_limit=None).size.x == 900
    (tmp_path / "geometry").unlink()
    assert refuse(tmp_path, models.stl(models.cube(20_000)), bed_limit=None).keys() == {"wrong_unit"}


@pytest.mark.parametrize("size", [0.02, 0.787, 800])
def test_a_likely_wrong_unit_is_named(size, tmp_path):
    assert "wrong_unit" in refuse(tmp_path, models.stl(models.cube(size)))


def test_the_same_shape_makes_the_same_geometry_whatever_came_with_it(tmp_path):
    plain = accept(tmp_path, models.threemf(models.cube()))
    loaded = accept(tmp_path, models.post_process("/usr/bin/evil"))
    geometry = (tmp_path / "geometry").read_bytes()

    assert loaded.geometry_sha256 == plain.geometry_sha256
    assert b"evil" not in geometry
    assert b"post_process" not in geometry
    assert len(geometry) == 32 + 12 * 8 + 12 * 12  # a header, eight corners and twelve triangles: room for nothing else


def test_inside_out_is_turned_and_said(tmp_path):
    report = accept(tmp_path, models.inverted_cube())
    assert [notice.code for notice in report.warnings] == ["inverted"]
    assert report.volume_mm3 == pytest.approx(8000)


def test_one_body_of_two_inside_out_is_turned_but_a_cavity_is_kept(tmp_path):
    stray = accept(tmp_path, models.stl(models.together(models.cube(), models.inverted(models.cube(10, at=(40, 0, 0))))))
    assert stray.volume_mm3 == pytest.approx(9000)
    assert [notice.code for notice in stray.warnings] == ["inverted", "several_bodies"]

    hollow = accept(tmp_path, models.hollow_cube())
    assert (hollow.volume_mm3, hollow.bodies, hollow.warnings) == (pytest.approx(7000), 1, ())


def test_overlapping_bodies_are_noted_and_counted_once(tmp_path):
    report = accept(tmp_path, models.overlapping_bodies())
    assert [notice.code for notice in report.warnings] == ["several_bodies", "overlapping_bodies"]
    assert (report.bodies, report.volume_mm3) == (2, pytest.approx(14000))


def test_gaps_of_rounding_are_closed_but_real_ones_are_not(tmp_path):
    rounding = models.cube().copy()
    rounding[0] += 0.0004
    assert [notice.code for notice in accept(tmp_path, models.stl(rounding)).warnings] == ["gaps_closed"]
    (tmp_path / "geometry").unlink()

    gap = models.cube().copy()
    gap[0] += 0.1
    assert "open_edges" in refuse(tmp_path, models.stl(gap))


def test_repeated_triangles_are_left_out(tmp_path):
    report = accept(tmp_path, models.stl(models.together(models.cube(), models.cube())))
    assert [notice.code for notice in report.warnings] == ["repeated_triangles"]
    assert (report.triangles, report.volume_mm3) == (12, pytest.approx(8000))


def test_a_file_beyond_the_size_cap_is_refused_unread(tmp_path):
    source = tmp_path / "upload.bin"
    with source.open("wb") as stream:
        stream.truncate(200_000_001)
    with pytest.raises(ModelRejected) as rejection:
        asyncio.run(validate_model(source, tmp_path / "geometry", bed_limit=BED))
    assert rejection.value.defects[0].code == "file_too_big"


def test_a_zip_bomb_is_stopped_early(bomb, tmp_path):
    defects = refuse(tmp_path, bomb)
    assert "more than 100 times" in defects["archive_bomb"]  # said at a twentieth of it: the whole is 250 times its size


def test_a_zip_bomb_takes_little_memory(bomb, tmp_path):
    (tmp_path / "bomb").write_bytes(bomb)
    argv = [sys.executable, "-I", "-m", "farmd.pipeline.validate_child", str(tmp_path / "bomb"), str(tmp_path / "g"), ""]
    code = (
        f"import resource, subprocess; out = subprocess.run({argv!r}, check=True, capture_output=True).stdout.decode();"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, out)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    kilobytes, _, answer = told.partition(" ")
    assert "archive_bomb" in answer
    assert int(kilobytes) < 300_000


@pytest.mark.parametrize(
    "limits",
    [
        Limits(cpu_seconds=60, memory_bytes=500 << 20, file_bytes=1 << 30, wall_seconds=60),
        Limits(cpu_seconds=1, memory_bytes=4 << 30, file_bytes=1 << 30, wall_seconds=60),
        Limits(cpu_seconds=60, memory_bytes=4 << 30, file_bytes=1 << 20, wall_seconds=60),
        Limits(cpu_seconds=60, memory_bytes=4 << 30, file_bytes=1 << 30, wall_seconds=0.5),
    ],
    ids=["memory", "cpu", "file", "wall"],
)
def test_a_model_that_exhausts_its_limits_is_too_complex(limits, large_sphere, tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "LIMITS", limits)
    assert refuse(tmp_path, large_sphere).keys() == {"too_complex"}


def test_a_broken_reader_is_not_the_models_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(validate, "_CHILD", "farmd.pipeline.no_such_reader")
    with pytest.raises(ValidatorFailed, match="no_such_reader"):
        accept(tmp_path, models.stl(models.cube()))
    assert {entry.name for entry in tmp_path.iterdir()} == {"upload.bin"}


def test_a_missing_sandbox_is_not_a_missing_model(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValidatorFailed, match="setpriv is not installed"):
        accept(tmp_path, models.stl(models.cube()))


def test_a_missing_source_is_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        asyncio.run(validate_model(tmp_path / "gone.stl", tmp_path / "geometry", bed_limit=BED))


def test_a_refusal_leaves_an_older_geometry_alone(tmp_path):
    accept(tmp_path, models.stl(models.cube()))
    before = (tmp_path / "geometry").read_bytes()
    with pytest.raises(ModelRejected):
        accept(tmp_path, models.missing_triangle())
    assert (tmp_path / "geometry").read_bytes() == before


def test_a_cancelled_validation_leaves_nothing(tmp_path):
    (tmp_path / "upload.bin").write_bytes(models.stl(models.icosphere(7)))

    async def cancel_midway() -> None:
        task = asyncio.create_task(validate_model(tmp_path / "upload.bin", tmp_path / "geometry", bed_limit=BED))
        deadline = asyncio.get_running_loop().time() + 10
        while not list(tmp_path.glob(validate.WORKSPACE_PREFIX + "*")):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_midway())
    assert {entry.name for entry in tmp_path.iterdir()} == {"upload.bin"}


def test_a_damaged_geometry_file_is_noticed(tmp_path):
    accept(tmp_path, models.stl(models.cube()))
    whole = (tmp_path / "geometry").read_bytes()
    for damaged in (whole[:-1], whole + b"x", b"solid" + whole[5:], whole[:-1] + b"\xff", b""):
        (tmp_path / "geometry").write_bytes(damaged)
        with pytest.raises(MeshError, match="validate the model again"):
            load_mesh(tmp_path / "geometry")


@pytest.mark.parametrize("name", ["box", "bunny", "cone", "M3x10_screw", "M3_hex_nut", "torus", "PLA_recycling_symbol"])
def test_the_slicers_own_shapes_are_accepted(name, tmp_path):
    source = SHAPES / f"{name}.stl"
    if not source.is_file():
        pytest.skip("PrusaSlicer's shapes are not installed")
    report = accept(tmp_path, source.read_bytes(), bed_limit=None)
    assert report.bodies >= 1


@pytest.mark.parametrize(
    ("name", "code"),
    [("sh1", None), ("motor", None), ("bearing", "open_edges"), ("head", "open_edges"), ("propeller", "too_large")],
)
def test_real_text_stl_files(name, code, tmp_path):
    source = OCCT / f"{name}.stl"
    if not source.is_file():
        pytest.skip("occt-misc is not installed")
    if code is None:
        assert accept(tmp_path, source.read_bytes()).format == "stl-ascii"
    else:
        assert code in refuse(tmp_path, source.read_bytes())
