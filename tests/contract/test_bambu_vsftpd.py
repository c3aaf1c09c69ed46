"""The file half of the Bambu driver against the file server the printers themselves run: a real vsftpd that wants its TLS sessions
resumed and cuts short what is not ended in order."""

import ftplib
import io
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from drivers.bambu.ftps import BLOCK, CalledOff, Errand, Server
from drivers.bambu.tls import context_for
from drivers.contract import Refused, Unreachable
from tests.contract.real_vsftpd import SERIAL, USER, Vsftpd, running_vsftpd

NAME = "farmd-att-1.gcode.3mf"


@pytest.fixture(scope="module")
def vsftpd(tmp_path_factory) -> Iterator[Vsftpd]:
    with running_vsftpd(tmp_path_factory.mktemp("vsftpd")) as running:
        yield running


@contextmanager
def visiting(vsftpd: Vsftpd, errand: Errand | None = None, kind: type[Server] = Server) -> Iterator[Server]:
    bare = socket.create_connection(("127.0.0.1", vsftpd.port), timeout=10)
    sock = context_for(None, newest=False).wrap_socket(bare, server_hostname=SERIAL)
    server = kind(sock, "127.0.0.1", SERIAL, errand or Errand())
    try:
        server.log_in(USER, "12345678")
        yield server
    finally:
        server.leave()


@pytest.mark.parametrize("size", [1, BLOCK, 3_000_001])
def test_every_byte_of_an_upload_arrives(vsftpd, size):
    content, told = os.urandom(size), []
    with visiting(vsftpd) as server:
        server.put(NAME, io.BytesIO(content), size, told.append)
        assert server.look(NAME) == size
    assert (vsftpd.files / NAME).read_bytes() == content
    assert told[-1] == size
    assert told == sorted(told)


def test_a_second_upload_replaces_the_first(vsftpd):
    for content in (b"a" * 900_000, b"b" * 10):
        with visiting(vsftpd) as server:
            server.put(NAME, io.BytesIO(content), len(content), lambda _: None)
    assert (vsftpd.files / NAME).read_bytes() == b"b" * 10


def test_deleting_twice_is_a_no_op(vsftpd):
    with visiting(vsftpd) as server:
        server.put(NAME, io.BytesIO(b"x"), 1, lambda _: None)
        server.delete_file(NAME)
        server.delete_file(NAME)
        assert server.look(NAME) is None
    assert not (vsftpd.files / NAME).exists()


class Forgetful(Server):
    """One that begins a new TLS session for the data connection."""

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - within TLS
        return self.context.wrap_socket(conn, server_hostname=SERIAL), size


def test_the_server_does_insist_on_its_session(vsftpd):
    with visiting(vsftpd, kind=Forgetful) as server, pytest.raises(Unreachable, match="did not take up the TLS session"):
        server.put(NAME, io.BytesIO(b"x" * 100_000), 100_000, lambda _: None)


def test_a_file_that_cannot_be_made_is_refused_with_the_servers_word(vsftpd):
    with visiting(vsftpd) as server, pytest.raises(Refused, match=r"storage card.*553"):
        server.put("no-such-folder/x.gcode.3mf", io.BytesIO(b"x"), 1, lambda _: None)


def test_a_file_that_grew_shorter_on_the_way_is_not_there_afterwards(vsftpd):
    with visiting(vsftpd) as server, pytest.raises(Unreachable, match="10 of 20 bytes"):
        server.put(NAME, io.BytesIO(b"x" * 10), 20, lambda _: None)
    assert not (vsftpd.files / NAME).exists()


def test_an_upload_that_is_called_off_ends_at_once(vsftpd):
    class Slow(io.RawIOBase):
        """A file whose second block never comes by itself."""

        def __init__(self) -> None:
            self.asked, self.go_on = threading.Event(), threading.Event()

        def read(self, _size=-1):
            if self.asked.is_set():
                self.go_on.wait(10)
            self.asked.set()
            return b"x" * BLOCK

    slow, errand, ended = Slow(), Errand(), []

    def upload():
        with visiting(vsftpd, errand) as server:
            try:
                server.put(NAME, slow, 1 << 30, lambda _: None)
            except CalledOff as error:
                ended.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    with closing(slow):
        assert slow.asked.wait(10)
        errand.call_off()
        slow.go_on.set()
        thread.join(10)
    assert not thread.is_alive()
    assert len(ended) == 1
