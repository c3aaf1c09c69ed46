"""Where foreign programs run: the slicer and the model reader, both fed with strangers' files.

Every child gets its own session, hard resource limits, a small environment and a parent-death signal, all set by
util-linux in the child itself (no code of ours runs between fork and exec).
This room must never leave a process behind: not on success, timeout or cancellation, nor when farmd itself is killed.
"""

import asyncio
import codecs
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

TAIL_BYTES = 64 * 1024
LONGEST_LINE = 64 * 1024
TERM_GRACE_SECONDS = 0.5
DRAIN_SECONDS = 1.0
STDOUT, STDERR = 1, 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use. `memory_bytes` is address space; `file_bytes` is the size of any one file it writes."""

    cpu_seconds: int
    memory_bytes: int
    file_bytes: int
    wall_seconds: float


@dataclass(frozen=True, slots=True)
class Finished:
    """How a child ended. A negative `returncode` is the signal that ended it; output is the last 64 KiB of each."""

    returncode: int
    stdout: str
    stderr: str
    timed_out: bool


async def run_limited(
    argv: Sequence[str],
    *,
    cwd: Path,
    limits: Limits,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run `argv` in `cwd` under `limits` and wait for its end; `on_line` sees every line of standard output.

    The whole process group is gone when this returns, raises or is cancelled. `env` adds to the small environment.
    Raises FileNotFoundError when the program, or util-linux's setpriv and prlimit, cannot be found, and whatever
    `on_line` raises (the child is killed first).
    """
    command = _confined(argv, limits)
    loop = asyncio.get_running_loop()
    transport, listener = await loop.subprocess_exec(
        lambda: _Listener(loop, on_line),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=_environment(cwd, env),
        start_new_session=True,
    )
    timed_out = False
    try:
        async with asyncio.timeout(limits.wall_seconds):
            await asyncio.shield(listener.exited)
    except TimeoutError:
        timed_out = True
    finally:
        try:
            await _end_group(transport.get_pid(), listener)
        finally:
            transport.close()
    if listener.complaint is not None:
        raise listener.complaint
    returncode = cast("int", transport.get_returncode())
    return Finished(returncode, listener.text(STDOUT), listener.text(STDERR), timed_out)


async def _end_group(group: int, listener: "_Listener") -> None:
    """End whatever is left of the process group: TERM, a moment, KILL. A second cancellation goes straight to KILL."""
    try:
        if not listener.exited.done() or listener.complaint is not None:
            _signal_group(group, signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(TERM_GRACE_SECONDS):
                    await asyncio.shield(listener.gone)
    finally:
        _signal_group(group, signal.SIGKILL)
    await asyncio.shield(listener.gone)
    # A grandchild that left the session may hold the pipes open; the output of such a one is not waited for.
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            await asyncio.shield(listener.drained)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _confined(argv: Sequence[str], limits: Limits) -> list[str]:
    """Wrap `argv` so that the child confines itself before it becomes the program."""
    return [
        _program("setpriv"),
        "--no-new-privs",
        "--pdeathsig",
        "KILL",
        # A slicer takes every core it finds; a print being streamed must never wait for one.
        _program("nice"),
        "-n",
        "10",
        _program("prlimit"),
        # The soft CPU limit ends the child by SIGXCPU, which tells it from the kernel's out-of-memory SIGKILL.
        f"--cpu={limits.cpu_seconds}:{limits.cpu_seconds + 1}",
        f"--as={limits.memory_bytes}",
        f"--fsize={limits.file_bytes}",
        "--core=0",
        "--",
        _program(argv[0]),
        *argv[1:],
    ]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed or not executable: install it, or correct its path")
    return str(Path(found).absolute())


def _environment(cwd: Path, extra: Mapping[str, str] | None) -> dict[str, str]:
    """Nothing of farmd's own environment (keys, tokens) reaches a child; the locale keeps decimal points points."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(cwd),
        "TMPDIR": str(cwd),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        **(extra or {}),
    }


class _Listener(asyncio.SubprocessProtocol):
    """Keeps the tails of both streams, cuts standard output into lines, and knows three moments of a child's end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_line: Callable[[str], None] | None) -> None:
        self.exited: asyncio.Future[None] = loop.create_future()  # it ended, or there is no use in waiting for it
        self.gone: asyncio.Future[None] = loop.create_future()  # it ended and was reaped
        self.drained: asyncio.Future[None] = loop.create_future()  # and nobody holds its pipes any more
        self.complaint: Exception | None = None
        self._on_line = on_line
        self._tails = {STDOUT: bytearray(), STDERR: bytearray()}
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""

    def text(self, stream: int) -> str:
        return self._tails[stream][-TAIL_BYTES:].decode("utf-8", "replace")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        tail = self._tails[fd]
        tail += data
        if len(tail) > 2 * TAIL_BYTES:
            del tail[:-TAIL_BYTES]
        if fd == STDOUT and self._on_line is not None:
            *lines, rest = (self._partial + self._decoder.decode(data)).split("\n")
            self._partial = rest[-LONGEST_LINE:]
            self._tell(lines)

    def process_exited(self) -> None:
        for moment in (self.exited, self.gone):
            if not moment.done():
                moment.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol names it
        if self._partial:
            self._tell([self._partial])
        if not self.drained.done():
            self.drained.set_result(None)

    def _tell(self, lines: list[str]) -> None:
        if self._on_line is None or self.complaint is not None:
            return
        try:
            for line in lines:
                self._on_line(line)
        except Exception as error:  # supervised edge: the caller's callback failed; the caller hears it from run_limited
            self.complaint = error
            if not self.exited.done():
                self.exited.set_result(None)
