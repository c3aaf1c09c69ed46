"""A virtual Bambu printer in a time of the test's own: what it reports, what it acknowledges, and what it really does."""

import pytest

from drivers.virtual.bambu import Filament, Spool, make_project
from drivers.virtual.bambu.card import CardState
from drivers.virtual.history import Outcome
from tests.bambu_bench import NAME, SECONDS, Bench

CANCELLED = 0x0300400C


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# --- reports ---


@pytest.mark.parametrize("model", ["P1S", "X1C", "A1", "P2S"])
def test_every_field_has_the_type_of_the_wire(model, tmp_path):
    bench = Bench(tmp_path, model)
    bench.say("pushing", "pushall")
    full = bench.picture
    for name in (
        "gcode_file_prepare_percent",
        "subtask_id",
        "nozzle_diameter",
        "cooling_fan_speed",
        "mc_print_stage",
        "wifi_signal",
    ):
        assert isinstance(full[name], str), name
    for name in ("mc_percent", "layer_num", "print_error", "stg_cur", "spd_lvl", "home_flag"):
        assert isinstance(full[name], int), name
    assert isinstance(full["ams"]["tray_now"], str)
    assert full["ams"]["tray_exist_bits"] == "1"
    trays = full["ams"]["ams"][0]["tray"]
    assert [tray["id"] for tray in trays] == ["0", "1", "2", "3"]
    assert (trays[0]["tray_type"], trays[0]["tray_color"], trays[1]) == ("PLA", "1A1A1AFF", {"id": "1"})
    assert ("fail_reason" in full, "fun" in full) == (model in ("X1C", "P2S"),) * 2
    assert full.get("msg") == (None if model == "P2S" else 0)


@pytest.mark.parametrize("model", ["P1S", "A1"])
def test_differences_never_repeat_what_was_said(model, tmp_path):
    bench = Bench(tmp_path, model)
    bench.say("pushing", "pushall")
    bench.printing()
    known: dict = {}
    reports = [said["print"] for said in bench.heard if said.get("print", {}).get("command") == "push_status"]
    for report in reports:
        fields = {key: value for key, value in report.items() if key not in ("command", "sequence_id", "msg")}
        if report["msg"] == 1:
            assert all(known.get(key) != value for key, value in fields.items() if key != "ams"), report
        known |= fields
    assert {report["msg"] for report in reports} == {0, 1}
    assert "subtask_name" not in reports[-1]


def test_an_x1_says_everything_each_time(tmp_path):
    bench = Bench(tmp_path, "X1C")
    assert all("nozzle_type" in said["print"] for said in bench.wait(10))


@pytest.mark.parametrize(("model", "lists"), [("P1S", True), ("A1", False)])
def test_what_a_difference_tells_of_the_feeder(model, lists, tmp_path):
    bench = Bench(tmp_path, model)
    bench.say("pushing", "pushall")
    bench.heard.clear()
    bench.printing()
    [first, *_] = [said["print"]["ams"] for said in bench.heard if "ams" in said.get("print", {})]
    assert first["tray_now"] == "0"
    assert ("ams" in first) == lists


@pytest.mark.parametrize(
    ("state", "bits", "there"), [(CardState.FINE, 1, True), (CardState.READ_ONLY, 3, True), (CardState.MISSING, 0, False)]
)
def test_the_card_in_the_flags(state, bits, there, tmp_path):
    for model in ("P1S", "A1"):
        bench = Bench(tmp_path / model, model)
        bench.card.state = state
        bench.say("pushing", "pushall")
        assert bench.picture["home_flag"] >> 8 & 3 == bits
        assert bench.picture["sdcard"] is there
        assert (bench.picture["home_flag"] < 0) == (model == "A1")


# --- a print ---


def test_it_prints_for_as_long_as_the_file_says(bench):
    bench.start()
    bench.wait(10.9)  # landing, the old state, preparing
    bench.wait(SECONDS - 1)
    assert bench.picture["gcode_state"] == "RUNNING"
    bench.wait(2)
    assert bench.states() == ["IDLE", "PREPARE", "RUNNING", "FINISH"]
    assert bench.bed.occupied
    [made] = bench.record.prints
    assert (made.outcome, made.subtask_id, made.fed, made.hottest) == (Outcome.SUCCEEDED, "4711", (0,), 220.0)
    assert made.ended - made.started == pytest.approx(SECONDS)
    stages = [said["print"]["stg_cur"] for said in bench.heard if "stg_cur" in said.get("print", {})]
    assert stages[-1] == 255
    assert {13, 2, 14, 1, 0} <= set(stages)


