"""The child process that touches a stranger's model: `python -I -m farmd.pipeline.validate_child SOURCE GEOMETRY BED`.

Started by `validate` under hard limits, in a directory of its own. It answers with one line of JSON on standard output and
leaves a geometry file only when it accepts. It must never open the network, read settings or write anywhere else.
"""

import errno
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from farmd.domain.model import ModelFormat, ModelRejected, ModelReport, Size, too_complex
from farmd.pipeline.inspection import Inspection
from farmd.pipeline.readers import Corners, recognise
from farmd.pipeline.readers_3mf import read_3mf
from farmd.pipeline.readers_stl import read_ascii, read_binary


def examine(source: Path, geometry: Path, bed_limit: Size | None) -> ModelReport:
    """Read, judge and store one model. Raises `ModelRejected`."""
    format_ = recognise(source)
    inspection = Inspection(format_, _corners(format_, source, geometry.parent), bed_limit)
    mesh, size, solids = inspection.run()
    mesh.save(geometry)
    with geometry.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ModelReport(
        format=format_,
        triangles=len(mesh.triangles),
        size=size,
        volume_mm3=solids.volume_mm3,
        bodies=solids.bodies,
        watertight=True,
        geometry_sha256=digest,
        warnings=tuple(inspection.notices),
    )


def _corners(format_: ModelFormat, source: Path, workspace: Path) -> Corners:
    match format_:
        case "stl":
            return read_binary(source)
        case "stl-ascii":
            return read_ascii(source)
        case "3mf":
            return read_3mf(source, workspace)


def main(source: str, geometry: str, bed: str) -> dict[str, Any]:
    bed_limit = Size(*map(float, bed.split(","))) if bed else None
    try:
        return {"report": asdict(examine(Path(source), Path(geometry), bed_limit))}
    except ModelRejected as rejection:
        return {"defects": [asdict(defect) for defect in rejection.defects]}
    except MemoryError:
        return {"defects": [asdict(too_complex("memory"))]}
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        return {"defects": [asdict(too_complex("file size"))]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
