"""Bambu printers that make themselves heard in the network, and the configuration proposed for them."""

import asyncio
import socket
import tomllib
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from drivers.bambu.discover import PORT, Found, discover, read_notice
from drivers.bambu.options import read_options
from farmd.cli import run
from farmd.fleet.lan_printers import lan_block

NOTICE = (
    b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nServer: UPnP/1.0\r\nLocation: 192.168.1.40\r\n"
    b"NT: urn:bambulab-com:device:3dprinter:1\r\n"
    b"USN: 22E8BJ610801473\r\nCache-Control: max-age=1800\r\nDevModel.bambu.com: N7\r\nDevName.bambu.com: Werkstatt\r\n"
    b"DevConnect.bambu.com: lan\r\nDevBind.bambu.com: free\r\nDevVersion.bambu.com: 01.01.02.00\r\n\r\n"
)


def test_a_notice_names_the_printer():
    assert read_notice(NOTICE, "10.0.0.1") == Found("22E8BJ610801473", "192.168.1.40", "P2S", "Werkstatt", "01.01.02.00", lan=True)


def test_an_address_that_is_not_told_is_the_senders():
    assert read_notice(NOTICE.replace(b"Location: 192.168.1.40\r\n", b""), "10.0.0.1").host == "10.0.0.1"


def test_the_serial_number_tells_the_model_where_the_code_is_new():
    assert read_notice(NOTICE.replace(b"N7", b"N9"), "x").model == "P2S"
    assert read_notice(NOTICE.replace(b"N7", b"N9").replace(b"22E8", b"99Z8"), "x").model == "N9"


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xff" * 3000,
        b"M-SEARCH * HTTP/1.1\r\nUSN: 22E8BJ610801473\r\n",
        b"NOTIFY *\r\n",
        b"NOTIFY *\r\nUSN: uuid:4d-a\r\n",
        b"NOTIFY *\r\nUSN\r\n",
    ],
)
def test_what_no_printer_says_is_nothing(datagram):
    assert read_notice(datagram, "x") is None


def test_a_name_cannot_break_out_of_the_proposed_block():
    found = read_notice(NOTICE.replace(b"Werkstatt", b'x"\x00\x85\n[server] # "'), "x")
    block = tomllib.loads(lan_block(found, 1))
    assert list(block) == ["printers"]


def test_a_proposed_block_is_a_configuration_but_for_the_code():
    (block,) = tomllib.loads(lan_block(read_notice(NOTICE, "x"), 3))["printers"]
    assert (block.pop("id"), block.pop("driver"), block.pop("access_code_file")) == ("bambu-03", "bambu", "bambu-03.code")
    for key in ("material", "color"):
        block.pop(key)
    assert read_options({**block, "access_code": "12345678"}).model.name == "P2S"


def test_printers_are_heard_and_each_is_named_once():
    async def go():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        hearing = asyncio.create_task(discover(0.5, port=port))
        await asyncio.sleep(0)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as voice:
            for words in (NOTICE, NOTICE, b"noise", NOTICE.replace(b"22E8BJ610801473", b"01P00A000000001").replace(b"N7", b"C12")):
                voice.sendto(words, ("127.0.0.1", port))
        return await hearing

    assert [(each.serial, each.model) for each in asyncio.run(go())] == [("01P00A000000001", "P1S"), ("22E8BJ610801473", "P2S")]


@pytest.mark.slow
def test_the_command_proposes_a_block_for_every_printer_it_hears(capsys):
    with ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as voice:
        command = pool.submit(run, ["printers", "discover"])
        while not wait([command], timeout=0.5).done:
            voice.sendto(NOTICE, ("127.0.0.1", PORT))
        assert command.result() == 0
    assert tomllib.loads(capsys.readouterr().out)["printers"][-1]["serial"] == "22E8BJ610801473"
