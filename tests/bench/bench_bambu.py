"""What a thousand Bambu printers cost that report once a second over TLS: processor time and memory of the driver, beside those of
the least that could read the same reports (a loop, a TLS connection each, and `orjson`).

python -m tests.bench.bench_bambu [PRINTERS] [SECONDS]
"""

import asyncio
import contextlib
import gc
import json
import multiprocessing
import os
import resource
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson

from drivers.bambu.driver import BambuDriver
from drivers.bambu.options import read_options
from drivers.bambu.tls import context_for
from drivers.virtual.bambu import packets
from drivers.virtual.bambu.certificate import authority, make_identity
from drivers.virtual.bambu.packets import Kind, Splitter

SERIAL = "01P00A000000001"
REPORTS = f"device/{SERIAL}/report"
TRAYS = [
    {"id": str(place), "tray_type": "PLA", "tray_color": "DE4343FF", "remain": 80, "tray_uuid": "A" * 32, "tag_uid": "B" * 16}
    | {"nozzle_temp_min": "190", "nozzle_temp_max": "230", "tray_info_idx": "GFA01", "tray_weight": "1000", "k": 0.02, "state": 3}
    for place in range(4)
]
FULL: dict[str, Any] = {
    "command": "push_status",
    "msg": 0,
    "sequence_id": "1",
    "gcode_state": "RUNNING",
    "mc_percent": 42,
    "layer_num": 24,
    "total_layer_num": 75,
    "mc_remaining_time": 78,
    "gcode_file": "by-hand.gcode.3mf",
    "subtask_name": "by-hand",
    "subtask_id": "7",
    "task_id": "7",
    "project_id": "7",
    "profile_id": "0",
    "print_error": 0,
    "hms": [],
    "stg": [],
    "stg_cur": 0,
    "nozzle_temper": 219.8,
    "nozzle_target_temper": 220.0,
    "bed_temper": 60.0,
    "bed_target_temper": 60.0,
    "sdcard": True,
    "home_flag": 256,
    "wifi_signal": "-45dBm",
    "vt_tray": {"id": "254", "tray_type": ""},
    "upload": {"status": "idle"},
    "ams": {"ams": [{"id": "0", "tray": TRAYS}], "tray_exist_bits": "f", "tray_now": "0"},
    "upgrade_state": {"status": ""},
    "ipcam": {"ipcam_dev": "1", "ipcam_record": "enable"},
    "xcam": {"printing_monitor": True},
    "online": {"ahb": False},
    **{f"field_{number}": f"value {number}" for number in range(60)},
}


def delta(beat: int) -> dict[str, Any]:
    """What a P1 or an A1 says between two full reports."""
    return {
        "command": "push_status", "msg": 1, "sequence_id": str(beat), "nozzle_temper": 219.0 + beat % 10 / 10,
        "bed_temper": 60.0 + beat % 3 / 10, "wifi_signal": f"-{40 + beat % 9}dBm", "mc_percent": 42 + beat // 20 % 50,
    }  # fmt: skip


def report(kind: str, beat: int) -> bytes:
    body = FULL | delta(beat) | {"msg": 0} if kind == "X1" else delta(beat)
    return packets.publish(REPORTS, orjson.dumps({"print": body}))


class Crowd:
    """A broker that plays every printer: whoever subscribes hears a report a second, all of them evenly."""

    def __init__(self, kind: str) -> None:
        self._kind, self._beat = kind, 0
        self._listening: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = Splitter()
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                for packet in splitter.feed(data):
                    if packet.kind == Kind.CONNECT:
                        writer.write(packets.connack(0))
                    elif packet.kind == Kind.SUBSCRIBE:
                        writer.write(packets.suback(packets.read_subscribe(packet).number, [0]))
                        writer.write(packets.publish(REPORTS, orjson.dumps({"print": FULL})))
                        self._listening.append(writer)
                    elif packet.kind == Kind.PINGREQ:
                        writer.write(packets.pingresp())
        self._listening = [each for each in self._listening if each is not writer]
        writer.close()

    async def speak(self) -> None:
        """A twentieth of them every twentieth of a second."""
        loop, parts = asyncio.get_running_loop(), 20
        due = loop.time()
        while True:
            for part in range(parts):
                if part == 0:
                    self._beat += 1
                    said = report(self._kind, self._beat)
                for writer in self._listening[part::parts]:
                    if not writer.is_closing():
                        writer.write(said)
                due += 1 / parts
                await asyncio.sleep(max(0.0, due - loop.time()))


