"""What a farm may conclude from a Bambu printer's reports, and when: starts, ends, strangers, silence. No socket, no clock."""

import json

import pytest

from drivers.bambu.commands import Commands
from drivers.bambu.fields import Identity
from drivers.bambu.launch import Launch, Refusal
from drivers.bambu.models import MODELS
from drivers.bambu.prints import KEEP, Print, Prints, entries, read_entries, token_in
from drivers.bambu.session import Session, Timing
from drivers.bambu.sight import Sight
from drivers.bambu.trays import mapping_for
from drivers.contract import Concern, Outcome, Phase

ID = "1181234567"
OURS = {"subtask_id": ID, "subtask_name": "farmd-att-1", "gcode_file": "farmd-att-1.gcode.3mf"}
NOBODY = {"subtask_id": "0", "subtask_name": "", "gcode_file": ""}
REST = {
    "gcode_state": "IDLE",
    "print_error": 0,
    "mc_percent": 0,
    "layer_num": 0,
    "nozzle_temper": 25.0,
    "bed_temper": 24.0,
    **NOBODY,
}
T0 = 1_700_000_000.0


class Printer:
    """A session with a clock in hand, connected to a printer of which every report is written here."""

    def __init__(self, model="P1S", prints=None, wall=T0):
        self.now = 1000.0
        self.wall = wall
        self.session = Session(MODELS[model], prints or Prints(), Commands(500_000), Timing(), lambda: self.wall)
        self.sight = Sight(self.session)
        self.connect()

    def connect(self):
        self.session.lost()
        self.session.opened(self.now)
        return self.sent()

    def sent(self):
        return [json.loads(payload) for payload in self.session.take()]

    def says(self, **fields):
        self.session.receive(json.dumps({"print": {"command": "push_status", "msg": 1, **fields}}).encode(), self.now)
        return self.look()

    def says_all(self, **fields):
        return self.says(**{**REST, "msg": 0, **fields})

    def answers(self, sequence_id, **words):
        self.session.receive(json.dumps({"print": {"sequence_id": sequence_id, **words}}).encode(), self.now)

    def passes(self, seconds):
        self.now += seconds
        self.wall += seconds
        return self.session.tick(self.now)

    def look(self):
        return self.sight.snapshot()

    def start(self, token="att-1", subtask_id=ID):
        """What the driver does when it starts a print."""
        session = self.session
        print_ = Print(token, 1000, material="PLA", subtask_id=subtask_id, sent_at=self.wall, before=session.state)
        session.prints.put(print_)
        command = session.commands.start(print_, mapping_for(None, 1, 0), session.model, "auto")
        launch = Launch(token, command.sequence_id, self.now, session.state, session.error_number, session.hms)
        session.launching(launch, command)
        self.sent()
        return launch

    def outcome(self, token="att-1"):
        known = self.session.prints.get(token)
        return known.ended if known else None


def running(**more):
    """A printer that works on our print."""
    printer = Printer(**more)
    printer.says_all()
    printer.start()
    printer.says(**OURS)
    assert printer.says(gcode_state="RUNNING", mc_percent=1).phase is Phase.PRINTING
    return printer


# --- the first report ---


def test_nothing_is_concluded_before_the_first_full_report():
    printer = Printer()
    assert printer.look().phase is Phase.OFFLINE
    assert printer.says(gcode_state="IDLE", **OURS).phase is Phase.OFFLINE
    seen = printer.says_all(gcode_state="RUNNING", **OURS)
    assert (seen.phase, seen.epoch) == (Phase.PRINTING, 1)


def test_firmware_that_does_not_mark_its_full_reports_is_understood():
    printer = Printer("H2D")
    printer.session.receive(json.dumps({"print": {"command": "push_status", "gcode_state": "IDLE"}}).encode(), 1.0)
    assert printer.look().phase is Phase.OFFLINE
    printer.session.receive(json.dumps({"print": {"command": "push_status", **REST}}).encode(), 1.0)
    assert printer.look().phase is Phase.IDLE


