"""How the suite is handed to its workers: every room advances evenly, so that tests which wait run beside tests which compute.

Tests of real programs mostly wait, for a printer to move or a daemon to start; the others keep a processor busy. One room after the
other would leave the machine idle for half of a run, and crowded for the rest.
"""

import gc

import pytest

ALONE = ("test_till_kills.py",)
"""Files whose tests are minutes long each, and a piece of their own therefore. Elsewhere a file is one piece."""

EARLY = {"crash": 0.6}
"""Long rooms have all begun when the others are so far: no worker may be left alone with a long piece in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one piece stay together, in their order."""
    rooms: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        room = item.path.parent.name
        alone = item.path.name in ALONE
        piece = item.nodeid if alone else str(item.path)
        rooms.setdefault(room, {}).setdefault(piece, []).append(item)
        if not alone:
            item.add_marker(pytest.mark.xdist_group(piece))
    placed = [
        (number / len(pieces) * EARLY.get(room, 1), piece)
        for room, pieces in rooms.items()
        for number, piece in enumerate(pieces.values())
    ]
    items[:] = [item for _, piece in sorted(placed, key=lambda each: each[0]) for item in piece]


def pytest_collection_finish() -> None:
    """What is loaded by now stays: no collection needs to walk it again."""
    gc.collect()
    gc.freeze()
