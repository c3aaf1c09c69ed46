"""farmd's commands in processes that were forked from one which has loaded farmd already: seconds of import for each are saved.

The process is as real as any: its own memory, signals, files and exit code, and what runs in it is the command's entry point. That
the installed command itself does the same is held by the tests of whole orders, bad days and packaging.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.loaded", "tests.forked"])


class Forked:
    """One command at work; the few methods of `subprocess.Popen` that tests of daemons use."""

    def __init__(self, argv: Sequence[object], output: IO[bytes], errors: IO[bytes], environment: Mapping[str, str] | None = None):
        words = [str(word) for word in argv]
        files = output.name, errors.name
        self._process = _CONTEXT.Process(target=_run, args=(words, *files, dict(environment or os.environ)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return None if self._process.is_alive() else self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("farmd", seconds)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    argv: Sequence[object], environment: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """A command from its beginning to its end."""
    with tempfile.NamedTemporaryFile() as output, tempfile.NamedTemporaryFile() as errors:
        process = Forked(argv, output, errors, environment)
        try:
            code = process.wait(timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(list(argv), code, Path(output.name).read_text(), Path(errors.name).read_text())


def _run(argv: list[str], output: str, errors: str, environment: dict[str, str]) -> None:
    from farmd.cli import main

    os.setsid()
    for number, name in ((1, output), (2, errors)):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["farmd", *argv]
    main()
