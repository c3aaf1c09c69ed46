"""The virtual machine without its network, in time that a test turns by hand."""

import heapq
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.virtual.bed import Bed
from drivers.virtual.files import FileStore
from drivers.virtual.history import Outcome
from drivers.virtual.machine import TIMEOUTS_ERROR, Machine, Timing, World
from drivers.virtual.motion import AMBIENT, Heater
from drivers.virtual.octoprint import VirtualOctoPrint
from drivers.virtual.reports import JobBoard, progress
from drivers.virtual.states import State, flags, text


class Timer:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        self.call = None


class Workshop:
    """A machine whose time passes only by `wait`; `told` is every event in order."""

    def __init__(self, root: Path, *, speed: float = 1.0, ejects: bool = False, lag: float = 0.0) -> None:
        self.now = 0.0
        self.told: list[tuple[str, Mapping[str, Any] | None]] = []
        self._timers: list[tuple[float, int, Timer]] = []
        self.store = FileStore(root)
        self.board = JobBoard(lag, lambda: self.now)
        world = World(lambda: self.now, lambda: 1e9 + self.now, self._later, self._tell, lambda: self.board.changing(self.machine))
        self.machine = Machine(self.store, Bed(ejects=ejects), world, Timing(), speed=speed, seconds_per_command=0.1)

    def _later(self, delay: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._timers, (self.now + delay, len(self._timers) + len(self.told), timer))
        return timer

    def _tell(self, kind: str, payload: Mapping[str, Any] | None) -> None:
        self.told.append((kind, payload))

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.call is not None:
                timer.call()
        self.now = end

    def connected(self) -> "Workshop":
        self.machine.connect()
        self.wait(1)
        self.told.clear()
        return self

    def upload(self, path: str = "farmd/a.gcode", commands: int = 100) -> str:
        upload = self.store.incoming()
        upload.write(b"M104 S210\n" + b"G1 X1\n" * (commands - 1) if commands else b"")
        self.store.add(path, path, upload, user="farmd", userdata=None, date=1)
        return path

    def start(self, path: str) -> None:
        file = self.store.get(path)
        assert file is not None
        self.machine.select(file, "farmd")
        self.machine.start("farmd")

    @property
    def events(self) -> list[str]:
        return [str(payload["state_id"]) if kind == "PrinterStateChanged" and payload else kind for kind, payload in self.told]

    def prints(self, path: str) -> list[dict[str, Any]]:
        file = self.store.get(path)
        assert file is not None
        return file.prints


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path).connected()


def test_a_print_runs_its_time_and_tells_it_in_order(shop: Workshop) -> None:
    path = shop.upload(commands=100)
    shop.start(path)
    shop.wait(5.02)
    assert progress(shop.machine)["completion"] == pytest.approx(50, abs=0.5)
    assert shop.machine.heaters["tool0"].actual(shop.now) > 50
    shop.wait(4.9)
    assert shop.machine.state is State.PRINTING
    shop.wait(1)
    assert shop.machine.state is State.OPERATIONAL
    assert progress(shop.machine)["completion"] == 100.0
    assert shop.events == [
        *("FileSelected", "STARTING", "PrintStarted", "ChartMarked", "PRINTING"),
        *("FINISHING", "ChartMarked", "PrintDone", "MetadataStatisticsUpdated", "OPERATIONAL"),
    ]
    assert shop.prints(path) == [{"success": True, "date": pytest.approx(1e9, abs=100), "printTime": pytest.approx(10)}]
    assert [(record.path, record.outcome) for record in shop.machine.history] == [(path, Outcome.SUCCEEDED)]


def test_speed_divides_the_duration(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, speed=10).connected()
    shop.start(shop.upload(commands=100))
    shop.wait(1.2)
    assert shop.machine.state is State.OPERATIONAL


