"""How the suite is handed to its workers: every room advances evenly, so that tests which wait run beside tests which compute.

Tests of real programs mostly wait, for a printer to move or a daemon to start; the others keep a processor busy. One room after the
other would leave the machine idle for half of a run, and crowded for the rest.
"""

import pytest

ALONE = ("crash",)
"""Rooms whose tests share nothing, and take so long that no worker should get a file of them. Elsewhere a file is one piece."""

EARLY = 0.6
"""They have all begun when the others are so far: no worker may be left alone with a long one in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one piece stay together, in their order."""
    rooms: dict[str, dict[str, list[pytest.Item]]] = {}
    for item in items:
        room = item.path.parent.name
        piece = item.nodeid if room in ALONE else str(item.path)
        rooms.setdefault(room, {}).setdefault(piece, []).append(item)
        if room not in ALONE:
            item.add_marker(pytest.mark.xdist_group(piece))
    placed = [
        (number / len(pieces) * (EARLY if room in ALONE else 1), piece)
        for room, pieces in rooms.items()
        for number, piece in enumerate(pieces.values())
    ]
    items[:] = [item for _, piece in sorted(placed, key=lambda each: each[0]) for item in piece]
