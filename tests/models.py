"""Models to feed the farm with: whole ones and every kind of broken or hostile one, made as bytes.

Facets are float arrays of shape (n, 3, 3): n triangles, three corners, x y z. `stl`, `ascii_stl` and `threemf` wrap
them in a file. The named makers below give one whole file each; `good()` and `bad()` list them by name.
"""

import io
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

Facets = np.ndarray

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_CONTENT_TYPES = (
    '<?xml version="1.0" encoding="UTF-8"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0" encoding="UTF-8"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Target="/3D/3dmodel.model" Id="rel0" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>'
    "</Relationships>"
)
_BOX_FACES = (
    ((0, 2, 1), (0, 3, 2)),  # bottom
    ((4, 5, 6), (4, 6, 7)),  # top
    ((0, 1, 5), (0, 5, 4)),  # front
    ((1, 2, 6), (1, 6, 5)),  # right
    ((2, 3, 7), (2, 7, 6)),  # back
    ((3, 0, 4), (3, 4, 7)),  # left
)

# --- shapes ---


def box(x: float = 20, y: float = 20, z: float = 20, at: tuple[float, float, float] = (0, 0, 0)) -> Facets:
    """A closed box of 12 triangles, wound outwards, its lowest corner at `at`."""
    corners = np.array([(0, 0, 0), (x, 0, 0), (x, y, 0), (0, y, 0), (0, 0, z), (x, 0, z), (x, y, z), (0, y, z)], float)
    corners += at
    return corners[np.array(_BOX_FACES).reshape(12, 3)]


def cube(size: float = 20, at: tuple[float, float, float] = (0, 0, 0)) -> Facets:
    return box(size, size, size, at)


def inverted(facets: Facets) -> Facets:
    """The same surface, wound inwards."""
    return facets[:, ::-1]


def together(*shapes: Facets) -> Facets:
    return np.concatenate(shapes)


