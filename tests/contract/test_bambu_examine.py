"""`farmd doctor` before a Bambu printer: each thing that keeps a farm from printing is told apart, and named with its cure."""

import asyncio
import time
from pathlib import Path

import pytest

from drivers.bambu import factory
from drivers.bambu.tls import common_name
from drivers.contract import Concern, Phase, Unauthorized, Unreachable
from drivers.virtual.bambu.card import CardState
from drivers.virtual.bambu.certificate import authority, make_identity
from drivers.virtual.bambu.faults import Unsigned
from drivers.virtual.bambu.printer import VirtualBambu
from tests.contract.bambu_bench import SPEED, block, driver_of, watched
from tests.waiting import until

OTHER = "01P00A999999999"


def play(story, model="P1S"):
    async def go():
        async with VirtualBambu(model, speed=SPEED) as printer:
            await asyncio.wait_for(story(printer), 60)

    asyncio.run(go())


async def checks(printer: VirtualBambu, folder: Path, **more):
    return [check async for check in factory.examine("p1s-01", block(printer, **more), folder / "machine")]


async def last(printer: VirtualBambu, folder: Path, **more):
    """The step at which the examination ended, and its words."""
    *before, failed = await checks(printer, folder, **more)
    assert all(check.ok for check in before)
    assert not failed.ok
    return failed.name, failed.detail


@pytest.mark.parametrize("model", ["P1S", "X1C"])
def test_a_printer_that_is_well_passes_every_step_and_nothing_is_changed(model, tmp_path):
    async def story(printer):
        found = await checks(printer, tmp_path)
        assert [check.name for check in found if not check.ok] == []
        assert [check.name for check in found] == [
            *("name", "connection", "certificate", "access code", "reports", "developer mode", "storage", "file server")
        ]
        assert not (tmp_path / "machine").exists()
        assert {name.split(".")[0] for name in printer.record.commands} == {"pushing", "info"}

    play(story, model)


def test_wrong_options_are_named():
    async def go():
        return [check async for check in factory.examine("p1s-01", {"host": "x"}, Path("/nowhere"))]

    (check,) = asyncio.run(go())
    assert (check.name, check.ok) == ("options", False)


def test_a_name_without_an_address(tmp_path):
    async def story(printer):
        name, words = await last(printer, tmp_path, host="no-such-printer.invalid")
        assert name == "name"
        assert "use the address on the printer's screen" in words

    play(story)


def test_lan_mode_off(tmp_path):
    async def story(printer):
        await printer.leave_lan_mode()
        name, words = await last(printer, tmp_path)
        assert name == "connection"
        assert "enable LAN Only Mode" in words

    play(story)


