"""The virtual Marlin held to others: a host that prints on real machines, and the stand-in that OctoPrint is tested with.

Where the stand-in answers otherwise, both answers stand in the table: ours is that of real firmware.
"""

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from drivers.virtual.marlin import Board, Fault, Firmware, Kind
from drivers.virtual.marlin.port import Port
from tests.contract.real_octoprint import require_octoprint
from tests.serial_bench import framed
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PRINTRUN = ROOT / ".venv-printrun" / "bin" / "python"
HERE = Path(__file__).parent


# --- printcore ---


def part(lines: int) -> list[str]:
    moves = [f"G1 X{number % 50:.2f} Y{number % 37:.2f} E{number / 40:.4f} F9000" for number in range(lines)]
    return ["M104 S205", "G90", "M82", "G92 E0", *moves, "M104 S0", "M400"]


@pytest.mark.parametrize("damaged", [0, 4])
def test_printcore_prints_a_file_exactly(tmp_path, damaged):
    """Also when lines on their way to the printer are damaged."""
    if not PRINTRUN.exists():
        pytest.skip("Printrun is not installed; run .ci/printrun-environment")
    lines = part(400)
    (tmp_path / "part.gcode").write_text("\n".join(lines) + "\n")
    script = [Fault(Kind.GARBLE_IN, after=60 * (number + 1)) for number in range(damaged)]
    firmware = Firmware(Board(cold_extrusion=True, reset_on_open=True, boot_seconds=0.5), seed=3, script=script)

    async def run():
        port = Port(firmware, tmp_path / "ttyVIRT0", speed=10.0)
        port.open()
        try:
            command = [str(PRINTRUN), str(HERE / "printcore_host.py"), str(port.path), "250000", str(tmp_path / "part.gcode")]
            host = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
            said, _ = await asyncio.wait_for(host.communicate(), 90)
            assert host.returncode == 0, said.decode()
            await until(lambda: firmware.record.numbered_count >= len(lines))  # the last may still be on the wire
        finally:
            port.close()

    asyncio.run(run())
    assert [payload.decode() for payload in firmware.record.numbered] == lines
    assert (firmware.resends > 0) is (damaged > 0)
    assert firmware.dropped == 0


# --- OctoPrint's VirtualPrinter ---


class Row(NamedTuple):
    """What is sent, what is answered; `theirs` only where the stand-in differs."""

    sent: bytes
    answer: list[str]
    theirs: list[str] | None = None


AGAIN = ["Error", "Resend 2", "ok"]

CONVERSATION = [
    Row(b"M113 S0\n", ["ok"]),  # no word while something takes long
    Row(b"N0 M110 N0*125\n", ["ok"]),
    Row(framed(1, "M117 first"), ["ok"]),
    Row(b"M117 no number\n", ["ok"]),
    Row(b"N2 M117 damaged*1\n", AGAIN),
    Row(framed(5, "M117 too far"), AGAIN),
    Row(b"N0 M110 N1*124\n", ["ok"]),
    Row(b"\n", []),
    Row(b"M105\n", ["ok T"]),
    Row(b"G1 X10 F6000\n", ["ok"]),
    Row(b"M400\n", ["ok"]),
    Row(b"M108\n", ["ok"]),
    Row(b"M115\n", ["FIRMWARE_NAME", "Cap", "ok"]),
    Row(b"M20\n", ["Begin file list", "End file list", "ok"]),
    Row(b"M27\n", ["Not SD printing", "ok"]),
    # from here on they differ
    Row(framed(1, "M117 again"), [], ["ok"]),  # there the number in front of M110 counts, here the one behind it
    Row(framed(1, "M117 and again"), [], AGAIN),
    Row(b"N2 M117 no checksum\n", AGAIN, ["ok"]),
    Row(b"; comment\n", [], ["ok"]),
    Row(b"g1 x1\n", ["echo:Unknown command", "ok"], ["ok"]),
    Row(b"M9876\n", ["echo:Unknown command", "ok"], ["ok"]),
    Row(b"G28\n", ["X", "ok"], ["ok"]),
    Row(b"M114\n", ["X", "ok"], ["ok X"]),
    Row(
        b"M28 a.gco\nM29\n",
        ["echo:Now fresh file", "Writing to file", "ok", "Done saving file.", "ok"],
        ["Writing to file", "ok", "Done saving file", "ok"],
    ),
    Row(b"M112\n", ["echo:M112 Shutdown", "Error", "//action:poweroff"], ["echo:EMERGENCY SHUTDOWN DETECTED. KILLED."]),
]


