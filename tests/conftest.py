"""The order in which the files of the suite are handed to its workers: those that wait for the world beside those that compute.

Tests of real programs mostly wait, for a printer to move or a daemon to start; the others keep a processor busy. One kind after the
other would leave the machine idle for half of a run, and crowded for the rest.
"""

import pytest

WAITING = ("crash", "contract", "peers")
"""Rooms whose tests wait; those with the longest files first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Both kinds advance evenly. Tests of one file stay together, in their order."""
    files = list(dict.fromkeys(item.path for item in items))
    waiting = sorted((file for file in files if file.parent.name in WAITING), key=lambda file: WAITING.index(file.parent.name))
    computing = [file for file in files if file.parent.name not in WAITING]
    place = {file: number / len(kind) for kind in (waiting, computing) for number, file in enumerate(kind)}
    items.sort(key=lambda item: place[item.path])
