"""The machine inside a virtual Bambu printer: what it does with a job, from the order to the end, and what its screen shows.

Time comes from an agenda, so that nothing here waits. A word that the firmware shows is not what happened: that stands in the
record and on the bed, which alone know of every print that met a part.
"""

from collections.abc import Callable
from dataclasses import replace

from drivers.virtual.bambu import faults as codes
from drivers.virtual.bambu import requests
from drivers.virtual.bambu.agenda import Agenda, Timer
from drivers.virtual.bambu.ams import NONE, OUTSIDE, Feeder
from drivers.virtual.bambu.card import Card
from drivers.virtual.bambu.faults import Faults
from drivers.virtual.bambu.job import Job, Pace
from drivers.virtual.bambu.models import Ams, Model
from drivers.virtual.bambu.record import PrintMade, Record
from drivers.virtual.bambu.requests import LARGEST_ID, Names, Order, Turned
from drivers.virtual.bed import Bed
from drivers.virtual.history import Outcome
from drivers.virtual.motion import Heater, PrintClock

HOMING, PREHEATING, LEVELLING, WIPING, SCANNING, PRINTING = 13, 2, 1, 14, 10, 0
LOADING, RUN_OUT, USER_PAUSE, UNLOADING = 24, 6, 16, 22
SPEEDS = {1: 50, 2: 100, 3: 124, 4: 166}


