"""Finding out why an OctoPrint cannot be reached: each failure stops at its own step and names its cure."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import Check, Unreachable
from drivers.octoprint import factory
from drivers.octoprint.driver import OctoPrintDriver
from tests.contract.link import Link
from tests.contract.real_octoprint import API_KEY, VIEWER_KEY, RealOctoPrint, running_octoprint
from tests.contract.scripted_server import Reply, ScriptedServer

KEY = "SCRIPTED-KEY-42"


@pytest.fixture(scope="module")
def octoprint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOctoPrint]:
    with running_octoprint(tmp_path_factory.mktemp("octoprint")) as running:
        yield running


async def examined(url: str, api_key: str) -> list[Check]:
    return [check async for check in factory.examine("mk3-01", {"url": url, "api_key": api_key}, Path("/nowhere"))]


@pytest.mark.octoprint
def test_examining_a_healthy_printer_passes_every_step(octoprint: RealOctoPrint) -> None:
    checks = asyncio.run(examined(octoprint.url, API_KEY))
    assert [check.name for check in checks] == ["name", "connection", "octoprint", "key", "printer", "push socket"]
    assert all(check.ok for check in checks), checks


@pytest.mark.octoprint
def test_examining_stops_at_a_wrong_key(octoprint: RealOctoPrint) -> None:
    last = asyncio.run(examined(octoprint.url, "0" * 32))[-1]
    assert (last.name, last.ok) == ("key", False)
    assert "Application Keys" in last.detail


@pytest.mark.octoprint
def test_examining_names_the_missing_rights(octoprint: RealOctoPrint) -> None:
    last = asyncio.run(examined(octoprint.url, VIEWER_KEY))[-1]
    assert (last.name, last.ok) == ("key", False)
    assert "files_upload" in last.detail
    assert "print" in last.detail


@pytest.mark.octoprint
def test_examining_tells_of_a_printer_that_is_not_connected(octoprint: RealOctoPrint) -> None:
    octoprint.call("POST", "/api/connection", {"command": "disconnect"})
    octoprint.wait(lambda: octoprint.state() == "Offline", 10)
    last = asyncio.run(examined(octoprint.url, API_KEY))[-1]
    octoprint.rest()
    assert (last.name, last.ok) == ("printer", False)
    assert "press Connect" in last.detail


@pytest.mark.octoprint
def test_a_port_nobody_listens_on_is_unreachable(octoprint: RealOctoPrint) -> None:
    async def go() -> None:
        async with Link(octoprint.port) as link:
            await link.cut()
            driver = OctoPrintDriver("mk3-01", link.url, API_KEY)
            with pytest.raises(Unreachable):
                await driver.connect()
            await driver.close()
            last = (await examined(link.url, API_KEY))[-1]
            assert (last.name, last.ok) == ("connection", False)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "url is missing"),
        ({"url": "octopi.local", "api_key": KEY}, "must begin with http"),
        ({"url": "ftp://octopi.local", "api_key": KEY}, "must begin with http"),
        ({"url": "http://", "api_key": KEY}, "name a host"),
        ({"url": "http://octopi.local:port", "api_key": KEY}, "not an address"),
        ({"url": "http://me:secret@octopi.local", "api_key": KEY}, "no user, password"),
        ({"url": 5, "api_key": KEY}, "url is missing"),
        ({"url": "http://octopi.local"}, "api_key is missing"),
        ({"url": "http://octopi.local", "api_key": f"{KEY}\n"}, "api_key holds"),
    ],
)
def test_an_unusable_option_is_named_and_no_secret_repeated(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name) as refused:
        factory.create("mk3-01", options, Path("/nowhere"))
    assert KEY not in str(refused.value)
    assert "secret" not in str(refused.value)

    async def first() -> list[tuple[str, bool]]:
        return [(check.name, check.ok) async for check in factory.examine("mk3-01", options, Path("/nowhere"))]

    assert asyncio.run(first()) == [("options", False)]


def test_examining_stops_at_a_name_nobody_has() -> None:
    async def last() -> Any:
        return [
            check
            async for check in factory.examine(
                "mk3-01", {"url": "http://no-such-printer.invalid", "api_key": KEY}, Path("/nowhere")
            )
        ][-1]

    check = asyncio.run(last())
    assert (check.name, check.ok) == ("name", False)
    assert "spelling" in check.detail


def test_examining_stops_at_a_server_that_is_not_octoprint() -> None:
    async def go() -> None:
        async with ScriptedServer(lambda _request: Reply(body={"server": None})) as server:
            checks = [check async for check in factory.examine("mk3-01", {"url": server.url, "api_key": KEY}, Path("/nowhere"))]
            assert (checks[-1].name, checks[-1].ok) == ("octoprint", False)
            assert "not OctoPrint" in checks[-1].detail

    asyncio.run(go())
