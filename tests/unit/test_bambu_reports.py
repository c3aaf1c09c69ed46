"""What a Bambu printer reports, read and put together: frames, merging, fields, faults and trays, whatever the firmware sends."""

import copy
import json
import random

import pytest

from drivers.bambu.faults import CANCELLED, Kind, hms_faults, print_fault
from drivers.bambu.fields import card_trouble, identity_of, is_locked, nozzle_of, temperatures_of, whole
from drivers.bambu.frames import LONGEST, Answer, Report, Version, read_frame
from drivers.bambu.merge import merge
from drivers.bambu.trays import awaited, feeding, has_changer, mapping_for, spools_of
from drivers.contract import Spool, Temperature


def frame(**sections):
    return read_frame(json.dumps(sections).encode())


# --- frames ---


@pytest.mark.parametrize(("msg", "full"), [({"msg": 0}, True), ({"msg": "0"}, True), ({"msg": 1}, False), ({}, None)])
def test_a_report_says_whether_it_is_all_there_is(msg, full):
    read = frame(print={"command": "push_status", "mc_percent": 3, **msg})
    assert isinstance(read, Report)
    assert read.full is full


@pytest.mark.parametrize(
    ("words", "ok", "unsigned"),
    [
        ({"command": "pause", "result": "SUCCESS"}, True, False),
        ({"result": "success"}, True, False),  # an A1 mini leaves the command out
        ({"command": "x", "result": 0}, True, False),
        ({"command": "stop", "result": "fail", "reason": "busy"}, False, False),
        ({"command": "stop", "result": "failed", "reason": "mqtt message verify failed"}, False, True),
        ({"command": "stop", "result": "failed", "reason": "", "err_code": 84033543}, False, True),
        ({"command": "stop", "result": "failed", "err_code": 84033545}, False, True),
        ({"command": "project_file"}, None, False),  # a bare echo
    ],
)
def test_an_answer_is_read_in_all_its_forms(words, ok, unsigned):
    read = frame(print={"sequence_id": "31007", **words})
    assert isinstance(read, Answer)
    assert (read.sequence_id, read.ok, read.unsigned) == ("31007", ok, unsigned)


def test_the_counter_of_a_report_is_no_answer():
    assert isinstance(frame(print={"command": "push_status", "sequence_id": "31007", "result": "success"}), Report)


def test_the_firmware_is_that_of_the_module_ota():
    modules = [{"name": "ota", "sw_ver": "01.07.02.00"}, {"name": "esp32"}, 7, {"name": "ams/0", "sw_ver": "1"}]
    read = frame(info={"command": "get_version", "sequence_id": "3", "module": modules})
    assert isinstance(read, Version)
    assert read.modules == {"ota": "01.07.02.00", "ams/0": "1"}


def test_payloads_that_cannot_be_read_are_nothing():
    whole_report = json.dumps({"print": {"command": "push_status", "msg": 0, "gcode_state": "IDLE"}}).encode()
    for payload in (b"", b"{", whole_report[:20], b"[]", b"7", b"null", b'{"print":7}', b'{"print":{}}', b"\xff\xfe", b"{}"):
        assert read_frame(payload) is None
    assert read_frame(b" " * (LONGEST + 1)) is None
    assert read_frame(b'{"a":' * 2000 + b"1" + b"}" * 2000) is None


def test_a_name_in_other_bytes_than_utf8_is_read():
    read = read_frame(b'{"print":{"command":"push_status","msg":1,"subtask_name":"caf\xe9","mc_percent":4}}')
    assert isinstance(read, Report)
    assert read.fields["mc_percent"] == 4


def test_a_report_of_a_megabyte_is_read():
    read = frame(print={"command": "push_status", "msg": 0, "blob": "x" * 1_200_000, "gcode_state": "IDLE"})
    assert isinstance(read, Report)
    assert read.fields["gcode_state"] == "IDLE"


# --- merging ---


def test_a_difference_changes_what_it_names_and_keeps_the_rest():
    picture = {"a": 1, "upload": {"status": "idle", "deep": {"x": 1, "y": 2}}, "unknown": [1, 2]}
    merge(picture, {"upload": {"deep": {"y": 3}}, "b": 2})
    assert picture == {"a": 1, "b": 2, "upload": {"status": "idle", "deep": {"x": 1, "y": 3}}, "unknown": [1, 2]}