def test_every_connection_asks_for_everything_once_and_begins_an_epoch():
    printer = Printer()
    printer.says_all()
    commands = [next(iter(message.values()))["command"] for message in printer.connect()]
    assert commands == ["pushall", "get_version"]
    assert printer.says_all().epoch == 2
    assert not printer.session.ask_all(printer.now + 5)  # a slow printer must not be asked again so soon
    assert printer.session.ask_all(printer.now + 301)


def test_a_full_report_that_does_not_come_is_asked_for_once_more():
    printer = Printer()
    printer.sent()
    assert not printer.passes(14)
    assert printer.sent() == []
    printer.passes(1)
    assert [message["pushing"]["command"] for message in printer.sent()] == ["pushall"]


def test_an_unknown_state_leaves_what_was_known():
    printer = running()
    for word in ("", "INIT", "OFFLINE", "FLYING", None, 7):
        assert printer.says(gcode_state=word).phase is Phase.PRINTING


# --- silence ---


def test_a_silent_printer_is_woken_and_then_connected_anew():
    printer = Printer()
    printer.says_all()
    printer.sent()
    assert not printer.passes(59)
    assert printer.sent() == []
    assert not printer.passes(1)
    assert [message["pushing"]["command"] for message in printer.sent()] == ["start"]
    assert not printer.passes(14)
    assert printer.passes(1)


def test_what_was_missed_in_a_silence_is_asked_for():
    printer = running()
    printer.passes(60)
    printer.sent()
    printer.says(mc_percent=3)
    assert [message["pushing"]["command"] for message in printer.sent()] == ["pushall"]
    printer.says(mc_percent=4)
    assert printer.sent() == []
    assert not printer.passes(59)


def test_after_a_short_silence_everything_is_asked_for_when_the_printer_can_bear_it():
    printer = Printer()
    printer.says_all()
    printer.sent()
    printer.passes(11)
    printer.says(mc_percent=0)
    assert printer.session.gap
    printer.passes(1)
    assert printer.sent() == []  # it was asked a moment ago, and is slow
    assert printer.session.ask_all(printer.now, urgent=True)
    assert printer.says_all().phase is Phase.IDLE
    assert not printer.session.gap


def test_no_connection_is_made_anew_while_a_start_is_being_read_in():
    printer = Printer()
    printer.says_all()
    printer.start()
    printer.says(**OURS)
    printer.passes(61)
    assert not printer.passes(30)
    assert printer.session.deadline() > printer.now
    printer.passes(180)  # by now the start is given up
    assert printer.passes(0.1)


# --- a print from its start to its end ---


def test_a_print_runs_from_its_start_to_its_end():
    printer = Printer()
    printer.says_all()
    launch = printer.start()
    assert printer.look().phase is Phase.BUSY
    printer.answers(launch.sequence_id, command="project_file", result="success")
    assert launch.landed
    assert printer.says(**OURS).phase is Phase.BUSY
    seen = printer.says(gcode_state="PREPARE")
    assert (seen.phase, seen.token, seen.file) == (Phase.PRINTING, "att-1", "farmd-att-1")
    seen = printer.says(gcode_state="RUNNING", mc_percent=42, layer_num=24, mc_remaining_time=78)
    assert (seen.progress, seen.seconds_left, seen.position) == (0.42, 78 * 60, 24_042)
    seen = printer.says(gcode_state="FINISH", mc_percent=100, gcode_file="")
    assert (seen.phase, seen.token, seen.progress) == (Phase.FINISHED, "att-1", 1.0)
    assert printer.outcome() is Outcome.SUCCEEDED


def test_the_end_of_the_print_before_is_not_the_end_of_ours():
    """Some printers show FINISH for minutes after they took the next start, under its names."""
    printer = Printer()
    printer.says_all(gcode_state="FINISH", mc_percent=100, subtask_id="77", subtask_name="farmd-att-0")
    printer.start()
    for _ in range(100):
        printer.passes(2)
        assert printer.says(**OURS, mc_percent=100).phase is Phase.BUSY
    assert printer.outcome() is None
    assert printer.says(gcode_state="RUNNING", mc_percent=0).phase is Phase.PRINTING
    assert printer.says(gcode_state="FINISH", mc_percent=100).phase is Phase.FINISHED