def test_a_pause_holds_time_and_ends_by_resume_only(shop: Workshop) -> None:
    shop.start(shop.upload(commands=100))
    shop.wait(3)
    shop.machine.pause("farmd")
    assert shop.machine.state is State.PAUSING
    shop.machine.resume("farmd")  # comes too early and is lost without a word
    shop.wait(1000)
    assert shop.machine.state is State.PAUSED
    held = progress(shop.machine)["filepos"]
    shop.machine.pause("farmd")
    shop.wait(10)
    assert (shop.machine.state, progress(shop.machine)["filepos"]) == (State.PAUSED, held)
    shop.machine.resume("farmd")
    shop.wait(7.2)
    assert shop.machine.state is State.OPERATIONAL
    assert shop.machine.history[0].outcome is Outcome.SUCCEEDED


def test_a_cancelled_print_is_a_failure_in_the_history_and_the_file_stays_selected(shop: Workshop) -> None:
    path = shop.upload()
    shop.start(path)
    shop.wait(2)
    shop.told.clear()
    shop.machine.cancel("farmd")
    shop.machine.cancel("farmd")
    assert progress(shop.machine)["completion"] is None
    shop.wait(1)
    assert shop.events == [
        *("PrintCancelling", "CANCELLING", "PrintCancelled", "ChartMarked"),
        *("MetadataStatisticsUpdated", "PrintFailed", "OPERATIONAL"),
    ]
    assert [entry["success"] for entry in shop.prints(path)] == [False]
    assert shop.machine.selected is not None
    assert shop.machine.bed.occupied
    assert shop.machine.history[0].outcome is Outcome.CANCELLED


def test_start_after_a_cancel_prints_the_same_file_again_onto_the_part(shop: Workshop) -> None:
    shop.start(shop.upload())
    shop.wait(2)
    shop.machine.cancel("farmd")
    shop.wait(1)
    shop.machine.start("farmd")
    assert [record.on_occupied_bed for record in shop.machine.history] == [False, True]
    assert shop.machine.bed.crashes == 1


def test_start_with_nothing_selected_and_start_while_printing_do_nothing(shop: Workshop) -> None:
    shop.machine.start("farmd")
    assert shop.machine.history == []
    shop.start(shop.upload())
    shop.wait(1)
    shop.machine.start("farmd")
    assert len(shop.machine.history) == 1


def test_a_restart_from_a_pause_begins_anew_on_top_of_the_half_part(shop: Workshop) -> None:
    shop.start(shop.upload())
    shop.wait(2)
    shop.machine.pause("farmd")
    shop.wait(1)
    shop.machine.start("farmd")
    assert [record.outcome for record in shop.machine.history] == [Outcome.RESTARTED, Outcome.RUNNING]
    assert shop.machine.bed.crashes == 1
    assert shop.events.count("PrintStarted") == 2


@pytest.mark.parametrize("paused", [False, True])
def test_a_lost_link_fails_the_print_and_forgets_the_file(shop: Workshop, paused: bool) -> None:
    path = shop.upload()
    shop.start(path)
    shop.wait(2)
    if paused:
        shop.machine.pause("farmd")
        shop.wait(1)
    shop.told.clear()
    shop.machine.drop("SerialTimeoutException: ")
    assert text(shop.machine.state, shop.machine.error) == "Offline after error"
    assert shop.machine.selected is None
    assert shop.events == [
        *("UpdatedFiles", "FileDeselected", "Disconnected", "OFFLINE", "MetadataStatisticsUpdated", "PrintFailed")
    ]
    shop.wait(100)
    assert [entry["success"] for entry in shop.prints(path)] == [False]
    assert shop.machine.history[0].outcome is Outcome.FAILED


def test_a_requested_disconnect_leaves_no_error(shop: Workshop) -> None:
    shop.machine.disconnect()
    assert (text(shop.machine.state, shop.machine.error), shop.events[0]) == ("Offline", "Disconnecting")
    shop.told.clear()
    shop.machine.disconnect()
    assert shop.events == []


def test_connecting_anew_kills_a_running_print(shop: Workshop) -> None:
    shop.start(shop.upload())
    shop.wait(2)
    shop.machine.connect()
    shop.wait(1)
    assert shop.machine.state is State.OPERATIONAL
    assert shop.machine.history[0].outcome is Outcome.FAILED