def test_numbers_of_the_changer_do_not_lose_its_trays():
    picture = {"ams": {"tray_now": "255", "ams": [{"id": "0", "tray": [{"id": "0", "tray_type": "PLA"}]}]}}
    merge(picture, {"ams": {"tray_now": "0"}})
    assert picture["ams"]["ams"][0]["tray"][0]["tray_type"] == "PLA"
    assert picture["ams"]["tray_now"] == "0"


def test_trays_are_merged_by_their_id():
    picture = {
        "ams": {"ams": [{"id": "0", "tray": [{"id": "0", "tray_type": "PLA", "remain": 80}, {"id": "1", "tray_type": "ABS"}]}]}
    }
    merge(
        picture,
        {
            "ams": {
                "ams": [{"id": "0", "tray": [{"id": "0", "remain": 79}, {"id": "1", "state": 3}, {"id": "2", "tray_type": "TPU"}]}]
            }
        },
    )
    trays = picture["ams"]["ams"][0]["tray"]
    assert trays == [{"id": "0", "tray_type": "PLA", "remain": 79}, {"id": "1", "state": 3}, {"id": "2", "tray_type": "TPU"}]


def test_a_full_report_replaces_the_trays():
    picture = {"ams": {"ams": [{"id": "0", "tray": [{"id": "0", "tray_type": "PLA"}]}, {"id": "1", "tray": []}]}}
    merge(picture, {"ams": {"ams": [{"id": "0", "tray": [{"id": "0"}]}]}}, full=True)
    assert picture["ams"]["ams"] == [{"id": "0", "tray": [{"id": "0"}]}]


@pytest.mark.parametrize("damage", [[], None, 7, "", True])
@pytest.mark.parametrize("full", [False, True])
def test_a_damaged_field_does_not_make_the_trays_look_gone(damage, full):
    picture = {"ams": {"ams": [{"id": "0", "tray": [{"id": "0", "tray_type": "PLA"}]}], "tray_now": "0"}}
    merge(picture, {"ams": damage}, full=full)
    assert picture["ams"]["ams"][0]["tray"][0]["tray_type"] == "PLA"


def test_a_report_nested_to_the_limit_is_merged():
    deep = json.loads('{"a":' * 900 + "1" + "}" * 900)
    picture = json.loads('{"a":' * 900 + "2" + "}" * 900)
    merge(picture, deep)
    assert picture["a"]["a"] is not None


JUNK = [None, True, -1, 0, 1e300, float("inf"), "", "x", "9" * 400, [], [None, 3, {"id": None}], {}, {"id": {}}, {"ams": [[]]}]
FIELDS = [
    *("gcode_state", "subtask_id", "subtask_name", "gcode_file", "print_error", "fail_reason", "hms", "stg_cur", "mc_percent"),
    *("layer_num", "mc_remaining_time", "nozzle_temper", "nozzle_target_temper", "bed_temper", "chamber_temper", "sdcard"),
    *("home_flag", "aux", "fun", "nozzle_diameter", "device", "ams", "vt_tray", "vir_slot"),
]


def junk(chance):
    return copy.deepcopy(chance.choice(JUNK))


def test_no_field_of_a_wrong_type_raises_anything():
    """Every field that is read, with everything that JSON can hold."""
    chance = random.Random(4)
    for _ in range(1500):
        picture = {key: junk(chance) for key in FIELDS if chance.random() < 0.7}
        if chance.random() < 0.5:
            trays = [{key: junk(chance) for key in ("id", "tray_type", "tray_color", "remain", "tray_uuid")}]
            unit = {"id": chance.choice([junk(chance), "0", "128"]), "tray": chance.choice([trays, junk(chance)])}
            picture["ams"] = {"ams": [unit], "tray_exist_bits": junk(chance), "ams_exist_bits": junk(chance)}
        for read in (spools_of, feeding, awaited, has_changer, identity_of, card_trouble, is_locked, nozzle_of):
            read(picture)
        temperatures_of(picture, chamber=True)
        print_fault(picture.get("print_error"))
        hms_faults(picture.get("hms"))
        merge({key: junk(chance) for key in FIELDS}, picture, full=chance.random() < 0.5)


# --- fields ---


