"""Virtual Bambu printers over real sockets, seen by paho and ftplib: a whole print on each model, from the upload to the end."""

import pytest

from drivers.virtual.history import Outcome
from tests.bambu_client import Listener
from tests.bambu_printer import running


@pytest.mark.parametrize("model", ["P1S", "X1C", "A1", "A1MINI", "P2S", "P1P"])
def test_a_whole_print(model):
    with running(model) as printer, Listener(printer) as client:
        first = client.whole()
        assert first["gcode_state"] == "IDLE"
        name = printer.upload()
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