def test_a_short_print_of_which_only_the_end_is_seen_counts():
    printer = Printer()
    printer.says_all(gcode_state="IDLE")
    printer.start()
    assert printer.says(gcode_state="FINISH", mc_percent=100, **OURS).phase is Phase.FINISHED
    assert printer.outcome() is Outcome.SUCCEEDED


def test_a_start_that_never_lands_stays_in_doubt():
    printer = Printer()
    printer.says_all()
    launch = printer.start()
    printer.passes(89)
    assert printer.says(nozzle_temper=26.0).phase is Phase.BUSY
    printer.passes(1)
    seen = printer.says(nozzle_temper=25.0)
    assert seen.phase is Phase.IDLE
    assert Concern.LOCKED in seen.concerns  # the last form in which a printer without Developer Mode refuses: it says nothing
    assert (launch.landed, printer.outcome()) == (False, None)


def test_a_start_that_lands_and_never_begins_stays_in_doubt():
    printer = Printer()
    printer.says_all()
    printer.start()
    printer.passes(60)
    printer.says(**OURS)
    printer.passes(209)
    assert printer.says(bed_temper=25.0).phase is Phase.BUSY
    printer.passes(1)
    seen = printer.says(bed_temper=24.0)
    assert (seen.phase, seen.token, printer.outcome()) == (Phase.IDLE, None, None)
    assert Concern.LOCKED not in seen.concerns
    # and if it begins after all, it is ours
    assert printer.says(gcode_state="RUNNING").token == "att-1"
    assert printer.session.prints.get("att-1").begun


def test_a_finish_that_may_be_the_print_before_is_never_called_ours():
    """It was started at a printer that stood at FINISH, and never seen at work."""
    printer = Printer()
    printer.says_all(gcode_state="FINISH")
    printer.start()
    printer.says(**OURS)
    printer.passes(1000)
    assert (printer.says(gcode_state="FINISH").phase, printer.outcome()) == (Phase.IDLE, None)


def test_a_restart_while_a_start_is_being_read_in_goes_on_waiting():
    first = Printer()
    first.says_all(gcode_state="FINISH")
    first.start()
    first.says(**OURS)
    known = Prints(read_entries(json.loads(json.dumps(entries(first.session.prints)))))
    second = Printer(prints=known, wall=T0 + 100)
    assert second.says_all(gcode_state="FINISH", **OURS).phase is Phase.BUSY
    assert second.says(gcode_state="RUNNING").token == "att-1"
    late = Printer(prints=Prints(read_entries(entries(first.session.prints))), wall=T0 + 500)
    assert late.says_all(gcode_state="FINISH", **OURS).phase is Phase.IDLE


def test_a_state_that_changes_under_the_old_names_is_not_our_print():
    printer = Printer()
    printer.says_all(gcode_state="FINISH", subtask_id="77", subtask_name="benchy")
    printer.start()
    assert printer.says(gcode_state="PREPARE").phase is Phase.BUSY
    assert not printer.session.prints.get("att-1").begun
    assert printer.says(**OURS).phase is Phase.PRINTING


# --- refusals ---


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (0x0500C010, Refusal.REFUSED, "0500-C010"),
        (0x05004003, Refusal.REFUSED, "cannot read the print file"),
        (0x05004004, Refusal.BUSY, "busy"),
        (0x05004037, Refusal.REFUSED, "another model"),
    ],
)
def test_an_acknowledged_start_is_refused_by_a_new_error(number, kind, words):
    printer = Printer()
    printer.says_all()
    launch = printer.start()
    printer.answers(launch.sequence_id, result="success")
    printer.says(print_error=number)
    assert (launch.refusal, printer.outcome()) == (kind, Outcome.FAILED)
    assert words in launch.words
    # busy with what does not show yet: nothing is started there for a while
    assert printer.look().phase is (Phase.BUSY if kind is Refusal.BUSY else Phase.IDLE)
    printer.passes(270)
    assert printer.look().phase is Phase.IDLE