def test_temperatures_are_read_and_unpacked():
    picture = {"nozzle_temper": 219.8, "nozzle_target_temper": 220, "bed_temper": (60 << 16) | 59, "chamber_temper": 5}
    assert temperatures_of(picture, chamber=False) == {"tool0": Temperature(219.8, 220.0), "bed": Temperature(59.0, 60.0)}
    assert "chamber" in temperatures_of(picture, chamber=True)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ({"sdcard": True, "home_flag": 1 << 8}, None),
        ({"sdcard": False, "home_flag": 0}, "no storage card"),
        ({"sdcard": True, "home_flag": 2 << 8}, "damaged"),
        ({"sdcard": True, "home_flag": 3 << 8}, "full"),
        ({"sdcard": True, "home_flag": 0}, None),  # a report that clears the bits with a card in
        ({"home_flag": -(1 << 31) | 2 << 8}, "damaged"),
        ({"aux": "3000"}, "full"),
        ({"sdcard": False}, "no storage card"),
        ({"sdcard": "HAS_SDCARD_NORMAL"}, None),
        ({}, None),
    ],
)
def test_the_state_of_the_card_is_read(picture, words):
    told = card_trouble(picture)
    assert told is None if words is None else words in told


def test_developer_mode_is_one_bit():
    assert is_locked({"fun": "3EC1AFFF9CFF"}) is True
    assert is_locked({"fun": "3EC18FFF9CFF"}) is False
    assert is_locked({}) is None


def test_the_nozzle_is_read_in_both_shapes():
    assert nozzle_of({"nozzle_diameter": "0.6"}) == 0.6
    assert nozzle_of({"device": {"nozzle": {"info": [{"id": 0, "diameter": 0.4}]}}}) == 0.4
    assert nozzle_of({"nozzle_diameter": "wide"}) is None


def test_a_whole_number_may_be_text_or_end_in_point_zero():
    assert [whole(value, 100) for value in ("42", 42.0, 42, "4x", 101, -1, True, None, 1.5)] == [42, 42, 42, *[None] * 6]


# --- faults ---


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [
        (50348044, "0300-400C", Kind.CANCELLED),
        ("50348044", "0300-400C", Kind.CANCELLED),
        (0x0500C010, "0500-C010", Kind.STORAGE),
        (0x05004004, "0500-4004", Kind.JOB),
        (0x07008011, "0700-8011", Kind.HELD),
        (0x07018011, "0701-8011", Kind.HELD),  # the second changer says the same
        (0x07FF8011, "07FF-8011", Kind.HELD),
        (0x0C00800B, "0C00-800B", Kind.HELD),  # unknown, of those that pause
        (0x0300400F, "0300-400F", Kind.MACHINE),  # unknown, of those that stop
        (0x0500C0AA, "0500-C0AA", Kind.MACHINE),
    ],
)
def test_an_error_number_is_decoded(number, code, kind):
    fault = print_fault(number)
    assert (fault.code, fault.kind) == (code, kind)
    assert fault.words


@pytest.mark.parametrize("number", [0, None, "", "x", True, 0x03001234, [], 1.5])
def test_what_is_no_error_is_none(number):
    assert print_fault(number) is None


def test_a_negative_error_number_is_the_same_in_32_bits():
    assert print_fault(0x87654321 - (1 << 32)).code == "8765-4321"
    assert sorted(CANCELLED) == [0x0300400C, 0x0500400E]


def test_complaints_of_the_machine_are_told_by_what_they_are():
    listed = [
        {"attr": 50331904, "code": 65543},  # HMS_0300_0100_0001_0007, fatal
        {"attr": 0x05000500, "code": 0x00010007},
        {"attr": 0x07002000, "code": 0x00020001},
        {"attr": 0x07012000, "code": 0x00020001},  # the second changer
        {"attr": 0x0C000100, "code": 0x00040001},  # information only
        {"attr": "x", "code": 1},
        7,
    ]
    assert [(fault.code, fault.kind) for fault in hms_faults(listed)] == [
        ("HMS_0300_0100_0001_0007", Kind.MACHINE),
        ("HMS_0500_0500_0001_0007", Kind.LOCKED),
        ("HMS_0700_2000_0002_0001", Kind.HELD),
        ("HMS_0701_2000_0002_0001", Kind.HELD),
    ]


