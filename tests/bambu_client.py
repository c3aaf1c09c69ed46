"""A client of a Bambu printer for tests that look at the wire itself: paho and ftplib, as far as they go, and no code of ours."""

import ftplib
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE = 30.0


class SerialContext(ssl.SSLContext):
    """Looks for the printer's serial number in its certificate, whatever its address."""

    serial = ""

    def wrap_socket(self, sock, *args, **kwargs):
        kwargs["server_hostname"] = self.serial
        return super().wrap_socket(sock, *args, **kwargs)


def trusting(ca: str, serial: str) -> SerialContext:
    context = SerialContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca)
    context.serial = serial
    return context


class Listener:
    """One paho client; `merged` is the printer's picture from the last whole report on, `messages` everything heard."""

    def __init__(self, printer, *, code: str | None = None, client_id: str = "", serial: str | None = None, retries: bool = False):
        self.printer, self.serial = printer, serial or printer.serial
        self.messages: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.merged: dict[str, Any] = {}
        self.codes: list[Any] = []
        self.losses: list[Any] = []
        self.published: list[int] = []
        self.subscribed: list[int] = []
        self.news = threading.Condition()
        self._number = 5000
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=retries)
        self.mqtt.username_pw_set("bblp", printer.access_code if code is None else code)
        self.mqtt.tls_set_context(trusting(printer.ca, printer.serial))
        self.mqtt.reconnect_delay_set(1, 1)
        self.mqtt.on_connect = self._connected
        self.mqtt.on_message = self._heard
        self.mqtt.on_subscribe = lambda _client, _data, mid, _codes, _properties: self._note(self.subscribed, mid)
        self.mqtt.on_disconnect = self._lost
        self.mqtt.on_publish = lambda _client, _data, mid, _code, _properties: self._note(self.published, mid)

    def __enter__(self):
        self.mqtt.connect(self.printer.host, self.printer.mqtt_port, keepalive=30)
        self.mqtt.loop_start()
        self.until(lambda: self.subscribed or self.losses or any(code.is_failure for code in self.codes))
        return self

    def __exit__(self, *_failure):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def _connected(self, client, _data, _flags, code, _properties):
        if not code.is_failure:
            client.subscribe(f"device/{self.serial}/report")
        self._note(self.codes, code)

    def _lost(self, _client, _data, _flags, code, _properties):
        self._note(self.losses, code)

    def _note(self, where, what):
        with self.news:
            where.append(what)
            self.news.notify_all()

    def _heard(self, _client, _data, message):
        with self.news:
            self.raw.append(message.payload)
            with suppress(ValueError):
                said = json.loads(message.payload)
                self.messages.append(said)
                if said.get("print", {}).get("command") == "push_status":
                    self._merge(said["print"])
            self.news.notify_all()

    def _merge(self, report):
        if report.get("msg") == 0:
            self.merged = {}
        told = report.get("ams")
        ams = {**self.merged.get("ams", {}), **(told if isinstance(told, dict) else {})}
        self.merged |= report
        self.merged["ams"] = ams

    def until(self, condition, seconds: float = PATIENCE):
        """What `condition` gives once it is true; AssertionError after `seconds`."""
        deadline = time.monotonic() + seconds
        with self.news:
            while not (found := condition()):
                left = deadline - time.monotonic()
                assert left > 0, f"waited in vain; last heard {self.messages[-2:]}"
                self.news.wait(left)
            return found

    def state(self, *words: str):
        """Wait until `gcode_state` is one of these; the picture then."""
        self.until(lambda: self.merged.get("gcode_state") in words)
        return dict(self.merged)

    def say(self, section: str, command: str, *, qos: int = 0, **fields: Any) -> str:
        """Send one command; its sequence_id."""
        self._number += 1
        body = {section: {"sequence_id": str(self._number), "command": command, **fields}}
        self.mqtt.publish(f"device/{self.serial}/request", json.dumps(body), qos=qos)
        return str(self._number)

    def answer(self, number: str, section: str = "print"):
        """The message that carries this sequence_id and is no report."""
        own = lambda said: said.get(section, {})  # noqa: E731
        return self.until(
            lambda: next(
                (own(m) for m in self.messages if own(m).get("sequence_id") == number and own(m).get("command") != "push_status"),
                None,
            )
        )

    def whole(self):
        """Ask for everything; the next whole report."""
        seen = sum(self._is_whole(m) for m in self.messages)
        self.say("pushing", "pushall", version=1, push_target=1)
        self.until(lambda: sum(self._is_whole(m) for m in self.messages) > seen)
        return next(m["print"] for m in reversed(self.messages) if self._is_whole(m))

    @staticmethod
    def _is_whole(said):
        report = said.get("print", {})
        return report.get("command") == "push_status" and "nozzle_type" in report

    def start(self, name: str, subtask_id: str = "1181234567", *, qos: int = 0, **changes: Any) -> str:
        """Start an uploaded file with everything as it should be."""
        body = {
            "param": "Metadata/plate_1.gcode",
            "url": f"ftp:///{name}",
            "file": name,
            "md5": "",
            "subtask_name": name.removesuffix(".gcode.3mf"),
            "project_id": subtask_id,
            "profile_id": "0",
            "task_id": subtask_id,
            "subtask_id": subtask_id,
            "bed_type": "auto",
            "use_ams": True,
            "ams_mapping": [0],
            "ams_mapping2": [{"ams_id": 0, "slot_id": 0}],
        }
        return self.say("print", "project_file", qos=qos, **(body | changes))


class Files(ftplib.FTP_TLS):
    """Implicit TLS, the session of the control connection on every data connection, a bounded goodbye."""

    def __init__(self, printer, *, reuse: bool = True, timeout: float = 20.0, context: ssl.SSLContext | None = None):
        super().__init__(context=context or trusting(printer.ca, printer.serial), timeout=timeout)
        self.printer, self._reuse = printer, reuse

    def __enter__(self):
        self.connect(self.printer.host, self.printer.ftps_port)
        self.login("bblp", self.printer.access_code)
        self.prot_p()
        return self

    def connect(self, host="", port=0, timeout=-999, source_address=None):
        self.host, self.port = host, port
        self.sock = self.context.wrap_socket(socket.create_connection((host, port), self.timeout))
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def login(self, user="", passwd="", acct="", secure=True):
        return ftplib.FTP.login(self, user, passwd, acct)

    def ntransfercmd(self, cmd, rest=None):
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            conn = self.context.wrap_socket(conn, session=self.sock.session if self._reuse else None)
        return conn, size

    def end_of_failed_put(self, name: str, content: bytes) -> str:
        """The server's word on an upload that it breaks off, whether or not the data connection broke first."""
        try:
            return self.put(name, content)
        except OSError:
            return self.getmultiline()
        except ftplib.Error as error:
            return str(error)

    def put(self, name: str, content: bytes, *, unwrap: bool = True) -> str:
        """The server's last word on an upload."""
        self.voidcmd("TYPE I")
        with self.transfercmd(f"STOR {name}") as conn:
            conn.sendall(content)
            if unwrap and isinstance(conn, ssl.SSLSocket):
                conn.settimeout(3)
                with suppress(OSError, ValueError):
                    conn.unwrap()
        return self.voidresp()