def test_an_error_that_stood_there_before_refuses_nothing():
    printer = Printer()
    printer.says_all(print_error=0x0500C010)
    launch = printer.start()
    printer.says(print_error=0x0500C010)
    assert launch.refusal is None
    printer.says(print_error=0)
    printer.says(print_error=0x0500C010)  # gone, and there again: this one is ours
    assert launch.refusal is Refusal.REFUSED


def test_a_cancel_that_still_shows_refuses_no_start():
    printer = Printer()
    printer.says_all()
    launch = printer.start()
    printer.says(print_error=0x0300400C)
    assert launch.refusal is None


def test_a_print_given_up_before_it_began_has_failed():
    printer = Printer()
    printer.says_all()
    launch = printer.start()
    printer.says(gcode_state="FAILED", **OURS)
    assert (launch.refusal, printer.outcome()) == (Refusal.REFUSED, Outcome.FAILED)


def test_the_three_forms_in_which_a_printer_without_developer_mode_refuses():
    answered, echoed = Printer(), Printer()
    for printer in (answered, echoed):
        printer.says_all()
    launch = answered.start()
    answered.answers(launch.sequence_id, result="failed", reason="mqtt message verify failed", err_code=84033543)
    assert launch.refusal is Refusal.LOCKED
    assert "Developer Mode" in answered.look().concerns[Concern.LOCKED]

    launch = echoed.start()
    echoed.answers(launch.sequence_id, command="project_file")
    assert launch.refusal is None  # an echo alone proves nothing
    echoed.says(hms=[{"attr": 0x05000500, "code": 0x00010007}])
    assert launch.refusal is Refusal.LOCKED
    assert Concern.LOCKED in echoed.look().concerns


def test_a_complaint_about_commands_that_stood_there_before_refuses_nothing():
    printer = Printer()
    printer.says_all(hms=[{"attr": 0x05000500, "code": 0x00010007}])
    launch = printer.start()
    printer.says(hms=[{"attr": 0x05000500, "code": 0x00010007}])
    assert launch.refusal is None
    printer.says(hms=[])
    printer.says(hms=[{"attr": 0x05000500, "code": 0x00010007}])
    assert launch.refusal is Refusal.LOCKED


def test_the_bit_for_developer_mode_overrules_what_was_seen_before():
    printer = Printer("X1C")
    assert Concern.LOCKED in printer.says_all(fun="20000000").concerns
    printer.session.unheeded = True
    assert Concern.LOCKED not in printer.says(fun="0").concerns


# --- ends ---


def test_our_stop_is_a_cancelled_print():
    printer = running()
    printer.session.stop_sent("att-1", printer.now)
    assert printer.look().phase is Phase.STOPPING
    printer.says(print_error=0x0300400C)
    seen = printer.says(gcode_state="FAILED", mc_percent=0, layer_num=0)
    assert (seen.phase, seen.token, printer.outcome()) == (Phase.IDLE, None, Outcome.CANCELLED)
    assert printer.says(print_error=0).phase is Phase.IDLE


def test_a_stop_without_effect_is_not_taken_for_one_for_ever():
    printer = running()
    printer.session.stop_sent("att-1", printer.now)
    printer.passes(61)
    assert printer.says(mc_percent=2).phase is Phase.PRINTING


def pushalls(printer):
    return [each for each in printer.sent() if "pushing" in each and each["pushing"]["command"] == "pushall"]


def test_after_a_stop_without_effect_everything_is_asked_for_because_its_end_may_have_been_missed():
    printer = running(model="A1")
    printer.session.stop_sent("att-1", printer.now)
    printer.passes(59)
    printer.says(nozzle_temper=210.0)
    assert pushalls(printer) == []
    printer.passes(2)
    assert len(pushalls(printer)) == 1
    seen = printer.says_all(gcode_state="FAILED", fail_reason="50348044", **OURS)
    assert (seen.phase, printer.outcome()) == (Phase.IDLE, Outcome.CANCELLED)
    printer.passes(10)
    assert pushalls(printer) == []