# --- trays ---


def ams(*trays, unit="0", bits="f", **more):
    return {"ams": [{"id": unit, "tray": [*trays]}], "tray_exist_bits": bits, **more}


PLA = {"id": "0", "tray_type": "PLA", "tray_color": "DE4343FF", "remain": 80, "tray_uuid": "A" * 32}
PETG = {"id": "2", "tray_type": "PETG", "tray_color": "1A1A1AFF", "remain": 0, "tray_uuid": "0" * 32}


def test_loaded_trays_are_spools():
    assert spools_of({"ams": ams(PLA, {"id": "1"}, PETG)}) == (
        Spool("ams-0-0", "PLA", "#de4343", 0.8),
        Spool("ams-0-2", "PETG", "#1a1a1a", None),
    )


def test_a_tray_that_is_not_there_is_no_spool_whatever_is_written_of_it():
    assert spools_of({"ams": ams(PLA, PETG, bits="4")}) == (Spool("ams-0-2", "PETG", "#1a1a1a", None),)
    assert spools_of({"ams": ams(bits="0")}) == ()


def test_a_loaded_tray_that_nobody_described_is_of_unknown_material():
    assert spools_of({"ams": ams({"id": "0", "tray_type": "", "tray_color": "00000000", "remain": -1})}) == (
        Spool("ams-0-0", None, None, None),
    )


def test_a_unit_of_one_tray_is_named_by_its_own_number():
    assert spools_of({"ams": ams({"id": "0", "tray_type": "ABS", "tray_color": "FFFFFFFF"}, unit="128", bits="0")}) == (
        Spool("ams-128-0", "ABS", "#ffffff", None),
    )


def test_without_a_changer_only_a_described_spool_counts():
    assert spools_of({"vt_tray": {"id": "254", "tray_type": "", "tray_color": "00000000"}}) is None
    assert spools_of({"vir_slot": [{"id": "255"}, {"id": "254", "tray_type": "PLA", "tray_color": "FFFFFFFF"}]}) == (
        Spool("external", "PLA", "#ffffff", None),
    )
    assert spools_of({}) is None


def test_beside_a_changer_the_external_spool_counts_while_it_feeds():
    outside = {"id": "254", "tray_type": "TPU", "tray_color": "FFFFFFFF"}
    assert [spool.slot for spool in spools_of({"ams": ams(PLA), "vt_tray": outside})] == ["ams-0-0"]
    assert [spool.slot for spool in spools_of({"ams": ams(PLA, tray_now="254"), "vt_tray": outside})] == ["ams-0-0", "external"]


def test_a_changer_that_was_taken_away_is_none():
    assert not has_changer({"ams": ams(PLA, ams_exist_bits="0")})
    assert has_changer({"ams": ams(PLA, ams_exist_bits="1")})


@pytest.mark.parametrize(
    ("number", "slot"), [("255", None), ("254", "external"), ("6", "ams-1-2"), ("129", "ams-129-0"), (3, "ams-0-3")]
)
def test_the_tray_in_use_is_named(number, slot):
    assert feeding({"ams": {"tray_now": number}}) == slot
    assert awaited({"ams": {"tray_tar": number}}) == slot


def test_a_slot_stands_at_the_position_of_the_filament():
    first = mapping_for("ams-1-2", 1, 0)
    assert (first.use_ams, first.flat, first.places) == (True, (6,), ((1, 2),))
    third = mapping_for("ams-0-1", 3, 2)
    assert (third.flat, third.places) == ((-1, -1, 1), ((255, 255), (255, 255), (0, 1)))
    single = mapping_for("ams-128-0", 1, 0)
    assert (single.flat, single.places) == ((128,), ((128, 0),))


@pytest.mark.parametrize("slot", [None, "external"])
def test_the_external_spool_is_never_a_number_in_the_list(slot):
    outside = mapping_for(slot, 2, 1)
    assert (outside.use_ams, outside.flat, outside.places) == (False, (-1, -1), ((255, 255), (255, 0)))


@pytest.mark.parametrize("slot", ["", "ams-0", "ams-0-11", "tray 1", "ams-x-1"])
def test_a_word_that_is_no_slot_is_refused(slot):
    with pytest.raises(ValueError, match="no place of a Bambu printer"):
        mapping_for(slot, 1, 0)
