"""Plates: every layout is checked against a second opinion, and the plate file holds what it should and nothing else."""

import io
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farmd.domain.model import Size
from farmd.domain.slicing import Placement, PrinterClass
from farmd.pipeline.mesh import Mesh
from farmd.pipeline.plate import EDGE_MARGIN_MM, GAP_MM, MOST_COPIES, capacity, check, layout, split, usable
from farmd.pipeline.slicers.plate_file import write_plate
from farmd.pipeline.worker import roomy
from tests.meshes import welded
from tests.models import box, icosphere

MK3 = PrinterClass("mk3s-0.4", Size(250, 210, 210), 0.4)
CORE = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"


def test_how_many_fit() -> None:
    assert capacity(Size(20, 20, 20), MK3) == 80
    assert capacity(Size(240, 200, 210), MK3) == 1
    assert capacity(Size(200, 240, 10), MK3) == 1  # only when turned
    assert capacity(Size(241, 20, 20), MK3) == 0
    assert capacity(Size(20, 20, 211), MK3) == 0
    assert capacity(Size(1, 1, 1), MK3) == MOST_COPIES
    assert capacity(Size(10, 10, 10), PrinterClass("tiny", Size(8, 8, 8), 0.4)) == 0


def test_turning_some_parts_makes_room_for_more_than_any_grid() -> None:
    assert capacity(Size(48, 40, 10), MK3) == 19  # in rows it is 16
    assert capacity(Size(27, 20, 10), MK3) == 64  # where the grid is the better plan


def test_one_part_stands_in_the_middle() -> None:
    assert layout(Size(20, 30, 5), 1, MK3) == (Placement(115.0, 90.0, 0),)


def test_too_many_are_refused_and_nonsense_is_an_error() -> None:
    assert layout(Size(20, 20, 20), 81, MK3) is None
    assert layout(Size(20, 20, 300), 1, MK3) is None
    with pytest.raises(ValueError, match="plate of 0 copies"):
        layout(Size(20, 20, 20), 0, MK3)


def footprint(size: Size, spot: Placement) -> tuple[float, float, float, float]:
    wide, deep = (size.y, size.x) if spot.rotation_deg else (size.x, size.y)
    return spot.x, spot.y, spot.x + wide, spot.y + deep


sides = st.floats(1, 260, allow_nan=False, width=32)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.integers(1, 30))
def test_no_layout_overlaps_or_leaves_the_bed(x: float, y: float, copies: int) -> None:
    size = Size(x, y, 10)
    spots = layout(size, copies, MK3)
    assert (spots is not None) == (copies <= capacity(size, MK3))
    for place, spot in enumerate(spots or ()):
        x0, y0, x1, y1 = footprint(size, spot)
        assert min(x0, y0) >= EDGE_MARGIN_MM - 0.02
        assert x1 <= 250 - EDGE_MARGIN_MM + 0.02
        assert y1 <= 210 - EDGE_MARGIN_MM + 0.02
        for other in (spots or ())[:place]:
            u0, v0, u1, v1 = footprint(size, other)
            assert max(u0 - x1, x0 - u1, v0 - y1, y0 - v1) >= GAP_MM - 0.05


