"""What goes wrong between a client and a virtual Bambu printer, over real sockets, as paho and ftplib see it in the field."""

import asyncio
import ftplib
import hashlib
import socket
import ssl
import threading
from contextlib import contextmanager, suppress

import paho.mqtt.client as mqtt
import pytest

from drivers.bambu.discover import discover
from drivers.virtual.bambu import VirtualBambu, faults, make_project
from drivers.virtual.bambu.card import CardState
from drivers.virtual.history import Outcome
from tests.bambu_client import Files, Listener, trusting
from tests.bambu_printer import running
from tests.waiting import until, wait_until

pytestmark = pytest.mark.slow  # real sockets, real time
BLOCK = bytes(range(256)) * 256


@pytest.fixture
def printer():
    with running() as hands:
        yield hands


@contextmanager
def dialled(printer):
    """A bare connection to the broker."""
    plain = socket.create_connection((printer.host, printer.mqtt_port))
    with trusting(printer.ca, printer.serial).wrap_socket(plain) as sock:
        yield sock


# --- who it is ---


def test_its_certificate_names_the_serial_number_and_nothing_else(printer):
    with dialled(printer) as sock:
        assert hashlib.sha256(sock.getpeercert(binary_form=True)).hexdigest() == printer.pin
        assert dict(pair for [pair] in sock.getpeercert()["subject"]) == {"commonName": printer.serial}
        assert "subjectAltName" not in sock.getpeercert()
        assert sock.version() == "TLSv1.2"
    with socket.create_connection((printer.host, printer.ftps_port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        trusting(printer.ca, "01P00A999999999").wrap_socket(plain)


def test_after_a_reset_its_certificate_is_another(printer):
    before, ports = printer.pin, (printer.mqtt_port, printer.ftps_port)
    printer.do(printer.renew_certificate())
    assert printer.pin != before
    assert (printer.mqtt_port, printer.ftps_port) == ports
    with Listener(printer) as client:
        assert client.whole()["gcode_state"] == "IDLE"


def test_it_makes_itself_known():
    async def go():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        async with VirtualBambu("X1C", announces=("127.0.0.1", port)) as printer:
            hearing = asyncio.create_task(discover(6.0, port=port))
            [found] = await hearing
            assert (found.serial, found.host, found.model, found.lan) == (printer.serial, "127.0.0.1", "X1C", True)

    asyncio.run(go())


# --- the broker ---


@pytest.mark.parametrize(("words", "code"), [({"code": "00000000"}, 135), ({"code": ""}, 135)])
def test_a_wrong_code_is_refused_at_the_door(words, code, printer):
    with Listener(printer, **words) as client:
        client.until(lambda: client.codes)
        assert client.codes[0].value == code


def test_other_refusals_can_be_told(printer):
    printer.faults.wire.refuse_code = 4
    with Listener(printer) as client:
        client.until(lambda: client.codes)
        assert client.codes[0].value == 134
    assert printer.broker.connects == [4]


def test_the_topics_of_another_serial_number_stay_silent(printer):
    with Listener(printer, serial=printer.serial.lower()) as client, Listener(printer) as right:
        right.whole()
        client.say("pushing", "pushall")
        right.whole()
        assert client.messages == []


@pytest.mark.parametrize("model", ["P1S", "X1C"])
def test_who_subscribes_to_the_requests_is_thrown_out_by_some(model):
    with running(model) as printer, Listener(printer) as client:
        client.mqtt.subscribe(f"device/{printer.serial}/request")
        if model == "P1S":
            client.until(lambda: client.losses)
        else:
            client.until(lambda: len(client.subscribed) == 2)
            client.whole()
            assert client.losses == []
        assert wait_until(lambda: printer.record.complaints == ["subscribed to the request topic"])


def test_the_same_client_id_again_ends_the_first_connection(printer):
    with Listener(printer, client_id="twin") as first, Listener(printer, client_id="twin") as second:
        first.until(lambda: first.losses)
        second.whole()


def test_an_a1_keeps_both(printer):
    with running("A1") as other, Listener(other, client_id="twin") as first, Listener(other, client_id="twin") as second:
        second.whole()
        first.whole()
        assert first.losses == []


def test_no_more_clients_than_there_are_places(printer):
    printer.faults.wire.max_clients = 1
    with Listener(printer) as first:
        with Listener(printer) as second:
            second.until(lambda: second.codes)
            assert second.codes[0].is_failure
        first.whole()
    assert wait_until(lambda: not printer.broker.clients)
    with Listener(printer) as third:
        third.whole()


def test_a_start_at_qos_1_is_sent_again_by_paho_when_its_receipt_is_withheld(printer):
    """Why a start leaves at QoS 0: the client library repeats it after it connected anew, and the printer obeys twice."""
    name = printer.upload()
    printer.faults.wire.withhold_pubacks = True
    printer.faults.job.starts_nothing = True
    with Listener(printer, retries=True) as client:
        client.start(name, qos=1)
        assert wait_until(lambda: printer.record.starts == ["1181234567"])
        printer.call(printer.drop)
        assert wait_until(lambda: len(printer.record.starts) == 2, 15)
        printer.faults.wire.withhold_pubacks = False
        printer.call(printer.drop)
        client.until(lambda: client.published)
        assert wait_until(lambda: len(printer.record.starts) == 3)  # the receipt leaves before the start is carried out


def test_a_start_at_qos_0_leaves_once(printer):
    name = printer.upload()
    printer.faults.wire.withhold_pubacks = True
    with Listener(printer, retries=True) as client:
        client.start(name)
        assert wait_until(lambda: printer.record.starts == ["1181234567"])
        printer.call(printer.drop)
        client.until(lambda: len(client.subscribed) == 2)
        client.state("FINISH")
        assert printer.record.starts == ["1181234567"]


def test_silence_with_a_connection_that_stands_ends_when_reports_are_asked_for(printer):
    with Listener(printer) as client:
        client.whole()
        printer.faults.wire.silent = True
        heard = len(client.messages)
        client.say("pushing", "pushall")
        assert wait_until(lambda: len(printer.record.pushalls) == 2)
        assert len(client.messages) == heard
        client.say("pushing", "start")
        client.until(lambda: len(client.messages) > heard)
        assert client.losses == []


def test_a_printer_that_dozes_for_good_is_not_woken(printer):
    printer.faults.wire.silent, printer.faults.wire.wakes = True, False
    with Listener(printer) as client:
        client.say("pushing", "start")
        assert wait_until(lambda: "pushing.start" in printer.record.commands)
        asked = printer.call(lambda: printer.printer.now)
        assert wait_until(lambda: printer.call(lambda: printer.printer.now) > asked + 20)  # several reports later
        assert client.messages == []
        printer.faults.wire.silent = False
        client.whole()


@pytest.mark.parametrize("spoil", [faults.truncated, faults.not_utf8, faults.huge, faults.wrong_types])
def test_spoiled_reports_reach_the_client_as_they_are(spoil, printer):
    with Listener(printer) as client:
        client.whole()
        seen = len(client.raw)
        printer.faults.wire.spoil_next.append(spoil)
        client.until(lambda: len(client.raw) > seen)
        client.whole()
        assert client.losses == []


def test_what_is_no_mqtt_ends_the_connection_alone(printer):
    with Listener(printer) as client:
        with dialled(printer) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n" + b"Accept: nothing\r\n" * 20)
            with suppress(ConnectionError):
                assert sock.recv(100) == b""
        client.whole()
    assert len(printer.record.complaints) == 1


def test_a_client_that_keeps_no_contact_is_thrown_out(printer):
    hello = bytes.fromhex("101e00044d51545404c2000100026331000462626c7000083132333435363738")
    with dialled(printer) as sock:
        sock.sendall(hello)
        sock.settimeout(10)
        assert sock.recv(4) == b"\x20\x02\x00\x00"
        with suppress(ConnectionError):
            assert sock.recv(4) == b""


def test_lan_mode_off_refuses_messages_and_lets_files_in(printer):
    printer.do(printer.leave_lan_mode())
    with pytest.raises(ConnectionRefusedError):
        mqtt.Client(mqtt.CallbackAPIVersion.VERSION2).connect(printer.host, printer.mqtt_port)
    printer.upload()
    printer.do(printer.restore())
    with Listener(printer) as client:
        client.whole()


def test_a_cut_link_costs_the_print_nothing(printer):
    name = printer.upload(seconds=400.0)
    with Listener(printer, retries=True) as client:
        client.start(name)
        client.state("RUNNING")
        printer.do(printer.cut())
        client.until(lambda: client.losses)
        printer.do(printer.restore())
        client.state("FINISH")
    assert [made.outcome for made in printer.record.prints] == [Outcome.SUCCEEDED]


def test_a_power_cut_is_a_reboot_to_idle(printer):
    name = printer.upload(seconds=4000.0)
    with Listener(printer, retries=True) as client:
        client.start(name)
        client.state("RUNNING")
        printer.do(printer.lose_power())
        client.until(lambda: client.losses)
        printer.do(printer.restore_power())
        client.until(lambda: len(client.subscribed) == 2)
        full = client.whole()
    assert (full["gcode_state"], full["subtask_id"], full["gcode_file"]) == ("IDLE", "0", "")
    assert printer.record.prints[0].outcome is Outcome.LOST
    assert printer.bed.occupied


def test_a_strangers_print(printer):
    with Listener(printer) as client:
        assert printer.call(printer.start_foreign) == "by-hand.gcode.3mf"
        assert client.state("RUNNING")["subtask_name"] == "by-hand"
        with pytest.raises(RuntimeError, match="RUNNING"):
            printer.call(printer.start_foreign)
        printer.call(printer.stop_by_hand)
        client.state("FAILED")


# --- the file server ---


def test_a_data_connection_of_another_session_is_refused(printer):
    with Files(printer, reuse=False) as files:
        assert "522" in files.end_of_failed_put("a.gcode.3mf", BLOCK)
    printer.faults.upload.demands_reuse = False
    with Files(printer, reuse=False) as files:
        assert files.put("a.gcode.3mf", BLOCK).startswith("226")


def test_a_session_of_another_control_connection_is_no_reuse(printer):
    with Files(printer) as first, Files(printer, context=first.context) as second:
        stolen = first.sock.session
        second.voidcmd("TYPE I")
        conn, _ = ftplib.FTP.ntransfercmd(second, "STOR a.gcode.3mf")  # noqa: S321 - the machines speak nothing else
        with suppress(OSError), second.context.wrap_socket(conn, session=stolen) as sock:
            sock.sendall(b"x")
        with pytest.raises(ftplib.error_perm, match="522"):
            second.voidresp()


@pytest.mark.parametrize("command", ["FEAT", "MLSD", "REST 100", "APPE a", "PORT 127,0,0,1,1,1", "SITE X"])
def test_what_the_server_does_not_know(command, printer):
    with Files(printer) as files, pytest.raises(ftplib.error_perm, match="502"):
        files.sendcmd(command)


def test_nobody_does_anything_before_logging_in(printer):
    files = Files(printer)
    files.connect(printer.host, printer.ftps_port)
    with pytest.raises(ftplib.error_perm, match="530"):
        files.size("a")
    with pytest.raises(ftplib.error_perm, match="530"):
        files.login("bblp", "00000000")
    files.close()


def test_files_come_and_go(printer):
    with Files(printer) as files:
        assert "227 Entering Passive Mode (0,0,0,0," in files.sendcmd("PASV")
        files.put("a.gcode.3mf", BLOCK)
        assert {"a.gcode.3mf", "cache", "timelapse"} <= set(files.nlst())
        lines = []
        files.retrlines("LIST", lines.append)
        assert any((line.startswith("-") and line.endswith("65536 " + line[-26:])) or "a.gcode.3mf" in line for line in lines)
        back = bytearray()
        files.retrbinary("RETR a.gcode.3mf", back.extend)
        assert bytes(back) == BLOCK
        assert files.sendcmd("AVBL") == f"213 {printer.card.free}"
        assert files.rename("a.gcode.3mf", "b.gcode.3mf").startswith("250")
        files.cwd("/cache")
        files.put("c.gcode.3mf", b"x")
        assert (printer.card.root / "cache" / "c.gcode.3mf").read_bytes() == b"x"
        files.cwd("/")
        files.delete("b.gcode.3mf")
        for gone in (lambda: files.size("b.gcode.3mf"), lambda: files.delete("b.gcode.3mf"), lambda: files.cwd("/nowhere")):
            with pytest.raises(ftplib.error_perm, match="550"):
                gone()


def test_no_name_leads_out_of_the_card(printer):
    with Files(printer) as files:
        files.put("../../../escaped.gcode.3mf", b"x")
        assert (printer.card.root / "escaped.gcode.3mf").exists()
        for name in ("a:b.gcode.3mf", "a?b", "x" * 101):
            with pytest.raises(ftplib.error_perm, match="553"):
                files.put(name, b"x")


@pytest.mark.parametrize("state", [CardState.MISSING, CardState.READ_ONLY, CardState.DAMAGED])
def test_a_card_that_cannot_be_written(state, printer):
    printer.card.state = state
    with Files(printer) as files, pytest.raises(ftplib.error_perm, match="553"):
        files.put("a.gcode.3mf", BLOCK)


def test_a_card_that_is_full_before_or_in_the_middle(printer):
    printer.card.capacity = 100_000
    with Files(printer) as files:
        assert "552" in files.end_of_failed_put("a.gcode.3mf", BLOCK * 4)
        assert files.size("a.gcode.3mf") == 100_000
        with pytest.raises(ftplib.error_perm, match="553"):
            files.put("b.gcode.3mf", b"x")
        files.delete("a.gcode.3mf")
        assert files.put("b.gcode.3mf", b"x").startswith("226")
    assert [file.whole for file in printer.record.uploads] == [False, True]


def test_a_file_that_is_being_printed_is_neither_replaced_nor_deleted(printer):
    name = printer.upload(seconds=4000.0)
    with Listener(printer) as client, Files(printer) as files:
        client.start(name)
        client.state("RUNNING")
        with pytest.raises(ftplib.error_perm, match="553"):
            files.put(name, b"x")
        with pytest.raises(ftplib.error_perm, match="550"):
            files.delete(name)


def test_an_upload_cut_short_and_confirmed(printer):
    printer.faults.upload.lose_after = 50_000
    with Files(printer) as files:
        assert files.put("a.gcode.3mf", BLOCK).startswith("226")
        assert files.size("a.gcode.3mf") == 50_000
    printer.faults.upload.lose_after = None
    with Files(printer) as files:
        files.put("a.gcode.3mf", BLOCK)
        assert files.size("a.gcode.3mf") == len(BLOCK)


def test_a_connection_that_dies_in_the_middle(printer):
    printer.faults.upload.die_at = 30_000
    with Files(printer) as files, pytest.raises((OSError, EOFError, ftplib.Error)):
        files.put("a.gcode.3mf", BLOCK * 20)
    assert wait_until(lambda: [file.whole for file in printer.record.uploads] == [False])
    assert printer.card.size("/a.gcode.3mf") == 30_000


def test_a_connection_that_dies_before_the_confirmation(printer):
    printer.faults.upload.unconfirmed = True
    with Files(printer) as files, pytest.raises((OSError, EOFError)):
        files.put("a.gcode.3mf", BLOCK)
    assert printer.card.size("/a.gcode.3mf") == len(BLOCK)


def test_without_a_close_notify_a_plain_goodbye_hangs_and_a_bounded_one_does_not(printer):
    printer.faults.upload.keeps_open = True
    with Files(printer, timeout=2.0) as files:
        files.voidcmd("TYPE I")
        conn = files.transfercmd("STOR a.gcode.3mf")
        conn.sendall(BLOCK)
        conn.settimeout(1.0)
        with pytest.raises(TimeoutError):
            conn.unwrap()
        conn.close()
        assert files.voidresp().startswith("226")
        assert files.size("a.gcode.3mf") == len(BLOCK)


def test_no_handshake_on_data_connections_and_a_bare_one_instead(printer):
    printer.faults.upload.deaf_data = True
    with suppress(ftplib.error_temp), Files(printer, timeout=1.0) as files, pytest.raises(TimeoutError):
        files.put("a.gcode.3mf", BLOCK)
    with Files(printer) as files:
        files.prot_c()
        assert files.put("a.gcode.3mf", BLOCK).startswith("226")


def test_a_slow_link_is_as_slow_as_it_says(printer):
    printer.faults.upload.rate = 200_000.0
    loop = asyncio.new_event_loop()
    try:
        began = loop.time()
        with Files(printer) as files:
            files.put("a.gcode.3mf", BLOCK * 3)
        assert loop.time() - began >= 0.9
    finally:
        loop.close()


def test_a_late_confirmation_and_a_refusal(printer):
    printer.faults.upload.confirm_after = 60.0
    with Files(printer, timeout=1.0) as files, pytest.raises(TimeoutError):
        files.put("a.gcode.3mf", BLOCK)
    printer.faults.upload.confirm_after, printer.faults.upload.refuse = 0.0, "553 Could not create file."
    with Files(printer) as files, pytest.raises(ftplib.error_perm, match="553"):
        files.put("a.gcode.3mf", BLOCK)


def test_a_server_that_takes_connections_and_says_nothing(printer):
    printer.faults.upload.hangs = True
    files = Files(printer, timeout=1.0)
    with pytest.raises(TimeoutError):
        files.connect(printer.host, printer.ftps_port)


def test_everything_ends_with_the_printer():
    before = threading.active_count()
    with running() as printer:
        printer.faults.upload.rate = 10_000.0
        going = threading.Thread(target=swallow, args=(printer,))
        going.start()
        assert wait_until(lambda: printer.card.size("/slow.gcode.3mf") is not None)
    going.join(10)
    assert not going.is_alive()
    assert wait_until(lambda: threading.active_count() == before)


def swallow(printer):
    with suppress(OSError, EOFError, ftplib.Error), Files(printer) as files:
        files.put("slow.gcode.3mf", BLOCK * 100)


def test_a_taken_port_leaves_nothing_behind():
    async def go():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            printer = VirtualBambu(ftps_port=listener.getsockname()[1])
            with pytest.raises(OSError, match="in use"):
                await printer.start()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", printer.mqtt_port)
        await until(lambda: not printer.broker.clients)

    asyncio.run(go())


def test_wrong_words_for_a_printer_name_the_cure():
    with pytest.raises(ValueError, match="there are P1S"):
        VirtualBambu("MK4")
    with pytest.raises(ValueError, match="speed must be above 0"):
        VirtualBambu(speed=0)


def test_a_file_is_the_same_bytes_for_the_same_words():
    assert make_project(100, model="C12") == make_project(100, model="C12") != make_project(101, model="C12")
