"""A first look at the XML of a 3MF while it is being copied: no DOCTYPE, no flood of triangles, no component explosion.

lib3mf follows components while it reads, so forty lines that each say "the one before, twice" would keep it busy for
years. The sizes are added up here first; nothing in this file builds geometry.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from farmd.domain.model import ModelRejected
from farmd.pipeline.readers import TRIANGLE_CAP, check_triangle_count, refuse
from farmd.pipeline.readers_zip import Package

USUAL_ROOT = "3D/3dmodel.model"
RELATIONS_CAP_BYTES = 65536
DEPTH_CAP = 32
INSTANCE_CAP = 100_000
_START = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_PATH = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06 path"
_EXPORT = "Export the part as STL, or as a plain 3MF, and upload that file."

Name = tuple[str, str]  # part and object id


@dataclass(slots=True)
class _Object:
    triangles: int = 0
    components: list[Name] = field(default_factory=list)


@dataclass(slots=True)
class Outline:
    """How many triangles each object of a package has, and which objects it repeats."""

    objects: dict[Name, _Object] = field(default_factory=dict)
    items: list[Name] = field(default_factory=list)

    def refuse_explosion(self) -> None:
        """Raises `ModelRejected` when the build would come to more triangles or copies than the farm takes."""
        totals: dict[Name, tuple[int, int]] = {}
        counts = [self._total(item, totals, 0) for item in self.items]
        check_triangle_count(sum(triangles for triangles, _ in counts))
        # Objects outside the build are followed by the reader as well.
        copies = max([sum(c for _, c in counts), *(self._total(name, totals, 0)[1] for name in self.objects)])
        if copies > INSTANCE_CAP:
            raise refuse("too_complex", f"The 3MF repeats its objects more than {INSTANCE_CAP:,} times.", _EXPORT)

    def _total(self, name: Name, totals: dict[Name, tuple[int, int]], depth: int) -> tuple[int, int]:
        """Triangles and copies below an object, each counted as often as it is used."""
        if depth > DEPTH_CAP:
            raise refuse("too_complex", f"The 3MF nests its components more than {DEPTH_CAP} deep.", _EXPORT)
        if name not in totals:
            found = self.objects.get(name, _Object())
            below = [self._total(component, totals, depth + 1) for component in found.components]
            totals[name] = (found.triangles + sum(t for t, _ in below), 1 + sum(c for _, c in below))
        return totals[name]


def outline_part(package: Package, part: str, outline: Outline) -> Iterator[bytes]:
    """Pass a model part through, adding what it holds to `outline`. Raises `ModelRejected` for a DOCTYPE or bad XML."""
    known = _Object()
    seen = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal known, seen
        element = tag.rpartition(" ")[2]
        if element == "triangle":
            known.triangles += 1
            seen += 1
            if seen > TRIANGLE_CAP:
                check_triangle_count(seen)
        elif element == "object":
            known = outline.objects.setdefault((part, attributes.get("id", "")), _Object())
        elif element in ("component", "item"):
            inside = attributes.get(_PATH, f"/{part}").removeprefix("/")
            target = (inside, attributes.get("objectid", ""))
            (known.components if element == "component" else outline.items).append(target)

    parser = _parser(part)
    parser.StartElementHandler = start
    for chunk in package.chunks(part):
        _feed(parser, chunk, part)
        yield chunk
    _feed(parser, b"", part, last=True)


def root_part(package: Package) -> str:
    """The name of the model part the package starts with. Raises `ModelRejected` when there is none."""
    found = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(" ")[2] == "Relationship" and attributes.get("Type") == _START:
            found.append(attributes.get("Target", "").removeprefix("/"))

    if "_rels/.rels" in package:
        parser = _parser("_rels/.rels")
        parser.StartElementHandler = start
        for chunk in package.chunks("_rels/.rels", RELATIONS_CAP_BYTES):
            _feed(parser, chunk, "_rels/.rels")
    for name in [*found, USUAL_ROOT]:
        if name in package and name.lower().endswith(".model"):
            return name
    if any(name.lower().endswith((".stl", ".3mf")) for name in package.names):
        raise refuse("wrong_format", "The file is a zip archive.", "Unpack it and upload the STL or 3MF file inside.")
    raise refuse("wrong_format", "The file is a zip archive or document that holds no 3MF model.", _EXPORT)


def _parser(part: str) -> expat.XMLParserType:
    def doctype(*_: object) -> None:
        raise refuse("xml_doctype", f"Its part {part!r} declares a DOCTYPE, which no 3MF may have.", _EXPORT)

    def declaration(_version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "us-ascii"):
            raise refuse("unreadable_3mf", f"Its part {part!r} is not written in UTF-8 but {encoding[:20]}.", _EXPORT)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = doctype
    parser.XmlDeclHandler = declaration
    return parser


def _feed(parser: expat.XMLParserType, chunk: bytes, part: str, *, last: bool = False) -> None:
    try:
        parser.Parse(chunk, last)
    except expat.ExpatError as error:
        raise _broken_xml(part, error) from None


def _broken_xml(part: str, error: expat.ExpatError) -> ModelRejected:
    return refuse("unreadable_3mf", f"Its part {part!r} is broken XML: {error}.", _EXPORT)
