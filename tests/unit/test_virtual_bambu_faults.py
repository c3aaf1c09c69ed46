"""What goes wrong with a virtual Bambu printer on demand: each knob changes what it names and, off, leaves no trace."""

import json

import pytest

from drivers.virtual.bambu import Unsigned, faults
from drivers.virtual.history import Outcome
from tests.bambu_bench import SECONDS, Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# --- a start ---


def test_a_start_is_acknowledged_and_nothing_comes_of_it(bench):
    bench.faults.job.starts_nothing = True
    assert bench.start()["result"] == "success"
    bench.wait(600)
    assert (bench.states(), bench.record.starts, bench.record.prints) == (["IDLE"], ["4711"], [])
    assert bench.picture["subtask_name"] == ""


def test_a_start_is_acknowledged_and_only_an_error_comes_of_it(bench):
    bench.faults.job.start_error = faults.STORAGE_EXCEPTION
    bench.start()
    bench.wait(600)
    assert (bench.states(), bench.picture["print_error"]) == (["IDLE"], 0x0500C010)
    assert bench.record.prints == []


def test_a_job_is_given_up_before_it_began(bench):
    bench.faults.job.reject = faults.CANNOT_PARSE
    bench.start()
    bench.wait(60)
    assert bench.states() == ["IDLE", "FAILED"]
    assert bench.record.prints == []


def test_the_old_state_may_stand_for_minutes(bench):
    bench.faults.job.start_after, bench.faults.job.skips_prepare = 200.0, True
    bench.start()
    bench.wait(190)
    assert (bench.states(), bench.picture["subtask_id"]) == (["IDLE"], "4711")
    bench.wait(20)
    assert bench.states() == ["IDLE", "RUNNING"]


def test_it_may_show_ids_of_its_own(bench):
    bench.faults.job.hides_ids = True
    bench.printing()
    assert (bench.picture["subtask_id"], bench.picture["subtask_name"]) == ("0", "part")
    assert bench.picture["task_id"].isdecimal()


@pytest.mark.parametrize(("model", "state"), [("P1P", "FAILED"), ("P1S", "RUNNING")])
def test_a_client_that_comes_in_spoils_a_start_on_a_p1p(model, state, tmp_path):
    bench = Bench(tmp_path, model)
    bench.start()
    bench.wait(2)
    bench.firmware.joined(bench.now)
    bench.wait(30)
    assert bench.picture["gcode_state"] == state
    assert bench.picture["print_error"] == (faults.CANNOT_PARSE if model == "P1P" else 0)


# --- answers ---


@pytest.mark.parametrize("how", list(Unsigned))
def test_commands_without_a_signature_are_turned_down_in_three_ways(how, tmp_path):
    bench = Bench(tmp_path, "X1C")
    bench.faults.wire.unsigned = how
    answer = bench.start()
    bench.wait(60)
    assert bench.record.starts == []
    if how is Unsigned.ANSWER:
        assert (answer["result"], answer["reason"], answer["err_code"]) == ("failed", "mqtt message verify failed", 84033543)
    elif how is Unsigned.ECHO:
        assert answer["command"] == "project_file"
        assert "result" not in answer
        assert bench.picture["hms"] == [{"attr": 0x05000500, "code": 0x00010007}]
    else:
        assert answer is None
    assert int(bench.picture["fun"], 16) & 0x20000000
    assert bench.say("system", "ledctrl", led_node="chamber_light", led_mode="on")["result"] == "SUCCESS"
    assert bench.picture["lights_report"][0] == {"node": "chamber_light", "mode": "on"}
    bench.faults.wire.unsigned = None
    assert bench.start()["result"] == "SUCCESS"
    bench.wait(3)
    assert not int(bench.picture["fun"], 16) & 0x20000000


def test_a_half_dead_printer_swallows_commands_and_goes_on_reporting(bench):
    bench.faults.wire.deaf = True
    assert bench.start() is None
    assert bench.say("info", "get_version") is None
    assert any("wifi_signal" in said["print"] for said in bench.wait(10))
    assert bench.record.starts == []


