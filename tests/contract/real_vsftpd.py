"""A real vsftpd on this host, as Bambu printers have it inside: TLS from the first byte on, data only within that session.

It knows no users but its anonymous one, because it runs without any right.
"""

import getpass
import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.virtual.bambu.certificate import authority, make_identity
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
SERIAL = "01P00A000000001"
USER = "anonymous"


@dataclass(frozen=True, slots=True)
class Vsftpd:
    """One running server; `files` is what it serves."""

    port: int
    files: Path


@contextmanager
def running_vsftpd(folder: Path) -> Iterator[Vsftpd]:
    """Skips the test where there is no vsftpd."""
    unpacked = ROOT / ".vsftpd"
    program = shutil.which("vsftpd") or (unpacked / "usr" / "sbin" / "vsftpd")
    if not Path(program).exists():
        pytest.skip("no vsftpd: run make setup-test, with apt's lists up to date")
    files = folder / "files"
    files.mkdir()
    (folder / "empty").mkdir()
    (folder / "chain.pem").write_text(make_identity(SERIAL, authority()).chain)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "vsftpd.conf").write_text(_configuration(folder, port))
    libraries = ":".join(str(each) for each in unpacked.glob(f"*/lib/{platform.machine()}-linux-gnu"))
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, (libraries, os.environ.get("LD_LIBRARY_PATH"))))}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, folder / "vsftpd.conf"], stdout=log, stderr=log, env=environment)
    try:
        assert wait_until(lambda: _listens(port, process, folder / "log")), (folder / "log").read_text()
        yield Vsftpd(port, files)
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _configuration(folder: Path, port: int) -> str:
    words = {
        "listen": "YES",
        "listen_address": "127.0.0.1",
        "listen_port": port,
        "background": "NO",
        "run_as_launching_user": "YES",
        "ftp_username": getpass.getuser(),
        "local_enable": "NO",
        "anonymous_enable": "YES",
        "anon_root": folder / "files",
        "write_enable": "YES",
        "anon_upload_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_world_readable_only": "NO",
        "allow_writeable_chroot": "YES",
        "secure_chroot_dir": folder / "empty",
        "pasv_address": "127.0.0.1",
        "connect_from_port_20": "NO",
        "ssl_enable": "YES",
        "implicit_ssl": "YES",
        "require_ssl_reuse": "YES",
        "allow_anon_ssl": "YES",
        "force_anon_data_ssl": "YES",
        "force_anon_logins_ssl": "YES",
        "ssl_ciphers": "HIGH",
        "rsa_cert_file": folder / "chain.pem",
        "rsa_private_key_file": folder / "chain.pem",
        "seccomp_sandbox": "NO",
        "isolate": "NO",
        "isolate_network": "NO",
        "xferlog_enable": "NO",
    }
    return "".join(f"{key}={value}\n" for key, value in words.items())