def shape(lines: list[str]) -> list[str]:
    """The lines without what may differ between two machines: spelling of errors, names and numbers."""
    shaped: list[str] = []
    for line in lines:
        line = re.sub(r"^Resend: ?(\d+)$", r"Resend \1", line)
        line = re.sub(
            r"^(Error|Cap|FIRMWARE_NAME|ok T|ok X|X|open failed|Writing to file|echo:Now fresh file|echo:Unknown command)\b.*",
            r"\1",
            line,
        )
        if line != "Cap" or shaped[-1:] != ["Cap"]:
            shaped.append(line)
    return shaped


class Terminal:
    """A host that sends one thing and hears all that belongs to it."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self._rest, self._fences = b"", 0

    def talk(self, sent: bytes, *, last: str | None = None) -> list[str]:
        """The answer to `sent`: everything up to an echo that is asked for behind it, or up to the line `last`."""
        os.write(self._fd, sent)
        fence = self._fence() if last is None else last
        heard: list[str] = []
        while not heard or fence not in heard[-1]:
            heard.append(self._line())
            if heard[-1] == "ok" and heard[-2:-1] and heard[-2].startswith("Resend") and last is None:
                fence = self._fence()  # the first was thrown away with what had come
        if last is None:
            assert self._line() == "ok"
        return [line for number, line in enumerate(heard) if "fence" not in line and not _answers_fence(heard, number)]

    def close(self) -> None:
        os.close(self._fd)

    def _fence(self) -> str:
        self._fences += 1
        os.write(self._fd, b"M118 fence%d.\n" % self._fences)
        return f"fence{self._fences}."

    def _line(self) -> str:
        deadline = time.monotonic() + 20
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no answer; so far {self._rest!r}"
            self._rest += os.read(self._fd, 4096)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("latin-1").rstrip("\r")


def _answers_fence(heard: list[str], number: int) -> bool:
    return heard[number] == "ok" and number > 0 and "fence" in heard[number - 1]


@contextmanager
def served(*command: str) -> Iterator[str]:
    """The terminal that a process names on its first line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGKILL)


def conversation(terminal: Terminal, last: str) -> list[list[str]]:
    """Every answer; after the final command nothing but `last` can be waited for."""
    *rows, kill = CONVERSATION
    heard = [shape(terminal.talk(row.sent)) for row in rows]
    return [*heard, shape(terminal.talk(kill.sent, last=last))]


def test_our_side_of_the_conversation(tmp_path):
    with served(sys.executable, "-m", "drivers.virtual.marlin", "--speed", "20", "--dir", str(tmp_path)) as path:
        terminal = Terminal(path)
        assert conversation(terminal, "//action:poweroff") == [row.answer for row in CONVERSATION]
        terminal.close()


@pytest.mark.octoprint
def test_octoprints_stand_in_says_the_same_but_where_the_table_tells():
    require_octoprint()
    python = ROOT / ".venv-octoprint" / "bin" / "python"
    with served(str(python), str(HERE / "virtual_printer_port.py")) as path:
        terminal = Terminal(path)
        terminal.talk(b"", last="SD card ok")  # its greeting
        expected = [row.answer if row.theirs is None else row.theirs for row in CONVERSATION]
        assert conversation(terminal, "KILLED") == expected
        terminal.close()