def test_a_pause_costs_its_time_and_nothing_else(bench):
    bench.printing()
    bench.say("print", "pause", param="")
    bench.wait(500)
    assert (bench.picture["gcode_state"], bench.picture["stg_cur"]) == ("PAUSE", 16)
    layer = bench.picture["layer_num"]
    bench.say("print", "resume", param="")
    bench.wait(2)
    assert bench.picture["gcode_state"] == "RUNNING"
    assert bench.picture["layer_num"] <= layer + 1
    bench.wait(SECONDS)
    assert bench.picture["gcode_state"] == "FINISH"
    assert bench.record.prints[0].ended - bench.record.prints[0].started == pytest.approx(SECONDS + 500, abs=3)


@pytest.mark.parametrize(("model", "reason"), [("P1S", None), ("X1C", str(CANCELLED))])
def test_a_stop_shows_an_error_for_a_moment(model, reason, tmp_path):
    bench = Bench(tmp_path, model)
    bench.printing()
    bench.say("print", "stop", param="")
    bench.wait(10)
    errors = [said["print"]["print_error"] for said in bench.heard if "print_error" in said.get("print", {})]
    assert CANCELLED in errors
    assert errors[-1] == 0
    assert bench.states()[-1] == "FAILED"
    assert (bench.picture["mc_percent"], bench.picture["layer_num"]) == (0, 0)
    assert bench.picture.get("fail_reason") == reason
    assert bench.record.prints[0].outcome is Outcome.CANCELLED


def test_old_firmware_knows_no_failed(bench):
    bench.faults.job.silent_cancel = True
    bench.printing()
    bench.say("print", "stop")
    bench.wait(10)
    assert bench.states()[-2:] == ["RUNNING", "IDLE"]


def test_commands_without_a_print_do_nothing(bench):
    for command in ("pause", "resume", "stop"):
        assert bench.say("print", command)["result"] == "success"
    bench.wait(20)
    assert bench.states() == ["IDLE"]


@pytest.mark.parametrize("kills", [False, True])
def test_a_start_meanwhile_is_told_and_may_cost_the_print(kills, bench):
    bench.faults.job.busy_kills = kills
    bench.printing()
    bench.start("4712")
    assert bench.picture["print_error"] == 0x05004004
    assert bench.picture["gcode_state"] == ("FAILED" if kills else "RUNNING")
    assert bench.record.starts == ["4711", "4712"]
    assert "busy" in bench.record.complaints[0]
    assert bench.picture["subtask_id"] == "4711"


def test_a_second_print_hits_the_part_that_nobody_took_off(bench):
    for number in ("1", "2"):
        bench.start(number)
        bench.wait(SECONDS + 20)
    assert [made.on_occupied_bed for made in bench.record.prints] == [False, True]
    assert bench.bed.crashes == 1


# --- what it makes of a request ---


def stale() -> bytes:
    good = make_project(SECONDS, model="C12")
    at = good.index(b"Metadata/plate_1.gcode.md5") + len("Metadata/plate_1.gcode.md5")
    return good[: at + 3] + bytes((good[at + 3] ^ 1,)) + good[at + 4 :]


@pytest.mark.parametrize(
    ("file", "changes", "error", "state"),
    [
        ({}, {"url": "ftp:///missing.gcode.3mf"}, 0x0500C010, "IDLE"),
        ({}, {"url": f"ftp:///cache/{NAME}"}, 0x0500C010, "IDLE"),  # a folder, on a P1S
        ({}, {"url": f"http://{NAME}"}, 0x05004002, "IDLE"),
        ({}, {"param": "Metadata/plate_2.gcode"}, 0x05004003, "FAILED"),
        ({"content": b"no zip"}, {}, 0x05004003, "FAILED"),
        ({"content": stale()}, {}, 0x05004003, "FAILED"),
        ({"model": "N2S"}, {}, 0x05004037, "FAILED"),
        ({"nozzle": "0.6"}, {}, 0x0500403C, "FAILED"),
    ],
)
def test_what_it_cannot_print_it_acknowledges_and_tells_by_an_error(file, changes, error, state, bench):
    if file:
        bench.put(**file)
    assert bench.start(**changes)["result"] == "success"
    bench.wait(30)
    assert (bench.picture["print_error"], bench.picture["gcode_state"]) == (error, state)
    assert bench.picture["subtask_name"] == "part"  # the names change all the same
    assert bench.record.prints == []