@pytest.mark.parametrize(
    ("spots", "size", "message"),
    [
        ([Placement(4, 50)], Size(20, 20, 20), "leaves the bed"),
        ([Placement(50, 186)], Size(20, 20, 20), "leaves the bed"),
        ([Placement(200, 50, 0)], Size(60, 20, 20), "leaves the bed"),
        ([Placement(float("nan"), 50)], Size(20, 20, 20), "leaves the bed"),
        ([Placement(50, 50), Placement(72, 50)], Size(20, 20, 20), "closer than 3 mm"),
        ([Placement(50, 50), Placement(50, 50)], Size(20, 20, 20), "closer than 3 mm"),
        ([Placement(50, 50)], Size(20, 20, 211), "211 mm tall"),
    ],
)
def test_the_check_sees_what_the_slicer_would_not(spots: list[Placement], size: Size, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(spots, size, MK3.bed)


def test_the_check_turns_parts() -> None:
    check([Placement(200, 50, 90)], Size(60, 20, 20), MK3.bed)


@pytest.mark.parametrize(
    ("quantity", "per_plate", "plates"),
    [(7, 4, [4, 3]), (9, 4, [3, 3, 3]), (8, 4, [4, 4]), (1, 4, [1]), (5, 1, [1] * 5), (100, 99, [50, 50])],
)
def test_a_quantity_is_cut_into_few_equal_plates(quantity: int, per_plate: int, plates: list[int]) -> None:
    assert split(quantity, per_plate) == plates


@given(st.integers(1, 500), st.integers(1, 100))
def test_a_split_loses_nothing_and_wastes_no_plate(quantity: int, per_plate: int) -> None:
    plates = split(quantity, per_plate)
    assert sum(plates) == quantity
    assert len(plates) == -(-quantity // per_plate)
    assert max(plates) <= per_plate
    assert max(plates) - min(plates) <= 1


@pytest.mark.parametrize(("quantity", "per_plate"), [(0, 4), (3, 0)])
def test_an_impossible_split_is_an_error(quantity: int, per_plate: int) -> None:
    with pytest.raises(ValueError, match="cannot put"):
        split(quantity, per_plate)


def test_the_usable_area_of_a_bed_smaller_than_its_margins_is_none() -> None:
    assert usable(Size(8, 100, 50)) == Size(0, 90, 50)


def test_the_plate_file_holds_one_mesh_and_every_placement(tmp_path: Path) -> None:
    size = Size(10, 20, 5)
    mesh = welded(box(10, 20, 5))
    write_plate(tmp_path / "plate.3mf", mesh, size, [Placement(30, 40), Placement(100.5, 50, 90)])
    with zipfile.ZipFile(tmp_path / "plate.3mf") as archive:
        assert archive.namelist() == ["[Content_Types].xml", "_rels/.rels", "3D/3dmodel.model"]
        root = ElementTree.fromstring(archive.read("3D/3dmodel.model"))  # noqa: S314 - we wrote it
    vertices = np.array([[float(vertex.get(axis)) for axis in "xyz"] for vertex in root.iter(f"{CORE}vertex")])
    triangles = [[int(row.get(corner)) for corner in ("v1", "v2", "v3")] for row in root.iter(f"{CORE}triangle")]
    assert np.array_equal(vertices, mesh.vertices)
    assert np.array_equal(triangles, mesh.triangles)
    corners = []
    for item in root.iter(f"{CORE}item"):
        matrix = np.array([float(word) for word in item.get("transform").split()]).reshape(4, 3)
        moved = vertices @ matrix[:3] + matrix[3]
        corners.append((*moved.min(axis=0), *moved.max(axis=0)))
    assert corners == [(30, 40, 0, 40, 60, 5), (100.5, 50, 0, 120.5, 60, 5)]


def test_equal_plates_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_plate(tmp_path / name, welded(box()), Size(20, 20, 20), [Placement(30, 40)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_coordinate_survives_the_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    mesh = Mesh(rng.uniform(0, 250, (5000, 3)).astype(np.float32), rng.integers(0, 5000, (9000, 3)).astype(np.uint32))
    write_plate(tmp_path / "plate.3mf", mesh, Size(250, 250, 250), [Placement(0, 0)])
    with zipfile.ZipFile(tmp_path / "plate.3mf") as archive:
        root = ElementTree.fromstring(archive.read("3D/3dmodel.model"))  # noqa: S314 - we wrote it
    vertices = [[float(vertex.get(axis)) for axis in "xyz"] for vertex in root.iter(f"{CORE}vertex")]
    assert np.array_equal(np.array(vertices, np.float32), mesh.vertices)


def test_a_large_mesh_is_written_quickly(tmp_path: Path) -> None:
    mesh = welded(icosphere(6))
    assert len(mesh.triangles) == 81_920
    started = time.process_time()
    write_plate(tmp_path / "plate.3mf", mesh, Size(40, 40, 40), [Placement(30, 40)])
    assert time.process_time() - started < 3
    with zipfile.ZipFile(io.BytesIO((tmp_path / "plate.3mf").read_bytes())) as archive:
        assert archive.testzip() is None


P1S = PrinterClass("bambu-p1s-0.4", Size(256, 256, 250), 0.4, "P1S")
"""A machine whose head needs 18 x 28 mm of the bed's front left corner for itself."""


def in_the_corner(placements: tuple[Placement, ...]) -> bool:
    return any(spot.x < 18 and spot.y < 28 for spot in placements)


def test_the_corner_a_machine_needs_for_itself_stays_free() -> None:
    plain = PrinterClass("plain", P1S.bed, 0.4)
    size = Size(38, 38, 20)
    assert (capacity(size, plain), capacity(size, P1S)) == (36, 35)
    assert capacity(Size(30, 30, 20), P1S) == capacity(Size(30, 30, 20), plain) == 49  # there is room to move them all aside
    full = layout(size, capacity(size, P1S), P1S)
    assert full is not None
    assert not in_the_corner(full)
    with pytest.raises(ValueError, match="18 x 28 mm that has to stay free"):
        check([Placement(5, 5)], size, P1S.bed, (18, 28))


@pytest.mark.parametrize(
    ("size", "at"),
    [
        pytest.param(Size(100, 100, 10), (78, 78), id="in the middle"),
        pytest.param(Size(230, 230, 10), (18, 13), id="beside the corner"),
        pytest.param(Size(246, 220, 10), (5, 28), id="behind the corner"),
    ],
)
def test_a_large_part_stands_as_near_the_middle_as_it_may(size: Size, at: tuple[float, float]) -> None:
    (spot,) = layout(size, 1, P1S) or ()
    assert (spot.x, spot.y) == at


def test_a_part_that_needs_the_corner_does_not_fit() -> None:
    assert capacity(Size(240, 240, 10), P1S) == 0
    assert layout(Size(240, 240, 10), 1, P1S) is None
    assert capacity(Size(240, 240, 10), PrinterClass("bambu-a1-0.4", Size(256, 256, 256), 0.4, "A1")) == 1


@given(st.floats(3, 250), st.floats(3, 250), st.integers(1, 40))
def test_no_layout_reaches_into_the_corner_and_capacity_keeps_its_word(x: float, y: float, copies: int) -> None:
    size = Size(round(x, 2), round(y, 2), 10)
    found = layout(size, copies, P1S)
    assert (found is not None) is (copies <= capacity(size, P1S))
    assert found is None or not in_the_corner(found)


def test_plates_are_cut_for_the_most_common_kind_and_else_for_the_smallest_bed() -> None:
    mini = PrinterClass("bambu-a1-mini-0.4", Size(180, 180, 180), 0.4, "A1MINI")
    size = Size(100, 60, 10)
    assert list(roomy({P1S: 1, MK3: 1, mini: 1}, size).items()) == [(mini, 3), (MK3, 6), (P1S, 7)]
    assert list(roomy({P1S: 2, MK3: 1, mini: 1}, size)) == [P1S, mini, MK3]
    assert list(roomy({P1S: 1, mini: 3}, Size(200, 200, 10))) == [P1S]
