"""The dashboard in a browser's hands: signing in, what is shown, what a click does, and what a stranger's page cannot do."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest

from farmd.fleet.registry import Live
from farmd.store import printing
from farmd.store import tables as t
from farmd.store.rows import get
from farmd.store.transitions import raise_attention
from farmd.store.work import register_printers
from farmd.store.work_lists import plates_of
from tests import making
from tests.farm import client, open_farm

pytestmark = pytest.mark.slow  # each opens a whole farm; orders and SKUs stand for them in make check

PRINTERS = (making.printer("mk3-01"),)


def run(tmp_path: Path, scenario) -> None:
    async def body() -> None:
        async with open_farm(tmp_path, printers=PRINTERS) as farm, client(farm.app) as browser:
            await farm.store.write(lambda tx: register_printers(tx, farm.rooms.settings))
            await scenario(farm, browser)

    asyncio.run(body())


async def sign_in(farm, browser, role="operator", **headers) -> httpx.Response:
    return await browser.post("/dashboard/login", data={"key": farm.keys[role]}, headers=headers)


async def token(browser) -> str:
    return re.search(r'name="token" value="(\w+)"', (await browser.get("/")).text).group(1)


async def start_print(farm) -> str:
    def work(tx):
        job_id = making.queued(tx, 1)
        return making.begin(tx, plates_of(tx.connection, [job_id])[job_id][0]["id"], "mk3-01")

    return await farm.store.write(work)


def test_a_key_opens_the_board_and_stays_in_a_cookie_no_script_reads(tmp_path):
    async def scenario(farm, browser):
        assert "Operator or admin key" in (await browser.get("/")).text
        answer = await sign_in(farm, browser)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        page = await browser.get("/")
        assert "mk3-01" in page.text
        assert farm.keys["operator"] not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        out = await browser.post("/dashboard/logout", data={"token": await token(browser)})
        assert out.status_code == 303
        assert "mk3-01" not in (await browser.get("/")).text

    run(tmp_path, scenario)


@pytest.mark.parametrize("key", ["", "nonsense", "fk_a_b", "schlüssel", "customer"])
def test_other_keys_do_not_open_it(tmp_path, key):
    async def scenario(farm, browser):
        answer = await browser.post("/dashboard/login", data={"key": farm.keys.get(key, key)})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
        assert (await browser.get("/dashboard/live")).status_code == 401

    run(tmp_path, scenario)


def test_a_revoked_key_ends_the_session(tmp_path):
    from farmd.store.keys import revoke_key

    async def scenario(farm, browser):
        await sign_in(farm, browser)
        await farm.store.write(lambda tx: revoke_key(tx, "operator"))
        farm.world.forward(2)
        assert "mk3-01" not in (await browser.get("/")).text

    run(tmp_path, scenario)


def test_what_needs_a_person_stands_first(tmp_path):
    async def scenario(farm, browser):
        job_id = await farm.store.write(lambda tx: making.queued(tx, 2, steps=("sand",)))
        await farm.store.write(lambda tx: making.print_all(tx, job_id, "mk3-01"))
        farm.rooms.registry.see("mk3-01", Live("finished", True, temperatures={"bed": (41.2, 0.0)}))
        await sign_in(farm, browser)
        text = (await browser.get("/")).text
        assert "2 unit(s) wait at &#39;sand&#39;" in text
        assert "The bed is occupied" in text
        assert "bed 41" in text
        assert text.index("Needs a person") < text.index(">Printers") < text.index("Orders in work")

    run(tmp_path, scenario)


def test_what_others_wrote_is_shown_as_text(tmp_path):
    async def scenario(farm, browser):
        evil = "<script>alert(1)</script>"
        job_id = await farm.store.write(lambda tx: making.queued(tx, 1))
        order_id = (await farm.operator.get(f"/api/jobs/{job_id}")).json()["orderId"]
        await farm.store.write(lambda tx: raise_attention(tx, order_id, "note", evil))
        farm.rooms.registry.see("mk3-01", Live("printing", True, foreign=True, file=evil))
        await sign_in(farm, browser)
        text = (await browser.get("/")).text
        assert evil not in text
        assert text.count("&lt;script&gt;alert(1)") >= 2

    run(tmp_path, scenario)


def test_clicks_do_what_the_api_does(tmp_path):
    async def scenario(farm, browser):
        attempt = await start_print(farm)
        farm.rooms.registry.see("mk3-01", Live("printing", True, attempt, progress=0.42))
        await sign_in(farm, browser)
        proof = {"token": await token(browser)}
        assert "42 %" in (await browser.get("/dashboard/live")).text
        refused = await browser.post("/dashboard/printers/mk3-01/clear-bed", data=proof)
        assert refused.status_code == 409
        assert "its bed cannot be clear" in refused.text
        assert (await browser.post("/dashboard/printers/mk3-01/pause", data=proof)).status_code == 303
        assert (await browser.post("/dashboard/printers/mk3-01/cancel", data=proof)).status_code == 303
        row = await farm.store.read(lambda connection: get(connection, t.attempts, attempt))
        assert (row["wish"], row["cancel_wanted"]) == ("pause", True)
        await farm.store.write(lambda tx: printing.cancelled(tx, get(tx.connection, t.attempts, attempt), "wanted"))
        assert (await browser.post("/dashboard/printers/mk3-01/clear-bed", data=proof)).status_code == 303
        assert (await farm.operator.get("/api/printers/mk3-01")).json()["bed"] == "clear"
        assert (await browser.post("/dashboard/printers/mk3-01/explode", data=proof)).status_code == 404
        assert (await browser.post("/dashboard/printers/mk3-99/pause", data=proof)).status_code == 404

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_a_form_on_another_site_does_nothing(tmp_path, headers):
    async def scenario(farm, browser):
        attempt = await start_print(farm)
        assert (await sign_in(farm, browser, **headers)).status_code == 401
        await sign_in(farm, browser, Origin="http://farm")
        proof = {"token": await token(browser)}
        answer = await browser.post("/dashboard/printers/mk3-01/cancel", data=proof, headers=headers)
        assert answer.status_code == 403
        for data in ({}, {"token": ""}, {"token": "0" * 64}, {"token": "é"}):
            assert (await browser.post("/dashboard/printers/mk3-01/cancel", data=data)).status_code == 403
        assert (await browser.post("/dashboard/logout", data=proof, headers=headers)).status_code == 403
        row = await farm.store.read(lambda connection: get(connection, t.attempts, attempt))
        assert row["cancel_wanted"] is False

    run(tmp_path, scenario)


def test_style_and_script_come_from_the_farm_and_nothing_else_is_served(tmp_path):
    async def scenario(farm, browser):
        for name, kind in (("board.css", "text/css"), ("board.js", "text/javascript")):
            answer = await browser.get(f"/dashboard/static/{name}")
            assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)
        for name in ("../pages.py", "%2e%2e%2fpages.py", "live.html", "board.css%00"):
            assert (await browser.get(f"/dashboard/static/{name}")).status_code == 404

    run(tmp_path, scenario)