def test_an_acknowledgement_may_be_lost_and_the_print_begins(bench):
    bench.faults.wire.unanswered = True
    assert bench.start() is None
    bench.wait(60)
    assert bench.picture["gcode_state"] == "RUNNING"


def test_an_acknowledgement_may_come_minutes_late(bench):
    bench.faults.wire.answer_after = 240.0
    assert bench.start() is None
    early, late = bench.wait(200), bench.wait(60)
    assert not any("result" in said["print"] for said in early)
    assert [said["print"]["result"] for said in late if "result" in said["print"]] == ["success"]


@pytest.mark.parametrize(
    ("model", "word", "has_command"), [("P1S", "success", True), ("X1C", "SUCCESS", True), ("A1", "success", False)]
)
def test_each_model_acknowledges_in_its_own_words(model, word, has_command, tmp_path):
    answer = Bench(tmp_path, model).say("print", "pause", param="")
    assert (answer["result"], answer["err_code"], "command" in answer) == (word, 0, has_command)


def test_an_unknown_command_is_refused(bench):
    assert bench.say("print", "levitate")["result"] == "failed"


# --- reports out of order ---


@pytest.mark.parametrize(
    ("spoil", "readable"),
    [(faults.truncated, False), (faults.not_utf8, False), (faults.huge, True), (faults.wrong_types, True)],
)
def test_one_report_is_spoiled_and_the_next_is_whole(spoil, readable, bench):
    bench.faults.wire.spoil_next.append(spoil)
    bench.firmware.advance(4.0)
    first, second = bench.firmware.take()[:2]
    assert b'"print"' in second
    json.loads(second)
    if readable:
        assert json.loads(first)["print"].keys() & {"blob", "mc_percent"}
    else:
        with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
            json.loads(first)


# --- power ---


def test_a_power_cut_forgets_everything_but_the_part(bench):
    bench.printing()
    bench.firmware.switch_off(bench.now)
    assert bench.wait(100) == []
    bench.firmware.switch_on(bench.now)
    bench.wait(SECONDS * 2)
    assert (bench.picture["gcode_state"], bench.picture["subtask_id"], bench.picture["subtask_name"]) == ("IDLE", "0", "")
    assert bench.record.prints[0].outcome is Outcome.LOST
    assert bench.bed.occupied


def test_a_file_left_over_prints_itself_after_a_power_cut(bench):
    bench.faults.job.start_after = 0.0
    bench.printing()
    bench.firmware.switch_off(bench.now)
    bench.firmware.switch_on(bench.now, ghost=True)
    bench.feeder.outside = bench.feeder.spools[0]
    bench.wait(30)
    assert bench.picture["gcode_state"] == "RUNNING"
    assert bench.picture["subtask_id"] not in ("4711", "0")
    assert [made.on_occupied_bed for made in bench.record.prints] == [False, True]


def test_no_ghost_without_its_file(bench):
    bench.printing()
    bench.firmware.switch_off(bench.now)
    assert bench.card.delete("/part.gcode.3mf")
    bench.firmware.switch_on(bench.now, ghost=True)
    bench.wait(30)
    assert bench.picture["gcode_state"] == "IDLE"


def test_the_machine_may_end_its_print_itself(bench):
    bench.printing()
    bench.machine.fail(0x03008004)
    bench.wait(5)
    assert (bench.picture["gcode_state"], bench.picture["print_error"]) == ("FAILED", 0x03008004)
    assert bench.record.prints[0].outcome is Outcome.FAILED


def test_a_dialog_that_is_closed_leads_from_finish_to_idle(bench):
    bench.start()
    bench.wait(SECONDS + 20)
    bench.machine.dismiss()
    bench.wait(3)
    assert bench.states()[-2:] == ["FINISH", "IDLE"]
    assert bench.bed.occupied


def test_the_whole_state_asked_for_again_at_once_is_written_down(bench):
    bench.say("pushing", "pushall")
    assert bench.record.complaints == []
    bench.say("pushing", "pushall")
    assert bench.record.complaints == ["asked for the whole state twice at once"]
    bench.wait(10)
    bench.say("pushing", "pushall")
    assert len(bench.record.complaints) == 1
