"""What a serial machine has said of itself: who it is, what it can do, how hot it is, where it stands and what it asks a person.

Pure bookkeeping below the session; nothing is concluded here about a print.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from drivers.gcode.replies import Action, Busy, Capable, Firmware, Heat, Ok, Other, Position, Reply, Report, SdPrint

WAIT_SECONDS = 6.0
"""A machine that waits for a person says so every two seconds."""
MOST_ABLE, MOST_CHOICES = 128, 10
"""More than any firmware has: what goes on beyond is noise, and is not kept."""
GO_ON = ("continue", "resume", "done", "ok", "yes")
WAITS = "the machine waits for a person"
NOT_A_PRINTER = {
    "grbl": "a grbl speaks on this port: it mills, and cannot print",
    "klipper": "a Klipper speaks on this port: print through its Moonraker instead",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the machine asks a person; `choices` in the order of their numbers, empty when it can only be told to go on."""

    text: str
    choices: tuple[str, ...] = ()

    @property
    def going_on(self) -> int:
        """The choice that lets the print go on, by its number: "Continue" stands last after "Purge more"."""
        return next((number for number, words in enumerate(self.choices) if words.strip().lower() in GO_ON), 0)


@dataclass(slots=True)
class Machine:
    """`heat` by heater (`T`, `T1`, `B`, `C`), `able` by the names of M115's capabilities, `position` in mm."""

    firmware: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    able: dict[str, bool] = field(default_factory=dict)
    heat: dict[str, Heat] = field(default_factory=dict)
    position: Mapping[str, float] = field(default_factory=dict)
    sd: SdPrint = field(default_factory=SdPrint)
    prompt: Prompt | None = None
    _draft: tuple[str, tuple[str, ...]] = ("", ())
    _waited: float = -WAIT_SECONDS
    _noise: bool = False

    @property
    def marlin(self) -> bool:
        """Its buffers are known to bear more than one line."""
        return "marlin" in self.firmware.lower()

    @property
    def targets(self) -> dict[str, float]:
        """What each heater is meant to have, where that is not nothing."""
        return {heater: heat.target for heater, heat in self.heat.items() if heat.target > 0}

    def waits(self, now: float) -> bool:
        """It has just said that it waits for a person."""
        return now <= self._waited + WAIT_SECONDS / 2

    def answer(self, choice: int) -> bytes:
        """The command that answers what is asked. Raises `ValueError`, in words, when there is none."""
        choices = self.prompt.choices if self.prompt else ()
        if not choices:
            return b"M108"
        if not 0 <= choice < len(choices):
            raise ValueError(f"there are {len(choices)} choices, numbered from 0")
        if self.able.get("EMERGENCY_PARSER") is not False:
            return b"M876 S%d" % choice
        if choice:
            raise ValueError(f"this firmware can only be told the first choice, {choices[0]}: use the buttons at the machine")
        return b"M108"  # M876 would stand in the queue behind the command that waits for it

    def stranger(self) -> str | None:
        """Why what answers is not a printer, if it is not."""
        name = self.firmware.lower()
        return next((words for kind, words in NOT_A_PRINTER.items() if kind in name), None)

    @property
    def only_noise(self) -> bool:
        """Nothing that was said makes sense."""
        return self._noise and not self.firmware

    def note(self, reply: Reply, now: float) -> None:
        """Keep what `reply` tells."""
        match reply:
            case Report(heat):
                self.heat.update(heat)
            case Ok(heat=heat) if heat is not None:
                self.heat.update(heat)
            case Ok(axes=axes) if axes is not None:
                self.position = axes
            case Firmware(fields):
                self.firmware, self.fields = reply.name, fields
            case Capable(name, able) if len(self.able) < MOST_ABLE:
                self.able[name] = able
            case Position(axes):
                self.position = axes
            case SdPrint():
                self.sd = reply
            case Action(name, text):
                self._prompted(name, text)
            case Busy(waits):
                self._waits(waits, now)
            case Other(text):
                self._odd(text)

    def passed(self, now: float) -> None:
        """Time went on: a wait that is not told any more is over."""
        if self.prompt is not None and not self.prompt.choices and now > self._waited + WAIT_SECONDS:
            self.prompt = None

    def _prompted(self, name: str, text: str) -> None:
        words, choices = self._draft
        match name:
            case "prompt_begin":
                self._draft = (text, ())
            case "prompt_button" | "prompt_choice" if len(choices) < MOST_CHOICES:
                self._draft = (words, (*choices, text))
            case "prompt_show":
                self.prompt = Prompt(words, choices)
            case "prompt_end" | "resumed":  # Marlin leaves its last word, "Resuming", on the screen
                self.prompt, self._draft = None, ("", ())

    def _waits(self, waits: bool, now: float) -> None:
        if waits:
            self._waited = now
            self.prompt = self.prompt or Prompt(WAITS)

    def _odd(self, text: str) -> None:
        if text.startswith("Grbl"):
            self.firmware = text
        self._noise = self._noise or sum(not " " <= each <= "~" for each in text) > len(text) // 2
