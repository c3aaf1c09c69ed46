"""The Bambu driver against virtual printers over real TLS sockets: the suite of every driver, for each shape of the protocol."""

import asyncio
from pathlib import Path

import pytest

from drivers.conformance import CASES, NotApplicable, run
from drivers.virtual.bambu.printer import VirtualBambu
from tests.contract.bambu_bench import SPEED, BambuHarness


@pytest.mark.parametrize("model", ["P1S", "X1C", "A1"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_conformance(name: str, model: str, tmp_path: Path) -> None:
    async def go() -> None:
        async with VirtualBambu(model, speed=SPEED) as printer:
            try:
                await run(name, BambuHarness(printer, tmp_path))
            except NotApplicable as reason:
                pytest.skip(str(reason))
            assert printer.record.complaints == [], "the printer would not have forgiven this"

    asyncio.run(go())