@pytest.mark.parametrize("url", [f"ftp:///{NAME}", f"ftp://{NAME}", f"file:///sdcard/{NAME}", f"file:///mnt/sdcard/{NAME}"])
def test_the_ways_to_name_a_file(url, bench):
    bench.start(url=url)
    bench.wait(60)
    assert bench.picture["gcode_state"] == "RUNNING"


def test_an_id_above_two_to_the_31_is_clamped_and_nothing_begins(bench):
    bench.start(str(2**31))
    bench.wait(300)
    assert (bench.picture["subtask_id"], bench.picture["gcode_state"]) == (str(2**31 - 1), "IDLE")
    assert any("2147483647" in words for words in bench.record.complaints)


def test_what_a_careful_client_must_not_send_is_written_down(bench):
    bench.start(subtask_id=7, ams_mapping=[254], ams_mapping2=[])
    assert bench.record.complaints[:3] == [
        "subtask_id 7 is no decimal text",
        "task_id 7 is no decimal text",
        "project_id 7 is no decimal text",
    ]
    assert len(bench.record.complaints) == 5


@pytest.mark.parametrize("payload", [b"\xff", b"[]", b'"print"', b'{"print":[]}', b'{"print":{"command":7}}', b"{}"])
def test_what_is_no_command_is_survived(payload, bench):
    bench.firmware.receive(payload, bench.now)
    bench.wait(5)
    assert bench.states() == ["IDLE"]


# --- filament ---


def test_a_mapping_to_an_empty_place_waits_and_goes_on_when_it_is_filled(bench):
    bench.start(ams_mapping=[2], ams_mapping2=[{"ams_id": 0, "slot_id": 2}])
    bench.wait(60)
    assert (bench.picture["gcode_state"], bench.picture["print_error"]) == ("PAUSE", 0x07008012)
    bench.feeder.spools[2] = Spool("PLA", "#FFFFFF")
    bench.say("print", "resume")
    bench.wait(SECONDS)
    assert bench.record.prints[0].fed == (2,)
    assert bench.picture["gcode_state"] == "FINISH"


def test_the_position_in_the_project_decides_not_the_order_of_use(bench):
    bench.put(filaments=[Filament(3, "PETG", "#00FF00")])
    bench.feeder.spools[1:3] = [Spool("PETG", "#00FF00"), Spool("ABS", "#0000FF")]
    bench.start(ams_mapping=[0, 2, 1], ams_mapping2=[{}, {}, {}])
    bench.wait(60)
    assert (bench.record.prints[0].fed, bench.record.prints[0].filaments) == ((1,), ("PETG",))


def test_without_a_feeder_the_spool_outside_is_used_if_there_is_one(bench):
    bench.start(use_ams=False, ams_mapping=[-1])
    bench.wait(60)
    assert bench.picture["print_error"] == 0x07FF8011
    bench.feeder.outside = Spool()
    bench.say("print", "resume")
    bench.wait(10)
    assert (bench.record.prints[0].fed, bench.picture["ams"]["tray_now"]) == ((-1,), "254")


@pytest.mark.parametrize(("model", "error"), [("P1S", 0x07008011), ("A1", 0x12008011)])
def test_an_empty_spool_stops_the_print_until_there_is_another(model, error, tmp_path):
    bench = Bench(tmp_path, model)
    bench.printing()
    bench.machine.run_out()
    bench.listen()
    assert (bench.picture["gcode_state"], bench.picture["stg_cur"], bench.picture["print_error"]) == ("PAUSE", 6, error)
    bench.say("print", "resume")
    bench.wait(10)
    assert bench.picture["gcode_state"] == "PAUSE"
    bench.feeder.spools[0] = Spool()
    bench.say("print", "resume")
    bench.wait(SECONDS)
    assert bench.picture["gcode_state"] == "FINISH"


def test_a_twin_takes_over_without_a_pause(bench):
    bench.feeder.auto_refill, bench.feeder.spools[3] = True, Spool()
    bench.printing()
    bench.machine.run_out()
    bench.wait(SECONDS)
    assert bench.states() == ["IDLE", "PREPARE", "RUNNING", "FINISH"]
    assert bench.record.prints[0].fed == (0, 3)
