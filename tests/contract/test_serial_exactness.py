"""Random faults on the wire and in the board, and always the same question: was every line of the print executed exactly once?

A print either succeeded and was exact, or it ended with a reason and its heaters off. Noise towards the printer damages at most
one bit of what is written at once: two of them may cancel each other in Marlin's checksum, and nobody could see that.

That it can fail is shown by the planted mistakes at the end.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from drivers.gcode import flight
from drivers.gcode.attendance import UNSURE
from drivers.gcode.framing import frame
from drivers.gcode.protocol import Link
from drivers.gcode.session import Ending, Phase, Session
from drivers.virtual.marlin import Board, Fault, Kind, Odds, State, user
from tests.serial_session import SerialBench, commands

SCRIPTS = int(os.environ.get("FARMD_SCRIPTS", "150"))
BATCHES = 5
MOVES = 300
LONGEST = 3600.0  # seconds of the board's time
WIRE = [Kind.LOSE_OK] * 4 + [Kind.DOUBLE_OK] * 2 + [Kind.GARBLE_IN] * 5 + [Kind.GARBLE_OUT] * 3 + [Kind.DROP_IN] * 2
BOARD = [
    *(Kind.RESET, Kind.UNPLUG, Kind.UNPLUG, Kind.UNPLUG_RESET, Kind.RUNOUT, Kind.PAUSE, Kind.PAUSE, Kind.CANCEL),
    *(Kind.STOP, Kind.THERMAL, Kind.HANG),
]


def gcode(chances: random.Random) -> list[bytes]:
    x = y = 50.0
    lines = [b"; a comment", b"M140 S60", b"M104 S200", b"M190 S60", b"M109 S200", b"G28", b"G90", b"M83", b"G1 Z0.2 F1200"]
    for _ in range(MOVES):
        x, y = (min(200.0, max(0.0, at + chances.uniform(-1, 1))) for at in (x, y))
        lines.append(b"G1 X%.3f Y%.3f E0.02 F3600" % (x, y))
    return [*lines, b"M104 S0 ; off", b"M84"]


def faults(chances: random.Random) -> Iterator[Fault]:
    for _ in range(chances.randrange(8)):
        yield Fault(chances.choice(WIRE), after=chances.randrange(8, MOVES + 20))
    for _ in range(chances.choice([0, 0, 1, 1, 2])):
        seconds = chances.choice([2.0, 20.0, 100.0, 200.0])
        if (kind := chances.choice(BOARD)) is Kind.RUNOUT:
            yield Fault(kind, at=chances.uniform(80, 92))  # while the part is made
        else:
            yield Fault(kind, after=chances.randrange(8, MOVES + 20), seconds=seconds)


@dataclass
class Case:
    bench: SerialBench
    lines: list[bytes]

    @classmethod
    def of(cls, folder: Path, seed: int) -> "Case":
        chances = random.Random(seed)
        odds = Odds(
            garble_out=chances.choice([0, 0, 1e-4, 3e-4]),
            drop_out=chances.choice([0, 0, 1e-4]),
            lose_ok=chances.choice([0, 0, 2e-3, 1e-2]),
            double_ok=chances.choice([0, 0, 2e-3]),
        )
        board = Board(
            advanced_ok=chances.random() < 0.3,
            native_usb=chances.random() < 0.3,
            command_slots=chances.choice([4, 8]),
            emergency_parser=chances.random() < 0.8,
        )
        bench = SerialBench(folder, board, seed=seed, odds=odds, script=faults(chances))
        return cls(bench, gcode(chances))

    def run(self) -> Ending:
        """To the end, with a person who answers what is asked and takes up what is held."""
        bench, session = self.bench.ready(), self.bench.session
        bench.print(self.lines)
        end, patience, tries = bench.now + LONGEST, bench.now, 0
        while session.job is not None:
            assert bench.now < end, f"hangs: {session.phase}, {session.message}, {bench.news[-3:]}"
            if session.prompt is None and session.phase is not Phase.HELD:
                patience = bench.now + 20
            elif bench.now >= patience and not session.away:
                patience = bench.now + 20
                if session.prompt is not None:
                    session.answer(0, bench.now)
                    tries += 1
                    if tries > 3:  # a board without emergency parser, whose queue is full: only its own button is heard
                        user.go_on(bench.firmware.core)
                else:
                    session.resume(bench.now)
                bench.touch()
            bench.step()
        assert session.ended is not None
        return session.ended

    def judge(self, ending: Ending) -> str:
        """What became of it; AssertionError when that may not be."""
        bench, session = self.bench, self.bench.session
        # as Marlin's parser does: nothing from the first asterisk on, which a damaged line end can leave in the middle
        done = [command.partition(b"*")[0] for command in bench.firmware.record.numbered]
        want = commands(self.lines)
        words = next((news.words for news in bench.news if news.kind == "ended"), "")
        if ending is Ending.SUCCEEDED:
            begin = done.index(want[0])
            assert is_within(want, done[begin:]), f"not exact: {first_difference(want, done[begin:])}"
        if UNSURE in words and bench.firmware.state is State.RUNNING:  # out of reach when it ended: made safe when it is back
            bench.until(lambda: session.phase in (Phase.READY, Phase.HALTED), 1200)
        if bench.firmware.state is State.HUNG:
            assert UNSURE in words, words
            return "out of reach"
        assert not any(heater.target for heater in (bench.firmware.core.nozzle, bench.firmware.core.bed)), f"hot: {words}"
        return str(ending)


def is_within(want: list[bytes], done: list[bytes]) -> bool:
    """Whether `want` was executed as it stands; between its lines only what the host says to park a held print and come back."""
    if done[: len(want)] == want:
        return True
    ours = 0
    for command in done:
        if ours < len(want) and command == want[ours]:
            ours += 1
        elif not command.startswith(OF_THE_HOST):
            return False
    return ours == len(want) and [each for each in done if is_of_the_part(each)] == [each for each in want if is_of_the_part(each)]


def is_of_the_part(command: bytes) -> bool:
    """The moves that make the part: no other has this feed."""
    return command.startswith(b"G1 X") and command.endswith(b"F3600")


OF_THE_HOST = (
    *(b"G90", b"G91", b"M82", b"M83", b"M104 ", b"M109 ", b"M140 ", b"M190 ", b"M141 ", b"M106 ", b"M400", b"M114", b"G92 E"),
    *(b"G1 E-1.50 F1800", b"G1 Z", b"G1 X", b"G1 E1.50 F300", b"G1 F3600"),
)


def first_difference(want: list[bytes], done: list[bytes]) -> str:
    at = next((at for at, (a, b) in enumerate(zip(want, done, strict=False)) if a != b), min(len(want), len(done)))
    return f"at {at}: wanted {want[at : at + 3]}, was {done[at : at + 5]}"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_line_exactly_once_or_a_reason_and_no_heat(batch: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    for seed in range(batch, SCRIPTS, BATCHES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = Case.of(folder, seed)
        try:
            counts[case.judge(case.run())] += 1
        except Exception as error:
            raise AssertionError(f"script {seed}: {error!r}") from error
    with capsys.disabled():
        print(f"\nserial scripts {batch + 1}/{BATCHES}: {dict(sorted(counts.items()))}", end=" ")  # noqa: T201
    assert counts["succeeded"] > sum(counts.values()) / 3


# planted mistakes: the question above must be able to fail


def counts_anew_after_a_resend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The firmware is told to go on with what is next here, instead of what it wants."""

    def wanted(self: Link, line: int | None, now: float) -> None:
        if self._asking or self._counting:
            real(self, line, now)
        else:
            self._send(flight.Kind.PLAIN, -1, frame(self._next - 1, b"M110 N%d" % (self._next - 1)), now)

    real = Link._wanted
    monkeypatch.setattr(Link, "_wanted", wanted)


def goes_on_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    def restarted(self: Session) -> None:
        if self.job is not None:
            self.link.begin(self.job, self._now, self.link.next)

    monkeypatch.setattr(Session, "_restarted", restarted)


def leaves_the_heaters_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(self: Session, words: str):
        self._end(Ending.FAILED, words)
        return self._rest()

    monkeypatch.setattr(Session, "_give_up", give_up)


PLANTS = [counts_anew_after_a_resend, goes_on_after_a_restart, leaves_the_heaters_on]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_seen(plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plant(monkeypatch)
    for seed in range(60):
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = Case.of(folder, seed)
        try:
            case.judge(case.run())
        except AssertionError:
            return
    pytest.fail("60 scripts, and nothing was noticed")