def play_crowd(kind: str, ports: Any) -> None:
    async def go() -> None:
        crowd = Crowd(kind)
        context = make_identity(SERIAL, authority()).server_context(ssl.TLSVersion.TLSv1_2)
        server = await asyncio.start_server(crowd.serve, "127.0.0.1", 0, ssl=context, backlog=2000)
        ports.send(server.sockets[0].getsockname()[1])
        await crowd.speak()

    asyncio.run(go())


async def floor(port: int, stack: contextlib.AsyncExitStack) -> None:
    """The least: connect, subscribe, and read every report."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context_for(None, newest=True), server_hostname=SERIAL)
    hello = b"\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"
    topic = REPORTS.encode()
    subscribe = b"\x00\x01" + len(topic).to_bytes(2, "big") + topic + b"\x00"
    writer.write(bytes((0x10, len(hello))) + hello + bytes((0x82, len(subscribe))) + subscribe)

    async def read() -> None:
        splitter, skip = Splitter(), 2 + len(topic)
        while data := await reader.read(65_536):
            for packet in splitter.feed(data):
                if packet.kind == Kind.PUBLISH:
                    orjson.loads(packet.body[skip:])

    task = asyncio.create_task(read())
    stack.callback(task.cancel)
    stack.callback(writer.close)


async def driven(port: int, stack: contextlib.AsyncExitStack, folder: Path) -> None:
    options = {"host": "127.0.0.1", "serial": SERIAL, "access_code": "12345678", "mqtt_port": port}
    driver = BambuDriver("p1s-01", read_options(options), folder)
    stack.push_async_callback(driver.close)
    await driver.connect()

    async def watch() -> None:
        async for _ in driver.snapshots():
            pass

    task = asyncio.create_task(watch())
    stack.callback(task.cancel)


async def measure(what: str, kind: str, printers: int, seconds: float, port: int, folder: Path) -> tuple[float, float]:
    """Milliseconds of processor time for a printer and second, and kilobytes for a printer."""
    async with contextlib.AsyncExitStack() as stack:
        await (floor(port, stack) if what == "floor" else driven(port, stack, folder))
        gc.collect()
        before = memory()
        gate = asyncio.Semaphore(50)

        async def one() -> None:
            async with gate:
                await (floor(port, stack) if what == "floor" else driven(port, stack, folder))

        await asyncio.gather(*(one() for _ in range(printers - 1)))
        await asyncio.sleep(2)
        begun, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        used, passed = time.process_time() - cpu, time.monotonic() - begun
        gc.collect()
        return used / passed / printers * 1000, (memory() - before) / printers / 1024


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(what: str, kind: str, printers: int, seconds: float, answers: Any) -> None:
    """In a process of its own, so that nothing is measured that another left behind."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    here, there = multiprocessing.Pipe()
    crowd = multiprocessing.Process(target=play_crowd, args=(kind, there))
    crowd.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            answers.send(asyncio.run(measure(what, kind, printers, seconds, here.recv(), Path(folder))))
    finally:
        crowd.kill()
        crowd.join()


def main() -> None:
    printers, seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000, float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    authority()
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for kind in ("P1", "X1"):
        for what in ("floor", "driver"):
            here, there = multiprocessing.Pipe()
            process = multiprocessing.Process(target=run, args=(what, kind, printers, seconds, there))
            process.start()
            there.close()
            found.setdefault(kind, {})[what] = here.recv()
            process.join()
        (least, room), (ours, mine) = found[kind]["floor"], found[kind]["driver"]
        size = len(report(kind, 1))
        print(
            f"{printers} printers, {kind} reports of {size} bytes each second: driver {ours * printers / 10:.0f} % of a core, "
            f"floor {least * printers / 10:.0f} % (x {ours / least:.1f}); driver {mine:.0f} kB each, floor {room:.0f} kB"
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