def test_a_print_that_tells_nothing_new_for_minutes_is_asked_how_it_stands():
    printer = running(model="A1")
    for _ in range(29):
        printer.passes(10)
        printer.says(nozzle_temper=210.0)
    assert pushalls(printer) == []
    printer.passes(10)
    assert len(pushalls(printer)) == 1
    printer.says_all(gcode_state="RUNNING", mc_percent=1, **OURS)
    printer.passes(10)
    assert pushalls(printer) == []


def test_a_stop_at_the_machine_is_a_cancelled_print():
    printer = running()
    printer.says(print_error=0x0300400C)
    printer.says(gcode_state="FAILED", print_error=0)
    assert printer.outcome() is Outcome.CANCELLED


def test_the_reason_that_stays_tells_a_cancel_missed_while_away():
    printer = running(model="X1C")
    printer.connect()
    printer.says_all(gcode_state="FAILED", fail_reason="50348044", **OURS)
    assert printer.outcome() is Outcome.CANCELLED


def test_a_failure_is_a_failure_and_asks_for_a_person():
    printer = running()
    printer.says(print_error=0x03004006)
    seen = printer.says(gcode_state="FAILED")
    assert (seen.phase, printer.outcome()) == (Phase.ERROR, Outcome.FAILED)
    assert "0300-4006" in seen.message
    assert Concern.MACHINE_FAULT in seen.concerns
    assert printer.says(print_error=0).phase is Phase.IDLE


def test_old_firmware_goes_straight_to_idle():
    stopped, dropped = running(), running()
    stopped.session.stop_sent("att-1", stopped.now)
    stopped.says(gcode_state="IDLE", mc_percent=0, **NOBODY)
    dropped.says(gcode_state="IDLE", mc_percent=0)
    assert (stopped.outcome(), dropped.outcome()) == (Outcome.CANCELLED, Outcome.FAILED)


def test_idle_after_everything_was_printed_proves_nothing():
    printer = running()
    printer.says(mc_percent=100)
    printer.says(gcode_state="IDLE", **NOBODY)
    assert printer.outcome() is None


def test_a_print_missed_while_away_is_settled_by_its_names():
    printer = running()
    printer.connect()
    seen = printer.says_all(gcode_state="FINISH", **OURS)
    assert (seen.phase, seen.token, printer.outcome()) == (Phase.FINISHED, "att-1", Outcome.SUCCEEDED)


def test_a_printer_that_was_switched_off_tells_nothing_of_the_print():
    printer = running()
    printer.connect()
    seen = printer.says_all()
    assert (seen.phase, seen.token, printer.outcome()) == (Phase.IDLE, None, None)


def test_names_that_vanish_with_the_end_are_still_ours():
    printer = running()
    seen = printer.says(gcode_state="FINISH", mc_percent=100, subtask_id="", subtask_name="", gcode_file="")
    assert (seen.phase, seen.token, printer.outcome()) == (Phase.FINISHED, "att-1", Outcome.SUCCEEDED)


# --- whose print ---


def test_a_strangers_print_carries_no_token():
    printer = Printer()
    seen = printer.says_all(gcode_state="RUNNING", subtask_id="9", subtask_name="benchy", gcode_file="/data/Metadata/plate_1.gcode")
    assert (seen.phase, seen.token, seen.file) == (Phase.PRINTING, None, "benchy")
    seen = printer.says(gcode_state="FINISH")
    assert (seen.phase, seen.token, seen.file) == (Phase.FINISHED, None, "benchy")


def test_names_of_a_stranger_that_come_at_rest_are_a_start_on_its_way():
    printer = Printer()
    printer.says_all(gcode_state="FINISH", subtask_id="7", subtask_name="benchy")
    seen = printer.says(subtask_id="8", subtask_name="vase")
    assert (seen.phase, seen.token, seen.file) == (Phase.BUSY, None, "vase")
    seen = printer.says(gcode_state="PREPARE")
    assert (seen.phase, seen.token) == (Phase.PRINTING, None)
    assert printer.says(gcode_state="FINISH", gcode_file="").phase is Phase.FINISHED
    assert printer.says(gcode_file="", subtask_id="0").phase is Phase.FINISHED
    assert printer.says(subtask_id="9", subtask_name="never-begins").phase is Phase.BUSY
    printer.passes(270)
    assert printer.look().phase is Phase.FINISHED