def test_the_firmware_halts_in_its_own_words_until_somebody_connects(shop: Workshop) -> None:
    shop.start(shop.upload())
    shop.wait(2)
    shop.told.clear()
    shop.machine.fatal("MAXTEMP triggered! - ok")
    assert shop.events[:4] == ["ERROR", "Error", "EStop", "UpdatedFiles"]
    assert shop.machine.error == "MAXTEMP triggered! - ok"
    assert flags(shop.machine.state, shop.machine.error)["error"]
    shop.machine.connect()
    shop.wait(1)
    assert (shop.machine.state, shop.machine.error) == (State.OPERATIONAL, "")


def test_lost_power_leaves_a_part_and_no_trace(shop: Workshop) -> None:
    path = shop.upload()
    shop.start(path)
    shop.wait(2)
    shop.machine.lose_power()
    shop.wait(100)
    assert shop.machine.state is State.OFFLINE
    assert shop.prints(path) == []
    assert shop.machine.bed.occupied
    assert shop.machine.history[0].outcome is Outcome.LOST


def test_a_silent_machine_is_believed_in_for_a_while(shop: Workshop) -> None:
    shop.start(shop.upload(commands=1000))
    shop.wait(2)
    shop.machine.freeze()
    before = progress(shop.machine)["filepos"]
    shop.wait(149)
    assert shop.machine.state is State.PRINTING
    assert progress(shop.machine)["filepos"] == before
    shop.wait(2)
    assert (shop.machine.state, shop.machine.error) == (State.OFFLINE, TIMEOUTS_ERROR)


def test_ejection_clears_the_bed_at_the_end_and_only_there(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, ejects=True).connected()
    path = shop.upload(commands=10)
    shop.start(path)
    shop.wait(2)
    assert not shop.machine.bed.occupied
    shop.start(path)
    shop.wait(0.5)
    shop.machine.cancel("farmd")
    shop.wait(2)
    assert shop.machine.bed.occupied
    assert shop.machine.bed.crashes == 0


def test_an_empty_file_prints_in_no_time_to_minus_hundred_percent(shop: Workshop) -> None:
    shop.start(shop.upload(commands=0))
    shop.wait(1)
    assert shop.machine.state is State.OPERATIONAL
    assert progress(shop.machine)["completion"] == -100


def test_the_job_board_lags_but_never_jumps_backwards(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, lag=0.5).connected()
    shop.start(shop.upload())
    assert shop.board.show(shop.machine)["state"] == "Operational"
    shop.wait(4)
    shop.machine.pause("farmd")
    shown = shop.board.show(shop.machine)
    assert (shown["state"], round(shown["progress"]["completion"])) == ("Printing", 40)
    shop.wait(1)
    assert shop.board.show(shop.machine)["state"] == "Paused"
    shop.machine.drop("")
    stale = shop.board.show(shop.machine)
    assert (stale["state"], stale["job"]["file"]["name"]) == ("Paused", "a.gcode")
    assert stale["progress"]["filepos"] > 0


def test_heaters_approach_their_target_and_cool_to_the_room() -> None:
    heater = Heater(lag=10, now=0)
    heater.aim(200, now=0)
    assert AMBIENT < heater.actual(5) < heater.actual(20) < 200
    assert heater.actual(1000) == 200
    heater.aim(0, now=1000)
    assert heater.actual(5000) == AMBIENT


def test_a_bed_with_a_memory_keeps_the_part_over_a_new_life(tmp_path: Path) -> None:
    memory = tmp_path / "bed.json"
    bed = Bed(memory=memory)
    bed.begin_print()
    bed.end_print()
    bed.begin_print()
    again = Bed(memory=memory)
    assert (again.occupied, again.crashes) == (True, 1)
    again.clear()
    assert not Bed(memory=memory).occupied


def test_a_speed_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="speed must be above 0"):
        VirtualOctoPrint(speed=0)
