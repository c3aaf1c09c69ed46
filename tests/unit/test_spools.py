"""Which spool a plate is printed from: never one of another material or colour, never an unknown or an empty one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmd.domain.dispatch import PlateView, PrinterView, assign, place_in_queue, refusals, slot_for
from farmd.domain.spools import Spool, mismatch, spool_for

DAY = 86_400.0
PLATE = PlateView(
    "plate-1", "job-1", "ord-1", "PLA", "#1a1a1a", (20.0, 20.0, 20.0), {"k": 3600}, due=DAY, age=0.0, grams={"k": 100.0}
)
PRINTER = PrinterView("p1s-01", "k", True, True, "idle", "clear", True, None, None, 0.4, (256.0, 256.0, 256.0), "bambu-p1s-0.4")
BLACK = Spool("ams-0-0", "PLA", "#1a1a1a")
WHITE = Spool("ams-0-1", "PLA", "#ffffff")
PETG = Spool("ams-0-2", "PETG", "#1a1a1a")
BLANK = Spool("ams-0-3", None, None)


def loaded(*spools: Spool) -> PrinterView:
    return replace(PRINTER, spools=spools)


def test_the_slot_of_the_right_filament_is_named():
    (match,) = assign([PLATE], [loaded(WHITE, PETG, BLANK, BLACK)])
    assert (match.printer_id, match.slot) == ("p1s-01", "ams-0-0")


def test_two_plates_of_two_filaments_go_to_their_slots():
    white = replace(PLATE, id="plate-2", color="#FFFFFF")
    printers = [loaded(BLACK, WHITE), replace(loaded(BLACK, WHITE), id="p1s-02")]
    assert {match.plate_id: match.slot for match in assign([PLATE, white], printers)} == {
        "plate-1": "ams-0-0",
        "plate-2": "ams-0-1",
    }


def test_what_a_person_said_counts_for_nothing_where_the_machine_tells():
    said = replace(PRINTER, material="PLA", color="#1a1a1a")
    assert refusals(PLATE, said) == []
    assert assign([PLATE], [said])[0].slot is None
    assert [refusal.rule for refusal in refusals(PLATE, replace(said, spools=(WHITE,)))] == ["color"]


@pytest.mark.parametrize(
    ("spools", "rule", "detail"),
    [
        ((), "material", "needs PLA #1a1a1a; loaded: nothing"),
        ((PETG,), "material", "needs PLA #1a1a1a; loaded: slot ams-0-2 PETG #1a1a1a"),
        ((PETG, WHITE), "color", "needs PLA #1a1a1a; loaded: slot ams-0-2 PETG #1a1a1a, slot ams-0-1 PLA #ffffff"),
        ((BLANK,), "material", "needs PLA #1a1a1a; loaded: slot ams-0-3 unknown filament"),
        ((replace(BLACK, color=None),), "color", "needs PLA #1a1a1a; loaded: slot ams-0-0 unknown filament"),
        ((replace(BLACK, remaining=0.0),), "spool", "needs PLA #1a1a1a; loaded: slot ams-0-0 PLA #1a1a1a (nothing left)"),
    ],
)
def test_a_machine_without_the_filament_is_told_with_what_it_has(spools, rule, detail):
    (refusal,) = refusals(PLATE, loaded(*spools))
    assert (refusal.rule, refusal.detail) == (rule, detail)
    assert assign([PLATE], [loaded(*spools)]) == []


@pytest.mark.parametrize(
    ("remaining", "chosen"),
    [
        ({"a": 0.9, "b": 0.2, "c": 0.5}, "b"),  # the emptiest that is still enough
        ({"a": 0.9, "b": 0.1}, "a"),  # 100 g are what the print takes: nothing is left to purge with
        ({"a": 0.9, "b": None}, "a"),
        ({"a": 0.05, "b": None}, "b"),
        ({"a": 0.02, "b": 0.05, "c": 0.0}, "b"),  # all run out; the longest does last
        ({"b": None, "a": None}, "a"),
    ],
)
def test_ends_of_spools_are_used_up_as_far_as_they_last(remaining, chosen):
    spools = [Spool(slot, "pla", "#1A1A1A", left) for slot, left in remaining.items()]
    found = spool_for(spools, "PLA", "#1a1a1a", 100.0)
    assert found is not None
    assert found.slot == chosen


def test_a_spool_that_runs_out_everywhere_is_only_refused_when_it_is_empty():
    assert slot_for(PLATE, loaded(replace(BLACK, remaining=0.01))) == "ams-0-0"
    assert slot_for(PLATE, loaded(replace(BLACK, remaining=0.0))) is None


def test_the_queue_of_a_machine_counts_what_it_has_loaded():
    petg = replace(PLATE, id="plate-0", material="PETG", due=-DAY)
    assert place_in_queue(PLATE, [petg, PLATE], loaded(BLACK)) == 1
    assert place_in_queue(PLATE, [petg, PLATE], loaded(BLACK, PETG)) == 2


words = st.sampled_from([None, "PLA", "pla", "PETG", "ABS"])
colors = st.sampled_from([None, "#1a1a1a", "#1A1A1A", "#ffffff"])
spools = st.builds(
    Spool,
    st.sampled_from([f"ams-0-{slot}" for slot in range(4)]),
    words,
    colors,
    st.none() | st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
ams = st.lists(spools, max_size=4, unique_by=lambda spool: spool.slot).map(tuple)


@given(ams, st.sampled_from(["PLA", "PETG"]), st.sampled_from(["#1a1a1a", "#ffffff"]), st.sampled_from([5.0, 100.0, 900.0]))
def test_never_a_wrong_filament_and_never_none_when_there_is_the_right_one(held, material, color, grams):
    plate = replace(PLATE, material=material, color=color, grams={"k": grams})
    right = {
        spool.slot
        for spool in held
        if spool.material is not None
        and spool.material.lower() == material.lower()
        and spool.color is not None
        and spool.color.lower() == color
        and spool.remaining != 0.0
    }
    matches = assign([plate], [loaded(*held)])
    assert {match.slot for match in matches} <= right
    assert bool(matches) is bool(right) is not bool(refusals(plate, loaded(*held)))
    for slot in ["ams-0-0", "ams-0-1", "ams-0-2", "ams-0-3", "ams-9-9"]:
        assert (mismatch(slot, held, material, color) is None) is (slot in right)


def test_a_slot_is_only_right_while_the_machine_says_so():
    assert mismatch(None, None, "PLA", "#1a1a1a") is None
    assert mismatch("ams-0-0", None, "PLA", "#1a1a1a") == "it does not tell any more what is loaded in slot ams-0-0"
    assert "a spool has to be chosen" in (mismatch(None, (BLACK,), "PLA", "#1a1a1a") or "")
    assert mismatch("ams-0-1", (BLACK, WHITE), "PLA", "#1a1a1a") == (
        "slot ams-0-1 has to hold PLA #1a1a1a; loaded: slot ams-0-0 PLA #1a1a1a, slot ams-0-1 PLA #ffffff"
    )


def test_a_machine_that_was_never_seen_may_hold_anything_but_starts_nothing():
    away = replace(PRINTER, online=False, idle=False, phase="offline")
    assert [refusal.rule for refusal in refusals(PLATE, away)] == ["offline"]
    assert place_in_queue(PLATE, [PLATE], away) == 1
    assert assign([PLATE], [away]) == []
    assert "material" in [refusal.rule for refusal in refusals(PLATE, PRINTER)]  # as soon as it answers, nothing is nothing
    said = replace(away, material="ABS", color="#1a1a1a")
    assert [refusal.rule for refusal in refusals(PLATE, said)] == ["offline", "material"]
