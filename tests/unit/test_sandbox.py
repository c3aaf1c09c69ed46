"""The sandbox with real processes: nothing outlives its run, and every limit really limits."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farmd.pipeline.sandbox import TAIL_BYTES, Finished, Limits, run_limited
from tests.waiting import alive, wait_until

pytestmark = pytest.mark.slow  # processes of their own

PYTHON = sys.executable
ROOMY = Limits(cpu_seconds=30, memory_bytes=2 << 30, file_bytes=64 << 20, wall_seconds=30)


def limits(**changes: float) -> Limits:
    values = {name: getattr(ROOMY, name) for name in ("cpu_seconds", "memory_bytes", "file_bytes", "wall_seconds")}
    return Limits(**(values | changes))


def run(tmp_path: Path, script: str, **changes: float) -> Finished:
    return asyncio.run(run_limited([PYTHON, "-c", script], cwd=tmp_path, limits=limits(**changes)))


def test_output_and_return_code_come_back(tmp_path: Path) -> None:
    done = run(tmp_path, "import sys; print('öut'); print('err', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr, done.timed_out) == (3, "öut\n", "err\n", False)


def test_only_the_tail_of_a_chatty_child_is_kept(tmp_path: Path) -> None:
    done = run(tmp_path, "print('x' * 5_000_000); print('last words')")
    assert len(done.stdout) <= TAIL_BYTES
    assert done.stdout.endswith("last words\n")


def test_every_line_is_told_once_even_without_a_final_newline(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "import sys\nfor n in range(1000): print('line', n)\nsys.stdout.write('end')"
    asyncio.run(run_limited([PYTHON, "-c", script], cwd=tmp_path, limits=ROOMY, on_line=lines.append))
    assert lines == [*(f"line {n}" for n in range(1000)), "end"]


def test_a_failing_listener_kills_the_child_and_is_heard(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise ValueError(line)

    script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"\d+") as caught:
        asyncio.run(run_limited([PYTHON, "-c", script], cwd=tmp_path, limits=ROOMY, on_line=refuse))
    assert not alive(int(str(caught.value)))
    assert time.monotonic() - started < 10


def test_the_environment_is_small_and_holds_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_secret")
    script = "import os; print(sorted(os.environ)); print(os.environ['HOME'], os.getcwd())"
    done = asyncio.run(run_limited([PYTHON, "-c", script], cwd=tmp_path, limits=ROOMY, env={"EXTRA": "1"}))
    assert done.stdout == f"['EXTRA', 'HOME', 'LANG', 'LC_ALL', 'PATH', 'TMPDIR']\n{tmp_path} {tmp_path}\n"


def test_a_child_gives_way_to_the_farm(tmp_path: Path) -> None:
    assert int(run(tmp_path, "import os; print(os.nice(0))").stdout) == min(19, os.nice(0) + 10)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-slicer"):
        asyncio.run(run_limited(["no-such-slicer"], cwd=tmp_path, limits=ROOMY))


def test_wall_time_ends_a_child_that_ignores_term_and_its_grandchildren(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        "if child: pathlib.Path('pids').write_text(f'{os.getpid()} {child}')\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    done = run(tmp_path, script, wall_seconds=1)
    assert done.timed_out
    assert done.returncode == -signal.SIGKILL
    assert time.monotonic() - started < 10
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_grandchild_left_behind_by_a_success_dies_and_does_not_delay_it(tmp_path: Path) -> None:
    script = "import os, time\nchild = os.fork()\nif child: print(child)\nelse: time.sleep(60)\n"
    started = time.monotonic()
    done = run(tmp_path, script)
    assert done.returncode == 0
    assert not done.timed_out
    assert time.monotonic() - started < 10
    assert wait_until(lambda: not alive(int(done.stdout)))


def test_cancelling_the_task_kills_the_whole_group(tmp_path: Path) -> None:
    script = "import os, time\nchild = os.fork()\nif child: print(os.getpid(), child, flush=True)\ntime.sleep(60)\n"

    async def scenario() -> list[int]:
        started = asyncio.Event()
        pids: list[int] = []

        def hear(line: str) -> None:
            pids.extend(int(word) for word in line.split())
            started.set()

        argv = [PYTHON, "-c", script]
        task = asyncio.create_task(run_limited(argv, cwd=tmp_path, limits=ROOMY, on_line=hear))
        await asyncio.wait_for(started.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pids

    pids = asyncio.run(scenario())
    assert len(pids) == 2
    assert wait_until(lambda: not any(alive(pid) for pid in pids), 1)


def test_the_cpu_limit_is_told_from_other_deaths(tmp_path: Path) -> None:
    done = run(tmp_path, "while True: pass", cpu_seconds=1)
    assert done.returncode == -signal.SIGXCPU
    assert not done.timed_out


def test_the_memory_limit_refuses_an_allocation(tmp_path: Path) -> None:
    done = run(tmp_path, "bytearray(1 << 30)", memory_bytes=512 << 20)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_the_file_size_limit_stops_a_runaway_file(tmp_path: Path) -> None:
    script = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "with open('big', 'wb', buffering=0) as f:\n"
        "    while True: f.write(bytes(65536))\n"
    )
    done = run(tmp_path, script, file_bytes=1 << 20)
    assert done.returncode == -signal.SIGXFSZ
    assert (tmp_path / "big").stat().st_size == 1 << 20


def test_killing_farmd_kills_the_child(tmp_path: Path) -> None:
    """A SIGKILL of the parent leaves it no chance to clean up; the kernel does it."""
    parent = f"""
import asyncio, pathlib
from farmd.pipeline.sandbox import Limits, run_limited
script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
limits = Limits(30, 2 << 30, 1 << 20, 60)
tell = lambda line: print(line, flush=True)
asyncio.run(run_limited([{PYTHON!r}, "-c", script], cwd=pathlib.Path({str(tmp_path)!r}), limits=limits, on_line=tell))
"""
    farmd = Path(__file__).resolve().parents[2]
    with subprocess.Popen([PYTHON, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=farmd) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert alive(child)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(5)
        assert wait_until(lambda: not alive(child))
