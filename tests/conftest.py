"""How the suite is handed to its workers: tests that wait for the world beside tests that compute.

Tests of real programs mostly wait, for a printer to move or a daemon to start; the others keep a processor busy. One kind after the
other would leave the machine idle for half of a run, and crowded for the rest.
"""

import pytest

WAITING = ("crash", "contract", "peers")
"""Rooms whose tests wait; those with the longest tests first."""
ALONE = ("crash",)
"""Rooms whose tests share nothing, and take so long that no worker should get a file of them. Elsewhere a file is one piece."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Both kinds advance evenly."""
    pieces: dict[str, list[pytest.Item]] = {}
    for item in items:
        alone = item.path.parent.name in ALONE
        pieces.setdefault(item.nodeid if alone else str(item.path), []).append(item)
        if not alone:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    rooms = {piece: mine[0].path.parent.name for piece, mine in pieces.items()}
    waiting = sorted((piece for piece in pieces if rooms[piece] in WAITING), key=lambda piece: WAITING.index(rooms[piece]))
    computing = [piece for piece in pieces if rooms[piece] not in WAITING]
    place = {piece: number / len(kind) for kind in (waiting, computing) for number, piece in enumerate(kind)}
    items[:] = [item for piece in sorted(pieces, key=place.__getitem__) for item in pieces[piece]]