def test_something_else_behind_the_port(tmp_path):
    async def story(printer):
        async def web(_reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(web, "127.0.0.1", 0)
        name, words = await last(printer, tmp_path, mqtt_port=server.sockets[0].getsockname()[1])
        assert name == "certificate"
        assert "no Bambu printer" in words
        server.close()

    play(story)


def test_another_printer_at_that_address(tmp_path):
    async def story(printer):
        name, words = await last(printer, tmp_path, serial=OTHER)
        assert name == "certificate"
        assert f"what answers is the printer {printer.serial}, not {OTHER}" in words
        driver = driver_of(printer, tmp_path, serial=OTHER)
        with pytest.raises(Unreachable, match="correct serial or host"):
            await driver.connect()
        assert printer.broker.connects == []  # the access code was not shown to it
        await driver.close()

    play(story)


@pytest.mark.slow
def test_a_wrong_serial_number_where_nobody_looks_at_certificates(tmp_path):
    async def story(printer):
        name, words = await last(printer, tmp_path, serial=OTHER, tls="insecure")
        assert name == "reports"
        assert "compare serial with the printer's screen" in words
        driver = driver_of(printer, tmp_path, serial=OTHER, tls="insecure")
        with pytest.raises(Unreachable, match=f"nothing is reported for the serial number {OTHER}"):
            await driver.connect()
        await driver.close()

    play(story)


def test_a_wrong_access_code_is_told_and_not_tried_again_and_again(tmp_path):
    async def story(printer):
        name, words = await last(printer, tmp_path, access_code="00000000")
        assert name == "access code"
        assert "its screen shows the present one" in words
        tries = len(printer.broker.connects)
        driver = driver_of(printer, tmp_path, access_code="00000000")
        for _ in range(3):
            with pytest.raises(Unauthorized):
                await driver.connect()
        assert len(printer.broker.connects) == tries + 1
        await driver.close()

    play(story)


def test_a_code_that_was_changed_at_the_screen(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (_driver, watch):
            printer.access_code = "87654321"
            printer.drop()
            seen = await watch.until("the reason", lambda seen: "access code" in (seen.message or ""))
            assert seen.phase is Phase.OFFLINE

    play(story)


@pytest.mark.parametrize("model", ["P1S", "X1C"])
def test_developer_mode_off(model, tmp_path):
    async def story(printer):
        printer.faults.wire.unsigned = Unsigned.ECHO
        if model == "P1S":  # it tells only after it refused something
            printer.firmware.machine.hms.append((0x05000500, 0x00010007))
        name, words = await last(printer, tmp_path)
        assert name == "developer mode"
        assert "enable Developer Mode on its screen and restart the printer" in words
        async with watched(printer, tmp_path) as (_driver, watch):
            assert Concern.LOCKED in watch.seen[0].concerns

    play(story, model)


def test_a_certificate_that_changed_after_it_was_first_seen(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (_driver, watch):
            await printer.renew_certificate()
            seen = await watch.until("the reason", lambda seen: "certificate" in (seen.message or ""))
            assert seen.phase is Phase.OFFLINE
            pin = tmp_path / "machine" / "certificate.sha256"
            assert str(pin) in seen.message
            connects = len(printer.broker.connects)
            name, words = await last(printer, tmp_path)
            assert name == "certificate"
            assert "somebody stands between" in words
            assert len(printer.broker.connects) == connects  # the access code was not shown to it
            pin.unlink()
            await watch.phase(Phase.IDLE)
            assert pin.read_text().strip() == printer.pin

    play(story)


def test_certificates_that_an_authority_signs(tmp_path):
    async def story(printer):
        ca = tmp_path / "bambu.pem"
        ca.write_text(printer.ca)
        trusting = {"tls": "ca", "tls_ca": str(ca)}
        assert all(check.ok for check in await checks(printer, tmp_path, **trusting))
        name, words = await last(printer, tmp_path, serial=OTHER, **trusting)
        assert name == "certificate"
        assert "correct serial" in words
        name, words = await last(printer, tmp_path, tls="ca", tls_ca=str(tmp_path / "none.pem"))
        assert name == "certificate"
        assert "tls_ca" in words
        strange = tmp_path / "strange.pem"
        strange.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
        name, words = await last(printer, tmp_path, tls="ca", tls_ca=str(strange))
        assert "tls_ca" in words
        await printer.renew_certificate()  # signed by the same: no pin, no question
        assert all(check.ok for check in await checks(printer, tmp_path, **trusting))

    play(story)


def test_a_card_that_is_missing(tmp_path):
    async def story(printer):
        printer.card.state = CardState.MISSING
        name, words = await last(printer, tmp_path)
        assert name == "storage"
        assert "no storage card" in words
        async with watched(printer, tmp_path) as (_driver, watch):
            assert "no storage card" in watch.seen[0].concerns[Concern.STORAGE]

    play(story)


def test_a_file_server_that_cannot_be_reached(tmp_path):
    async def story(printer):
        await asyncio.to_thread(printer.files.close)
        name, words = await last(printer, tmp_path)
        assert name == "file server"
        assert "firewall" in words

    play(story)


def test_dead_printers_cost_no_thread_and_no_time_of_the_others(tmp_path):
    """An address at which nobody answers must not keep a thread, nor the loop, busy."""

    async def story(printer):
        dead = [driver_of(printer, tmp_path / str(number), host="127.0.0.1", mqtt_port=1) for number in range(50)]
        began = time.monotonic()
        answers = await asyncio.gather(*(driver.connect() for driver in dead), return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unreachable}
        assert time.monotonic() - began < 3
        async with watched(printer, tmp_path / "well") as (_driver, watch):
            await watch.phase(Phase.IDLE)
        await asyncio.gather(*(driver.close() for driver in dead))
        await until(lambda: not printer.broker.clients)

    play(story)


def test_the_serial_number_is_read_from_the_certificate():
    assert common_name(make_identity("01P00A123456789", authority()).der) == "01P00A123456789"
    for junk in (b"", b"\x30", b"\x30\x82", b"\x30\x03\x02\x01\x00", b"x" * 100, bytes.fromhex("300b3009a0030201020201013000")):
        assert common_name(junk) is None
