"""Virtual Bambu printers over real sockets, seen by paho and ftplib: a whole print on each model, from the upload to the end."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from drivers.virtual.bambu import VirtualBambu, make_project
from drivers.virtual.history import Outcome
from tests.bambu_client import PATIENCE, Files, Listener

SPEED = 40.0


@contextmanager
def running(model: str = "P1S", **words):
    """A printer in a loop of its own thread; `do` runs something inside it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(what):
        return asyncio.run_coroutine_threadsafe(what, loop).result(PATIENCE)

    async def call(function, *args):
        return function(*args)

    printer = VirtualBambu(model, **({"speed": SPEED} | words))
    printer.do = do
    printer.call = lambda function, *args: do(call(function, *args))
    try:
        do(printer.start())
        yield printer
    finally:
        do(printer.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def upload(printer, name="farmd-1.gcode.3mf", seconds=100.0, **words):
    with Files(printer) as files:
        content = make_project(seconds, model=printer.kind.code, **words)
        assert files.put(name, content).startswith("226")
        assert files.size(name) == len(content)
    return name


@pytest.mark.parametrize("model", ["P1S", "X1C", "A1", "A1MINI", "P2S", "P1P"])
def test_a_whole_print(model):
    with running(model) as printer, Listener(printer) as client:
        first = client.whole()
        assert first["gcode_state"] == "IDLE"
        name = upload(printer)
        number = client.start(name)
        answer = client.answer(number)
        assert answer["result"].lower() == "success"
        assert answer["subtask_id"] == "1181234567"
        running_ = client.state("RUNNING")
        assert running_["subtask_id"] == "1181234567"
        assert running_["subtask_name"] == "farmd-1"
        end = client.state("FINISH")
        assert (end["mc_percent"], end["layer_num"], end["mc_remaining_time"]) == (100, 20, 0)
        assert end["print_type"] == "idle"
        states = [m["print"]["gcode_state"] for m in client.messages if "gcode_state" in m.get("print", {})]
        assert [s for n, s in enumerate(states) if not n or states[n - 1] != s] == ["IDLE", "PREPARE", "RUNNING", "FINISH"]
        [made] = printer.record.prints
        assert (made.outcome, made.fed, made.layers, made.hottest) == (Outcome.SUCCEEDED, (0,), 20, 220.0)
        assert printer.record.complaints == []
        assert printer.bed.occupied
