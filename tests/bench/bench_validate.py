"""How long validation takes and how much memory it needs, child process included: `python tests/bench/bench_validate.py`.

Prints figures and asserts nothing: they depend on the machine.
"""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from farmd.domain.model import Size
from farmd.pipeline.validate import validate_model
from tests import models

BED = Size(250, 210, 210)


def measure(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "model")
        source.write_bytes(content)
        before, begun = _cpu(), time.perf_counter()
        report = asyncio.run(validate_model(source, Path(folder, "geometry"), bed_limit=BED))
        wall, cpu = time.perf_counter() - begun, _cpu() - before
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(
        f"{name:<24}{report.triangles:>10,} triangles {len(content) / 1e6:>7.1f} MB {wall:>7.2f} s wall {cpu:>7.2f} s cpu"
        f"  peak so far {peak:>6.0f} MB"
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    measure("cube", models.stl(models.cube()))
    measure("sphere 82 k", models.stl(models.icosphere(6)))
    measure("sphere 82 k as 3MF", models.threemf(models.icosphere(6)))
    measure("sphere 328 k as text", models.ascii_stl(models.icosphere(7)))
    measure("sphere 1.3 M", models.stl(models.icosphere(8)))
    measure("sphere 1.3 M as 3MF", models.threemf(models.icosphere(8)))


if __name__ == "__main__":
    main()