class Machine:
    """`changed` is called whenever the screen shows something new. Drive it from one thread."""

    def __init__(
        self,
        model: Model,
        card: Card,
        bed: Bed,
        feeder: Feeder,
        faults: Faults,
        record: Record,
        agenda: Agenda,
        pace: Pace,
        changed: Callable[[], None],
    ) -> None:
        self.model, self.card, self.bed, self.feeder = model, card, bed, feeder
        self.faults, self.record, self.pace = faults, record, pace
        self.nozzle_diameter = "0.4"
        self.heaters = {name: Heater(lag, agenda.now) for name, lag in (("nozzle", 12.0), ("bed", 30.0))}
        self.speed, self.light = 2, False
        self._agenda, self._changed = agenda, changed
        self._steps: list[Timer] = []
        self._own_ids = 6455
        self._left: str | None = None  # the file of the last job, for a ghost
        self._forget()

    def _forget(self) -> None:
        """As after switching on."""
        rest = self.model.ids_at_rest
        self.state, self.stage, self.print_type = "IDLE", 0, "idle"
        self.print_error, self.fail_reason = 0, 0
        self.hms: list[tuple[int, int]] = []
        self.names = Names("", rest, rest, rest, rest)
        self.gcode_file = ""
        self.job: Job | None = None
        self.pending: Order | None = None  # acknowledged, and the old state still stands
        self.prepare_percent, self.percent, self.layer, self.layers, self.minutes_left = 0, 0, 0, 0, 0
        self.phase_text = "1"
        self.card.locked = None

    @property
    def now(self) -> float:
        return self._agenda.now

    @property
    def busy(self) -> bool:
        return self.state in ("PREPARE", "SLICING", "RUNNING", "PAUSE")

    # --- orders ---

    def order(self, order: Order) -> None:
        """Somebody wants this printed; what becomes of it is shown, never answered."""
        self.record.starts.append(order.names.subtask_id)
        if self.busy or self.pending is not None:
            self.record.complaints.append(f"started {order.path} while the machine was busy")
            self._show_error(codes.BUSY)
            if self.faults.job.busy_kills and self.job is not None:
                self._end_job(self.job, "FAILED", Outcome.CANCELLED)
            return
        if self.faults.job.starts_nothing:
            return
        self.pending = order
        self._then(self.pace.landing, lambda: self._land(order))

    def _land(self, order: Order) -> None:
        """The names are on the screen before the file was looked into."""
        self.names = self._names(order.names)
        self.gcode_file = "" if self.model.host_path else order.path.lstrip("/")
        self.print_error = 0
        wait = self.faults.job.start_after
        self._changed()
        if self.model.clamps_ids and _number(order.names.subtask_id) > LARGEST_ID:
            self.pending = None  # it takes the job for the one before and does nothing
            return
        self._then(self.pace.starting if wait is None else wait, lambda: self._begin(order))

    def met(self) -> None:
        """A client comes in."""
        if self.pending is not None and self.model.reconnect_spoils_start:
            self.pending = None
            self._cancel_steps()
            self._turn_down(Turned(codes.CANNOT_PARSE, gives_up=True))

    def _names(self, wished: Names) -> Names:
        if self.faults.job.hides_ids or wished.subtask_id in ("", "0"):
            self._own_ids += 1
            own = str(self._own_ids)
            return replace(wished, task_id=own, subtask_id="" if self.model.ids_at_rest == "" else "0")
        clamp = self.model.clamps_ids and _number(wished.subtask_id) > LARGEST_ID
        return replace(wished, subtask_id=str(LARGEST_ID)) if clamp else wished

    def _begin(self, order: Order) -> None:
        self.pending = None
        knobs = self.faults.job
        try:
            if knobs.start_error is not None:
                raise Turned(knobs.start_error, gives_up=False)
            if knobs.reject is not None:
                raise Turned(knobs.reject, gives_up=True)
            project = requests.load(order, self.card, self.model)
            if project.nozzle and project.nozzle != self.nozzle_diameter:
                raise Turned(codes.WRONG_NOZZLE, gives_up=True)
        except Turned as turned:
            self._turn_down(turned)
            return
        self.job = Job(order, project, PrintClock(max(project.seconds, 0.001)))
        self.card.locked = self._left = order.path
        self.print_type, self.fail_reason = "local", 0
        self.percent, self.layer, self.layers = 0, 0, project.layers
        self.minutes_left = round(project.seconds / 60)
        if self.model.host_path:
            self.gcode_file = f"/data/Metadata/plate_{project.plate}.gcode"
        if knobs.skips_prepare:
            self._run(self.job)
            return
        job = self.job
        self.state, self.stage, self.prepare_percent = "PREPARE", 0, 0
        self._changed()
        self._then(self.pace.preparing, lambda: self._run(job))

    def _turn_down(self, turned: Turned) -> None:
        if turned.gives_up:
            self.state, self.fail_reason = "FAILED", turned.error
        self._show_error(turned.error)

    def _run(self, job: Job) -> None:
        """The head goes to the bed: from here on a part on it is hit."""
        order, filaments = job.order, job.project.filaments
        job.made = PrintMade(
            order.path,
            job.project.plate,
            order.names.subtask_id,
            order.names.subtask_name,
            self.now,
            self.bed.occupied,
            (),
            tuple(each.kind for each in filaments),
        )
        self.record.prints.append(job.made)
        self.bed.begin_print()
        self.prepare_percent, self.phase_text = 100, "2"
        self.state, self.stage = "RUNNING", HOMING
        self._heat(job.project.plan.tool, job.project.plan.bed)
        self._go_on(job)

    def _go_on(self, job: Job) -> None:
        """The clock of the print runs; what comes next is a step of the beginning, the loading, or the end."""
        self.state = "RUNNING"
        job.clock.run(self.now)
        stages = [HOMING, PREHEATING, WIPING, LEVELLING] + ([SCANNING] if self.model.lidar else [])
        done, warming = job.clock.elapsed(self.now), job.warming(self.pace)
        for number, stage in enumerate(stages):
            at = warming * number / len(stages)
            if at >= done:
                self._step(at - done, lambda stage=stage: self._stage(stage))  # type: ignore[misc]
        if done <= warming:
            self._step(warming - done, lambda: self._load(job))
        else:
            self.stage = PRINTING
        self._step(job.clock.left(self.now), lambda: self._finish(job))
        self._changed()

    def _stage(self, stage: int) -> None:
        self.stage = stage
        self._changed()

    def _load(self, job: Job) -> None:
        """Take filament, from where the order said."""
        places = requests.places_of(job.order, job.project, self.feeder)
        if places is None:
            self._hold(job, RUN_OUT, codes.NO_MAPPING)
            return
        if OUTSIDE in places and self.feeder.outside is None:
            self._hold(job, RUN_OUT, codes.RUNOUT_EXTERNAL)
            return
        if places:
            self.feeder.feed(places[0])
        if job.made is not None:
            job.made.fed = tuple(-1 if place == OUTSIDE else place for place in places)
        self._stage(PRINTING)

    def _finish(self, job: Job) -> None:
        self.percent, self.layer, self.minutes_left = 100, job.project.layers, 0
        self._close(job, Outcome.SUCCEEDED)
        self.bed.end_print()
        self._rest("FINISH")

    # --- what a person or a client does to it ---

    def pause(self, stage: int = USER_PAUSE, error: int = 0) -> None:
        """Hold the print; nothing happens where none runs."""
        job = self.job
        if job is not None and self.state == "RUNNING":
            self._then(self.pace.holding, lambda: self._hold(job, stage, error))

    def _hold(self, job: Job, stage: int, error: int) -> None:
        self._cancel_steps()
        job.clock.hold(self.now)
        self.state, self.stage, self.print_error = "PAUSE", stage, error
        if job.made is not None:
            job.made.pauses += 1
        self._changed()

    def resume(self) -> None:
        """Go on; without filament where it ran out it stops again at once."""
        job = self.job
        if job is None or self.state != "PAUSE":
            return
        empty = self.stage == RUN_OUT and job.clock.elapsed(self.now) > job.warming(self.pace)
        if empty and self.feeder.target != NONE and self.feeder.loaded(self.feeder.target) is None:
            return
        if empty:
            self.feeder.feed(self.feeder.target)
        self._then(self.pace.holding, lambda: self._resumed(job))

    def _resumed(self, job: Job) -> None:
        self.print_error = 0
        self._go_on(job)

    def stop(self) -> None:
        """End the print; nothing happens where none is."""
        job = self.job
        if job is None and self.pending is None:
            return
        self.pending = None
        self._show_error(codes.CANCELLED)
        self._then(self.pace.stopping, lambda: self._stopped(job))

    def _stopped(self, job: Job | None) -> None:
        self.fail_reason = codes.CANCELLED
        if job is not None:
            self._close(job, Outcome.CANCELLED)
        self._rest("IDLE" if self.faults.job.silent_cancel else "FAILED")
        self._clear_later(codes.CANCELLED)

    def set_speed(self, level: int) -> None:
        if level in SPEEDS:
            self.speed = level
            self._changed()

    def clear_error(self) -> None:
        self.print_error = 0
        self._changed()

    def dismiss(self) -> None:
        """Somebody closes the dialog of a print that ended."""
        if self.state in ("FINISH", "FAILED"):
            self.state, self.print_error = "IDLE", 0
            self._changed()

    def run_out(self) -> None:
        """The spool in use ends: another of its kind takes over where the feeder does that, otherwise the print waits."""
        job, place = self.job, self.feeder.now
        spent = self.feeder.loaded(place)
        if job is None or self.state != "RUNNING" or spent is None:
            return
        twin = self.feeder.twin(place, spent) if self.feeder.auto_refill and place != OUTSIDE else None
        if place == OUTSIDE:
            self.feeder.outside = None
        else:
            self.feeder.spools[place] = None
        if twin is not None:
            self.feeder.feed(twin)
            if job.made is not None:
                job.made.fed += (twin,)
            self._changed()
            return
        self.feeder.before, self.feeder.target = place, place
        lite = self.model.ams is Ams.LITE
        self._hold(job, RUN_OUT, codes.RUNOUT_EXTERNAL if place == OUTSIDE else codes.RUNOUT_LITE if lite else codes.RUNOUT)

    def fail(self, error: int) -> None:
        """The machine ends the print by itself."""
        if self.job is not None:
            self.fail_reason = self.print_error = error
            self._end_job(self.job, "FAILED", Outcome.FAILED)

    def lose_power(self) -> None:
        """Everything but card, bed and spools is forgotten."""
        self._cancel_steps()
        self._agenda.clear()
        if self.job is not None:
            self._close(self.job, Outcome.LOST)
        self._forget()
        self._heat(0, 0)

    def power_up(self, *, ghost: bool = False) -> None:
        """Idle, as if nothing had ever been; `ghost`: the file of the last job begins again by itself."""
        if ghost and self._left is not None and self.card.size(self._left) is not None:
            self._own_ids += 1
            own = str(self._own_ids)
            name = self._left.lstrip("/")
            names = Names(name.removesuffix(".gcode.3mf"), own, own, "0", "0")
            self.order(Order(names, f"ftp://{self._left}", self._left, "Metadata/plate_1.gcode", False, ()))

    # --- the small print ---

    def refresh(self) -> None:
        """Something about it was changed by hand."""
        self._changed()

    def look(self) -> None:
        """Bring the numbers of the screen up to now."""
        if self.job is not None and self.state == "RUNNING":
            self.layer, self.percent = self.job.layer(self.now), self.job.percent(self.now)
            self.minutes_left = -int(-self.job.clock.left(self.now) // 60)

    def _end_job(self, job: Job, state: str, outcome: Outcome) -> None:
        self._close(job, outcome)
        self._rest(state)

    def _close(self, job: Job, outcome: Outcome) -> None:
        self._cancel_steps()
        if job.made is not None:
            job.made.layers = job.layer(self.now) if outcome is not Outcome.SUCCEEDED else job.project.layers
            job.made.close(outcome, self.now)
        job.clock.hold(self.now)
        self.job, self.card.locked = None, None

    def _rest(self, state: str) -> None:
        self.state, self.stage, self.print_type = state, self.model.stage_at_rest, "idle"
        if state != "FINISH":
            self.percent = self.layer = self.minutes_left = 0
        if not self.model.host_path:
            self.gcode_file = ""
        self.feeder.unload()
        self._heat(0, 0)
        self._changed()

    def _heat(self, nozzle: float, bed: float) -> None:
        if self.job is not None and self.job.made is not None:
            self.job.made.hottest = max(self.job.made.hottest, nozzle)
        self.heaters["nozzle"].aim(nozzle, self.now)
        self.heaters["bed"].aim(bed, self.now)

    def _show_error(self, error: int) -> None:
        self.print_error = error
        self._changed()

    def _clear_later(self, error: int) -> None:
        self._agenda.later(self.pace.error_shown, lambda: self._clear(error))

    def _clear(self, error: int) -> None:
        if self.print_error == error:
            self.clear_error()

    def _then(self, delay: float, call: Callable[[], None]) -> None:
        """The one next step of the job; what was planned before does not happen."""
        self._cancel_steps()
        self._step(delay, call)

    def _step(self, delay: float, call: Callable[[], None]) -> None:
        self._steps.append(self._agenda.later(delay, call))

    def _cancel_steps(self) -> None:
        for timer in self._steps:
            timer.cancel()
        self._steps.clear()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