PRINTS = [Print("att-1", 1, subtask_id=ID), Print("att-2", 1)]


@pytest.mark.parametrize(
    ("names", "token"),
    [
        ((ID, "anything", "x"), "att-1"),
        (("5", "farmd-att-1", "farmd-att-1.gcode.3mf"), None),  # replayed after a power cut, under an id of the printer's own
        (("0", "farmd-att-1", ""), "att-1"),
        (("", "", "/cache/farmd-att-1.gcode.3mf"), "att-1"),
        (("0", "benchy", "farmd-att-1.gcode.3mf"), None),
        (("0", "farmd-att-2", ""), None),  # uploaded, never started by us
        (("5", "farmd-att-9", ""), "att-9"),  # the ledger was lost
        (("0", "", ""), None),
        (("5", "benchy", "benchy.gcode.3mf"), None),
        (("0", "farmd-", "farmd-.gcode.3mf"), None),
    ],
)
def test_a_print_is_told_by_its_id_then_its_name_then_its_file(names, token):
    assert Prints(PRINTS).whose(Identity(*names)) == token


def test_a_token_is_read_from_every_form_of_a_name():
    names = ["farmd-att-1.gcode.3mf", "/farmd-att-1.gcode.3mf", "farmd-att-1", "farmd-att-1.gcode", "farmd-att-1.3mf"]
    assert {token_in(name) for name in names} == {"att-1"}
    assert [token_in(name) for name in ("benchy.3mf", "farmd-a b", "farmd-.gcode.3mf", "xfarmd-a", "")] == [None] * 5


def test_the_ledger_forgets_the_oldest_and_survives_the_disk():
    prints = Prints()
    for number in range(KEEP + 5):
        prints.put(Print(f"att-{number}", 10, subtask_id=str(number + 1), ended=Outcome.SUCCEEDED if number % 2 else None))
    assert len(list(prints)) == KEEP
    assert prints.takes("1")
    assert not prints.takes(str(KEEP))
    assert list(read_entries(json.loads(json.dumps(entries(prints))))) == list(prints)
    assert read_entries([{"token": 7}, {"token": "a", "what": 1}, {"token": "b", "size": 1, "ended": "exploded"}, 3]) == []
    assert read_entries({"no": "list"}) == []


# --- held ---


def test_a_runout_waits_for_a_person_and_names_the_slot():
    printer = running()
    seen = printer.says(gcode_state="PAUSE", stg_cur=6, print_error=0x07008011, ams={"tray_tar": "2"})
    assert seen.phase is Phase.PAUSED
    assert "run out" in seen.concerns[Concern.HELD]
    assert "ams-0-2" in seen.concerns[Concern.HELD]
    assert printer.says(gcode_state="RUNNING", print_error=0).concerns == {}


def test_a_pause_that_somebody_asked_for_is_no_concern():
    printer = running()
    assert printer.says(gcode_state="PAUSE", stg_cur=16, print_error=0x03008000).concerns == {}
    assert "cover" in printer.says(stg_cur=17, print_error=0).concerns[Concern.HELD]


def test_a_bad_card_is_a_concern():
    printer = Printer()
    assert "no storage card" in printer.says_all(sdcard=False, home_flag=0).concerns[Concern.STORAGE]
    assert printer.says_all(sdcard=True, home_flag=256).concerns == {}
    assert "0500-C010" in printer.says(print_error=0x0500C010).concerns[Concern.STORAGE]


def test_another_tray_is_taken_without_a_pause():
    printer = running()
    printer.says(ams={"tray_now": "0"})
    assert printer.says(ams={"tray_now": "1"}).phase is Phase.PRINTING
