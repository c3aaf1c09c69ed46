"""The faults that the machine of the money is measured with must still be ones that somebody could make in the code of today."""

import shutil
from pathlib import Path

import pytest

from tests.stateful.money_plants import PLANTS, ROOT, Change, planted


@pytest.mark.parametrize("name", PLANTS)
def test_a_plant_still_applies_and_is_still_python(name: str, tmp_path: Path) -> None:
    for change in PLANTS[name]:
        (tmp_path / change.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / change.file, tmp_path / change.file)
    planted(PLANTS[name], tmp_path)
    for change in PLANTS[name]:
        text = (tmp_path / change.file).read_text()
        compile(text, change.file, "exec", dont_inherit=True)
        assert text != (ROOT / change.file).read_text()


def test_a_plant_whose_place_is_gone_says_so(tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text("nothing\n")
    with pytest.raises(ValueError, match=r"till\.py has 0 times"):
        planted([Change("till.py", "something", "else")], tmp_path)
