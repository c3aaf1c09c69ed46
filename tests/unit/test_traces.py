"""What a supervisor's memory of snapshots says about parts that nobody booked."""

from drivers.contract import Phase, Snapshot
from farmd.fleet.traces import Trace, Traces

FOREIGN = "by-hand.gcode"


def seen(phase: Phase, file: str | None = None, token: str | None = None, epoch: int = 1) -> Snapshot:
    return Snapshot(phase, epoch, token=token, file=file)


def after(*snapshots: Snapshot) -> list[Trace]:
    traces = Traces()
    for snapshot in snapshots:
        traces.look(snapshot)
    return traces.unjudged


def test_an_empty_machine_left_nothing():
    assert after(seen(Phase.IDLE), seen(Phase.OFFLINE), seen(Phase.IDLE, epoch=2)) == []


def test_the_end_of_every_print_is_told_once():
    running, ended = seen(Phase.PRINTING, FOREIGN), seen(Phase.IDLE, FOREIGN)
    assert after(seen(Phase.IDLE), running, running, ended, ended) == [Trace(None, FOREIGN, watched=True)]


def test_a_print_that_ends_out_of_sight_has_ended_nevertheless():
    assert after(seen(Phase.PRINTING, FOREIGN), seen(Phase.OFFLINE), seen(Phase.IDLE, epoch=2)) == [
        Trace(None, FOREIGN, watched=True)
    ]


def test_a_file_found_after_an_absence_is_told_and_one_known_before_is_not():
    assert after(seen(Phase.IDLE, FOREIGN)) == [Trace(None, FOREIGN, watched=False)]
    assert after(seen(Phase.IDLE), seen(Phase.IDLE, FOREIGN)) == [], "selected before our eyes, and not printed"
    found = after(seen(Phase.IDLE), seen(Phase.OFFLINE), seen(Phase.IDLE, FOREIGN, epoch=2), seen(Phase.IDLE, FOREIGN, epoch=3))
    assert found == [Trace(None, FOREIGN, watched=False)]


def test_a_file_of_ours_is_told_only_when_it_ran_to_its_end():
    ours = "farmd/att-1.gcode"
    assert after(seen(Phase.IDLE, ours, "att-1")) == []
    assert after(seen(Phase.FINISHED, ours, "att-1")) == [Trace("att-1", ours, watched=False)]