def icosphere(levels: int = 3, radius: float = 20) -> Facets:
    """A sphere of 20 * 4**levels triangles (level 8: 1,310,720); neighbouring corners are equal to the last bit."""
    golden = (1 + 5**0.5) / 2
    # The corners of three golden rectangles, and the twenty triangles between neighbouring ones.
    rectangles = ("-+0", "++0", "--0", "+-0", "0-+", "0++", "0--", "0+-", "+0-", "+0+", "-0-", "-0+")
    lengths = ({"+": 1, "-": -1, "0": 0}, {"+": golden, "-": -golden, "0": 0})
    points = np.array([[lengths[sign[(i + 1) % 3] != "0"][sign[i]] for i in range(3)] for sign in rectangles])
    names = "0b505101707a0ab1595b4ba2a7671839434232636838949524b62a867981"
    faces = np.array([int(corner, 16) for corner in names]).reshape(20, 3)
    facets = points[faces]
    for _ in range(levels):
        a, b, c = facets[:, 0], facets[:, 1], facets[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        facets = np.concatenate([np.stack(quarter, axis=1) for quarter in quarters])
    return facets * (radius / np.linalg.norm(facets, axis=2, keepdims=True))


# --- files ---


def stl(facets: Facets, header: bytes = b"made for a test", count: int | None = None) -> bytes:
    """A binary STL; `count` overrides the triangle count its header claims."""
    records = np.zeros(len(facets), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    records["corners"] = facets
    claimed = len(facets) if count is None else count
    return header.ljust(80, b"\0")[:80] + struct.pack("<I", claimed) + records.tobytes()


def ascii_stl(facets: Facets, name: str = "part") -> bytes:
    lines = [f"solid {name}"]
    for facet in facets:
        lines += ["  facet normal 0 0 0", "    outer loop"]
        lines += [f"      vertex {x:.6e} {y:.6e} {z:.6e}" for x, y, z in facet]
        lines += ["    endloop", "  endfacet"]
    return ("\n".join([*lines, f"endsolid {name}"]) + "\n").encode()


def mesh_xml(facets: Facets, object_id: int = 1) -> str:
    points, index = np.unique(facets.reshape(-1, 3), axis=0, return_inverse=True)
    vertices = "".join(f'<vertex x="{x:.9g}" y="{y:.9g}" z="{z:.9g}"/>' for x, y, z in points)
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in index.reshape(-1, 3))
    return (
        f'<object id="{object_id}" type="model"><mesh><vertices>{vertices}</vertices>'
        f"<triangles>{triangles}</triangles></mesh></object>"
    )


def model_xml(resources: str, build: str = '<item objectid="1"/>', unit: str = "millimeter", prolog: str = "") -> str:
    """The root part of a 3MF around the given resources and build items."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{prolog}<model unit="{unit}" xml:lang="en-US" xmlns="{_CORE}">'
        f"<resources>{resources}</resources><build>{build}</build></model>"
    )


def package(model: str | bytes, extra: Mapping[str, str | bytes] | None = None) -> bytes:
    """A 3MF package around a root model part, with any further entries."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        entries = {"[Content_Types].xml": _CONTENT_TYPES, "_rels/.rels": _RELATIONS, "3D/3dmodel.model": model}
        for name, content in {**entries, **(extra or {})}.items():
            archive.writestr(name, content)
    return stream.getvalue()


def threemf(facets: Facets, unit: str = "millimeter", extra: Mapping[str, str | bytes] | None = None) -> bytes:
    return package(model_xml(mesh_xml(facets), unit=unit), extra)


# --- broken geometry ---


def missing_triangle() -> bytes:
    """A 20 mm cube with one triangle left out: three open edges. A slicer prints 2 mm of it and reports success."""
    return stl(cube()[:-1])


def inverted_cube() -> bytes:
    return stl(inverted(cube()))


def flipped_triangle() -> bytes:
    """A closed cube with one triangle wound against its neighbours."""
    facets = cube().copy()
    facets[0] = facets[0, ::-1]
    return stl(facets)


def not_a_number() -> bytes:
    facets = cube().copy()
    facets[5, 1, 2] = np.nan
    return stl(facets)


def degenerate() -> bytes:
    """A closed cube among as many triangles that have collapsed to a line or a point."""
    facets = cube()
    collapsed = facets.copy()
    collapsed[:, 2] = collapsed[:, 1]
    return stl(together(facets, collapsed))


def flat_plane() -> bytes:
    return stl(box(20, 20, 0)[:2])


def overlapping_bodies() -> bytes:
    """Two 20 mm cubes sharing a 5 x 20 x 20 mm slab: 16,000 mm3 counted, 14,000 mm3 of plastic."""
    return stl(together(cube(), cube(at=(15, 0, 0))))


def apart_bodies() -> bytes:
    return stl(together(cube(), cube(at=(40, 0, 0))))


def hollow_cube() -> bytes:
    """A 20 mm cube with a closed 10 mm cavity: the inner shell is wound inwards, as it should be."""
    return stl(together(cube(), inverted(cube(10, at=(5, 5, 5)))))


# --- broken files ---


def empty_stl() -> bytes:
    """A well-formed binary STL of no triangles."""
    return stl(cube()[:0])


def garbage(size: int = 5000) -> bytes:
    return np.random.default_rng(20).integers(0, 256, size, dtype=np.uint8).tobytes()


def truncated() -> bytes:
    return stl(icosphere(2))[:-777]


def truncated_ascii() -> bytes:
    whole = ascii_stl(cube())
    return whole[: len(whole) // 2]


def lying_count() -> bytes:
    """Twelve triangles whose header claims four thousand million."""
    return stl(cube(), count=4_000_000_000)


# --- hostile ---


def zip_bomb(megabytes: int = 400) -> bytes:
    """A 3MF of some hundred kilobytes whose model part inflates to `megabytes` MB of XML."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        with archive.open("3D/3dmodel.model", "w", force_zip64=True) as entry:
            entry.write(f'<?xml version="1.0"?><model unit="millimeter" xmlns="{_CORE}"><resources>'.encode())
            padding = b'<basematerials id="7"><base name="a" displaycolor="#FFFFFF"/></basematerials>'.ljust(1 << 20)
            for _ in range(megabytes):
                entry.write(padding)
            entry.write(b"</resources><build/></model>")
    return stream.getvalue()


def component_bomb(levels: int = 40) -> bytes:
    """A 3MF of a few kilobytes: every object is the one before it, twice. 2**levels cubes if expanded."""
    resources = mesh_xml(cube())
    for level in range(2, levels + 2):
        twice = f'<component objectid="{level - 1}"/>' * 2
        resources += f'<object id="{level}" type="model"><components>{twice}</components></object>'
    return package(model_xml(resources, f'<item objectid="{levels + 1}"/>'))


def traversal() -> bytes:
    return threemf(cube(), extra={"../../etc/cron.d/evil": "* * * * * root id\n"})


def absolute_name() -> bytes:
    return threemf(cube(), extra={"/etc/evil": "x"})


def backslash_name() -> bytes:
    return threemf(cube(), extra={"Metadata\\..\\..\\evil": "x"})


def doctype() -> bytes:
    prolog = '<!DOCTYPE model [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
    return package(model_xml(mesh_xml(cube()), prolog=prolog))


def post_process(script: str = "/usr/local/bin/evil.sh") -> bytes:
    """A whole cube that also asks PrusaSlicer to run `script` after slicing (CVE-2023-47268)."""
    config = f"; generated by PrusaSlicer 2.5.0\n; post_process = {script}\n; start_gcode = M112\n; layer_height = 0.3\n"
    return threemf(cube(), extra={"Metadata/Slic3r_PE.config": config, "Metadata/thumbnail.png": b"\x89PNG not really"})


def inch_cube() -> bytes:
    """A one-inch cube, in a 3MF that says so."""
    return threemf(cube(1), unit="inch")


def good() -> dict[str, bytes]:
    """Files that are models of real parts, by name; each must be accepted."""
    return {
        "cube": stl(cube()),
        "small_box": stl(box(10, 10, 2)),  # no byte above 127 after the header: some readers take it for text
        "starts_with_solid": stl(cube(), header=b"solid but binary"),
        "ascii": ascii_stl(cube()),
        "sphere": stl(icosphere(3)),
        "3mf": threemf(cube()),
        "inch_3mf": inch_cube(),
        "post_process_3mf": post_process(),
        "inverted": inverted_cube(),
        "overlapping_bodies": overlapping_bodies(),
        "apart_bodies": apart_bodies(),
        "hollow_cube": hollow_cube(),
    }


def bad() -> dict[str, bytes]:
    """Files that are no printable model, by name; each must be refused."""
    return {
        "nothing": b"",
        "empty_stl": empty_stl(),
        "garbage": garbage(),
        "truncated": truncated(),
        "truncated_ascii": truncated_ascii(),
        "lying_count": lying_count(),
        "missing_triangle": missing_triangle(),
        "flipped_triangle": flipped_triangle(),
        "not_a_number": not_a_number(),
        "degenerate": degenerate(),
        "flat_plane": flat_plane(),
        "component_bomb": component_bomb(),
        "traversal": traversal(),
        "absolute_name": absolute_name(),
        "backslash_name": backslash_name(),
        "doctype": doctype(),
    }
