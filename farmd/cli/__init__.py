"""The `farmd` command. It speaks HTTP to a running daemon, or starts one; it holds no rule of the farm itself.

Whatever goes wrong ends in one line on stderr that says what to do, and never in a traceback.
"""

import os
import sys
from collections.abc import Sequence

from typer import Abort
from typer.exceptions import TyperException

from farmd.cli.complaint import Complaint
from farmd.config_error import ConfigError


def main() -> None:
    """The program's entry point. What it writes (the store, keys, addresses) is for its owner's eyes alone."""
    os.umask(0o077)
    raise SystemExit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return the exit code: 0 done, 1 it did not work, 2 it was written wrongly."""
    from farmd.cli.app import app  # after the module itself, which the commands' own complaints come from

    try:
        code = app(list(arguments), prog_name="farmd", standalone_mode=False)
    except TyperException as error:
        return _complain(f"{_one_line(error.format_message())} (see farmd --help)", error.exit_code)
    except (Complaint, ConfigError) as error:
        return _complain(_one_line(str(error)), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say to it
        return 1
    except (Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _complain(words: str, code: int) -> int:
    print(f"farmd: {words}", file=sys.stderr)
    return code
