"""The demo's farm: virtual printers and a daemon as processes of their own, in a folder that is gone afterwards.

Nothing of the person's own farm is touched: no variable of theirs reaches the children, and no child outlives the demo.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from farmd.cli.complaint import Complaint
from farmd.cli.key_store import make_key
from farmd.config_file import load_settings
from farmd.fleet.drivers import option_names
from farmd.fleet.serial_lines import end_streamers
from farmd.shipped import shipped_config

START_SECONDS = 60.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Farm:
    """A running demo: where it answers, its keys, and the daemon behind it."""

    url: str
    admin_key: str
    operator_key: str
    folder: Path
    daemon: asyncio.subprocess.Process

    def last_words(self) -> str:
        """The end of the daemon's log, for when it is gone."""
        return _tail(self.folder / "farmd.log")


@contextlib.asynccontextmanager
async def running_farm(printers: int, speed: float, port: int) -> AsyncIterator[Farm]:
    """A farm for as long as the context lasts. Raises `Complaint` when it does not come up."""
    with tempfile.TemporaryDirectory(prefix="farmd-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with contextlib.AsyncExitStack() as stack:
            blocks = folder / "printers.toml"
            words = ["virtual", "--octoprint", str(printers), "--bambu", "1", "--gcode", "1", "--tty-dir", str(folder)]
            words += ["--speed", str(speed), "--write", str(blocks)]
            virtual = await stack.enter_async_context(_child(words, folder / "virtual.log"))
            await _until(blocks.exists, virtual, folder / "virtual.log", "the virtual printers")
            config = _configure(folder, blocks, port)
            settings = load_settings(config, {}, option_names())
            admin = await asyncio.to_thread(make_key, settings, "demo-admin", "admin")
            operator = await asyncio.to_thread(make_key, settings, "demo-operator", "operator")
            stack.push_async_callback(end_streamers, settings.machines)
            daemon = await stack.enter_async_context(_child(["run", "--config", str(config)], folder / "farmd.log"))
            url = f"http://{settings.host}:{settings.port}"
            await _until(lambda: _ready(url), daemon, folder / "farmd.log", "the daemon")
            yield Farm(url, admin, operator, folder, daemon)


def _configure(folder: Path, blocks: Path, port: int) -> Path:
    """demo.toml with the port and the printers."""
    config = folder / "farmd.toml"
    common = (shipped_config() / "demo.toml").read_text("utf-8")
    text = common.replace("[server]\n", f"[server]\nport = {port or _free_port()}\n")
    config.write_text(f"{text}\n{blocks.read_text('utf-8')}", "utf-8")
    return config


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def _child(words: list[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`farmd WORDS` until the context ends, or until this process dies in whatever way."""
    leash = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("FARMD") and key != "CREDENTIALS_DIRECTORY"
    }
    with log.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *leash,
            *(sys.executable, "-m", "farmd.cli", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends its children in order
        )
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _until(condition: Callable[[], bool | Awaitable[bool]], child: asyncio.subprocess.Process, log: Path, what: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_SECONDS
    while True:
        met = condition()
        if met if isinstance(met, bool) else await met:
            return
        if child.returncode is not None:
            raise Complaint(f"{what} did not start: {_tail(log)}")
        if loop.time() > deadline:
            raise Complaint(f"{what} did not start within {START_SECONDS:.0f} s: {_tail(log)}")
        await asyncio.sleep(LOOK_SECONDS)


async def _ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            return (await client.get(f"{url}/readyz")).is_success
    except httpx.HTTPError:
        return False


def _tail(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines() if log.exists() else []
    return lines[-1].removeprefix("farmd: ") if lines else "it said nothing"
