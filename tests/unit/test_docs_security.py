"""docs/security.md against the suite: all ten risks stand there, and every test that is named exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()
RISKS = re.findall(r"^\| API(\d+) (.+)$", TEXT, re.M)
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


def test_all_ten_risks_are_there_and_each_is_shown_by_a_test():
    assert [int(number) for number, _ in RISKS] == list(range(1, 11))
    assert all("::test_" in row for _, row in RISKS)
    assert len(NAMED) == TEXT.count("::")


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file, name):
    tree = ast.parse((ROOT / file).read_text())
    assert name in {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
