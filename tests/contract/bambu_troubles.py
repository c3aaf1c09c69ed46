"""Everything that can go wrong at a Bambu printer, as a list: how it begins, and how it is mended by whoever looks after the farm.

A trouble changes what the printer does or what reaches it, never what its record says. `spares` names the steps at which it cannot
come about, with the reason.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.virtual.bambu import faults as codes
from drivers.virtual.bambu.card import CardState
from drivers.virtual.bambu.faults import Unsigned, huge, not_utf8, truncated, wrong_types

Act = Callable[[Any], Awaitable[None] | None]
"""Takes the scene: `printer`, `farm`."""


@dataclass(frozen=True)
class Trouble:
    """`prints_itself`: the machine prints without being told."""

    name: str
    strike: Act
    mend: Act
    spares: Mapping[str, str] = field(default_factory=dict)
    prints_itself: bool = False


def knob(group: str, name: str, value: Any, *, words: str, rest: Any = None, drop: bool = False) -> Trouble:
    """A knob of the virtual printer, turned and turned back; `drop`: connections that stand are cut, so that it is met at once."""

    def turn(to: Any) -> Act:
        def act(scene: Any) -> None:
            setattr(getattr(scene.printer.faults, group), name, to)
            if drop:
                scene.printer.drop()

        return act

    return Trouble(words, turn(value), turn(rest))


def nothing(_scene: Any) -> None:
    return None


def at_screen(words: str, deed: str, **more: Any) -> Trouble:
    """Somebody does something at the machine."""
    return Trouble(words, lambda scene: getattr(scene.printer, deed)(), nothing, **more)


def card(words: str, state: CardState) -> Trouble:
    def turn(to: CardState) -> Act:
        def act(scene: Any) -> None:
            scene.printer.card.state = to
            scene.printer.firmware.machine.refresh()

        return act

    return Trouble(words, turn(state), turn(CardState.FINE))


async def full(scene: Any) -> None:
    scene.printer.card.capacity = 200


async def roomy(scene: Any) -> None:
    scene.printer.card.capacity = 32_000_000_000


async def new_certificate(scene: Any) -> None:
    await scene.printer.renew_certificate()


async def trusted_again(scene: Any) -> None:
    """The owner checks the printer, deletes what was stored of it, and restarts farmd."""
    await scene.farm.close()
    for pin in (scene.farm.folder / "machines").rglob("*"):
        if pin.is_file() and "cert" in pin.name:
            pin.unlink()
    await scene.farm.open()


async def reopened(scene: Any) -> None:
    await scene.farm.reopen()


async def cut(scene: Any) -> None:
    await scene.printer.cut()


async def restored(scene: Any) -> None:
    await scene.printer.restore()


async def dark(scene: Any) -> None:
    await scene.printer.lose_power()


async def light(scene: Any) -> None:
    await scene.printer.restore_power()


async def ghost(scene: Any) -> None:
    await scene.printer.restore_power(ghost=True)


def foreign(scene: Any) -> None:
    if not scene.printer.firmware.machine.busy and scene.printer.firmware.machine.pending is None:
        scene.printer.start_foreign(20.0)


AT_WORK = "nothing is being printed yet"
IDLE_ONLY = dict.fromkeys(("at rest", "uploading", "uploaded", "start arrives", "start heard"), AT_WORK)
TAKEN = dict.fromkeys(("start heard", "printing", "paused", "stopping"), "the machine is taken")

TROUBLES = (
    Trouble("the link is cut", cut, restored),
    at_screen("connections drop once", "drop"),
    knob("wire", "silent", True, rest=False, words="no report comes, the connection stands"),
    Trouble(
        "no report comes, and nothing wakes it",
        lambda scene: (setattr(scene.printer.faults.wire, "silent", True), setattr(scene.printer.faults.wire, "wakes", False))[0],
        lambda scene: (setattr(scene.printer.faults.wire, "silent", False), setattr(scene.printer.faults.wire, "wakes", True))[0],
    ),
    knob("wire", "deaf", True, rest=False, words="commands are swallowed"),
    knob("wire", "answer_after", 40.0, rest=0.0, words="answers come late"),
    knob("wire", "unanswered", True, rest=False, words="answers are lost"),
    knob("wire", "withhold_pubacks", True, rest=False, words="publishes are not confirmed"),
    knob("wire", "refuse_code", 5, words="the access code is wrong", drop=True),
    knob("wire", "max_clients", 0, words="the printer takes no more clients", drop=True),
    *(knob("wire", "unsigned", form, words=f"commands must be signed ({form.value})") for form in Unsigned),
    *(
        knob("wire", "spoil", spoil, words=f"reports are spoiled ({spoil.__name__})")
        for spoil in (truncated, not_utf8, huge, wrong_types)
    ),
    knob("job", "starts_nothing", True, rest=False, words="a start is acknowledged and forgotten"),
    *(
        knob("job", "start_error", error, words=f"a start ends in the error {error:08X}")
        for error in (codes.STORAGE_EXCEPTION, codes.CANNOT_PARSE, codes.BUSY)
    ),
    knob("job", "reject", codes.WRONG_NOZZLE, words="the job is given up before it began"),
    knob("job", "start_after", 60.0, words="a start takes minutes"),
    knob("job", "skips_prepare", True, rest=False, words="no preparation is shown"),
    knob("job", "silent_cancel", True, rest=False, words="a stop shows no failure"),
    knob("job", "hides_ids", True, rest=False, words="the printer shows ids of its own"),
    knob("upload", "rate", 3000.0, words="the file goes up slowly"),
    knob("upload", "die_at", 300, words="the upload dies"),
    knob("upload", "lose_after", 300, words="the upload is cut short and confirmed"),
    knob("upload", "keeps_open", True, rest=False, words="the data connection is not closed"),
    knob("upload", "confirm_after", 1.0, rest=0.0, words="the upload is confirmed late"),
    knob("upload", "unconfirmed", True, rest=False, words="the upload is not confirmed"),
    knob("upload", "refuse", "552 no space", words="the upload is refused (552)"),
    knob("upload", "hangs", True, rest=False, words="the file server says nothing"),
    card("the card is missing", CardState.MISSING),
    card("the card is read-only", CardState.READ_ONLY),
    card("the card is damaged", CardState.DAMAGED),
    Trouble("the card is full", full, roomy),
    Trouble("the power is lost", dark, light),
    Trouble("the power is lost, and the file prints by itself", dark, ghost, prints_itself=True),
    Trouble("the certificate changes", new_certificate, trusted_again),
    Trouble("the daemon ends", reopened, nothing),
    Trouble("LAN mode is left", lambda scene: scene.printer.leave_lan_mode(), restored),
    Trouble("somebody prints at the machine", foreign, nothing, spares=TAKEN),
    at_screen("somebody holds it at the screen", "pause_by_hand", spares=IDLE_ONLY),
    at_screen("somebody stops it at the screen", "stop_by_hand", spares=IDLE_ONLY),
    at_screen("somebody puts the message away", "dismiss"),
    at_screen("the spool runs out", "run_out", spares=IDLE_ONLY),
    Trouble("the machine gives the print up", lambda scene: scene.printer.fail(0x0300400D), nothing, spares=IDLE_ONLY),
)
