"""Forks daemons that die at a chosen commit. Everything is imported once, so that a daemon is up in well under a second.

Reads one JSON object a line (`config`, `log`, `commits`, `die_at`, `after`) and answers with the process id. The daemon is the real
one; only its store counts commits into the file `commits` and kills the process, by SIGKILL, before or after the one it was told.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import farmd.daemon as daemon
import tests.loaded  # noqa: F401
from farmd.config_file import load_settings
from farmd.fleet.drivers import option_names
from farmd.store.engine import Store

DRIVERS = option_names()


class MortalStore(Store):
    """The store, with an end to it."""

    die_at, after, counter = 0, False, -1
    commits = 0

    def _commit(self, group: Any) -> None:
        MortalStore.commits += 1
        doomed = MortalStore.commits == self.die_at
        if doomed and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._commit(group)
        if doomed:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self.counter, b".")


def live(wish: dict[str, Any]) -> None:
    """Be a daemon until killed."""
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    MortalStore.counter = os.open(wish["commits"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    MortalStore.die_at, MortalStore.after = wish.get("die_at", 0), wish.get("after", False)
    daemon.Store = MortalStore  # type: ignore[misc]
    daemon.serve(load_settings(Path(wish["config"]), {}, DRIVERS))


def main() -> None:
    """Fork at every line until there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            try:
                live(json.loads(line))
            finally:
                os._exit(0)
        print(process, flush=True)


if __name__ == "__main__":
    main()
