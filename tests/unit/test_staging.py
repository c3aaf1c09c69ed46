"""The last look at a file before it goes up: there, whole, and under the name its driver expects."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from farmd.fleet.staging import FileGone, Staging


@pytest.mark.parametrize("name", ["a1b2.gcode", "a1b2.gcode.3mf"])
def test_a_file_is_found_by_its_key_whatever_its_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"a print")
    sha256 = hashlib.sha256(b"a print").hexdigest()
    assert asyncio.run(Staging(tmp_path).ready("a1b2", sha256)) == tmp_path / name
    (tmp_path / name).write_bytes(b"another")
    with pytest.raises(FileGone, match="was changed on disk"):
        asyncio.run(Staging(tmp_path).ready("a1b2", sha256))
    assert not (tmp_path / name).exists()
    with pytest.raises(FileGone, match="cannot be read"):
        asyncio.run(Staging(tmp_path).ready("a1b2", sha256))
