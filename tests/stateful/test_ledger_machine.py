"""Anything people and printers may do to a job, in any order, on a real store: the unit ledger always adds up.

Hypothesis picks orders, prints, losses, scraps, cancels and retries; after every step the books are read back and checked.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule
from sqlalchemy import select

from farmd.domain.events import ORDER_EVENTS
from farmd.domain.lifecycle import (
    ATTEMPT_LIVE,
    ATTEMPT_UNSETTLED,
    FORWARD,
    AttemptState,
    JobState,
    OrderStatus,
    order_status,
)
from farmd.domain.refusals import NotNow
from farmd.payments.manual import ManualPayments
from farmd.pipeline.post_process import Settled, settle_step
from farmd.store import printing, sales
from farmd.store import tables as t
from farmd.store.engine import Tx
from farmd.store.making import queue, refuse
from farmd.store.rows import get
from farmd.store.transitions import facts_of
from farmd.store.work import (
    ask_printer,
    enable_printer,
    jobs_to_replan,
    register_printers,
    resolve_attempt,
    retry_job,
    units_without_plate,
    withdraw_job,
)
from tests import making
from tests.farm import FarmWorld, farm_settings, open_store

PRINTERS = tuple(making.printer(f"mk3-{number}") for number in range(3))
NAMES = st.sampled_from([printer.id for printer in PRINTERS])
TOLD = [ORDER_EVENTS[status] for status in FORWARD]


class Ledger(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = FarmWorld()
        self.stack = AsyncExitStack()
        self.status: dict[str, OrderStatus] = {}
        self.heaps: list[tuple[str, int, int]] = []  # (job, step, units that wait there)
        self.failed: list[str] = []

    def do(self, work):
        return self.loop.run_until_complete(self.store.write(work))

    def rows(self, table):
        def read(connection):
            return connection.execute(select(table)).mappings().all()

        return self.loop.run_until_complete(self.store.read(read))

    @initialize()
    def open(self):
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="ledger-")))
        self.store = self.loop.run_until_complete(self.stack.enter_async_context(open_store(folder, self.world)))
        self.do(lambda tx: register_printers(tx, farm_settings(folder, printers=PRINTERS)))

    def teardown(self):
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()

    def live(self, states=ATTEMPT_LIVE):
        return [row for row in self.rows(t.attempts) if AttemptState(row["state"]) in states]

    # people buy

    @rule(
        target=jobs,
        quantities=st.lists(st.integers(1, 7), min_size=1, max_size=2),
        steps=st.sampled_from([(), ("sand",), ("sand", "paint")]),
    )
    def buy(self, quantities, steps):
        return multiple(*self.do(lambda tx: making.place_paid(tx, *quantities, steps=steps)))

    @rule(job=jobs, per_plate=st.integers(1, 4))
    def slice(self, job, per_plate):
        def work(tx):
            row = making.job(tx, job)
            if row["state"] == "CREATED":
                full, rest = divmod(row["waiting"], per_plate)
                making.slice_job(tx, job, *[per_plate] * full, *([rest] if rest else []))

        self.do(work)

    @rule(target=jobs, quantity=st.integers(1, 7), steps=st.sampled_from([("sand",), ("sand", "paint")]))
    def buy_and_print(self, quantity, steps):
        def work(tx):
            job_id = making.queued(tx, *[2] * (quantity // 2), *[1] * (quantity % 2), steps=steps)
            self.print_plates(tx, job_id)
            return job_id

        return self.do(work)

    @rule(job=jobs)
    def print_all(self, job):
        self.do(lambda tx: self.print_plates(tx, job))

    def print_plates(self, tx, job_id):
        """Print what waits of a job on the first free printer."""
        free = [printer.id for printer in PRINTERS if printing.live_attempt(tx.connection, printer.id) is None]
        usable = [name for name in free if not get(tx.connection, t.printers, name)["quarantined"]]
        if usable and JobState(making.job(tx, job_id)["state"]) in printing.PRINTABLE:
            making.print_all(tx, job_id, usable[0])

    @rule(job=jobs)
    def find_fault(self, job):
        def work(tx):
            if making.job(tx, job)["state"] == "CREATED":
                refuse(tx, job, "not_watertight", "it has holes", "Close them")

        self.do(work)

    # the pipeline and the fleet

    @rule()
    def replan(self):
        def work(tx):
            for job_id in jobs_to_replan(tx.connection):
                queue(tx, job_id, [making.plate(units_without_plate(tx.connection, job_id))])

        self.do(work)

    @rule(printer=NAMES, seen=st.booleans(), pick=st.randoms(use_true_random=False))
    def start(self, printer, seen, pick):
        def work(tx):
            rows = tx.connection.execute(select(t.plates).where(t.plates.c.state == "WAITING")).mappings().all()
            fitting = [row for row in rows if JobState(making.job(tx, row["job_id"])["state"]) in printing.PRINTABLE]
            free = (
                printing.live_attempt(tx.connection, printer) is None and not get(tx.connection, t.printers, printer)["quarantined"]
            )
            if fitting and free:
                making.begin(tx, pick.choice(fitting)["id"], printer, seen=seen)

        self.do(work)

    @rule(printer=NAMES, well=st.booleans(), pick=st.randoms(use_true_random=False))
    def print_one(self, printer, well, pick):
        """A whole print at once, good or bad, on a printer somebody just looked after."""

        def work(tx):
            rows = tx.connection.execute(select(t.plates).where(t.plates.c.state == "WAITING")).mappings().all()
            fitting = [row for row in rows if JobState(making.job(tx, row["job_id"])["state"]) in printing.PRINTABLE]
            enable_printer(tx, printer)
            if fitting and printing.live_attempt(tx.connection, printer) is None:
                making.end(tx, making.begin(tx, pick.choice(fitting)["id"], printer), well=well)

        self.do(work)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), outcome=st.sampled_from(["well", "badly", "lost", "seen", "refused"]))
    def end(self, data, outcome):
        attempt = data.draw(st.sampled_from(self.live()))

        def work(tx: Tx) -> None:
            if outcome == "lost":
                printing.lost(tx, attempt, "the power was cut")
            elif outcome == "well":
                printing.succeeded(tx, attempt, ejected=False)
            elif outcome == "badly":
                printing.failed(tx, attempt, "it came loose")
            elif outcome == "seen" and attempt["state"] == AttemptState.STARTING:
                printing.seen_printing(tx, attempt, paused=False)
            elif outcome == "refused" and attempt["state"] == AttemptState.STARTING:
                printing.start_refused(tx, attempt, "busy", foreign=True, blame_plate=False)

        self.do(work)

    @precondition(lambda self: any(attempt["cancel_wanted"] for attempt in self.live(ATTEMPT_UNSETTLED)))
    @rule()
    def obey(self):
        wanted = [attempt for attempt in self.live(ATTEMPT_UNSETTLED) if attempt["cancel_wanted"]]
        self.do(lambda tx: printing.cancelled(tx, wanted[0], "wanted"))

    @precondition(lambda self: self.live({AttemptState.UNKNOWN}))
    @rule(outcome=st.sampled_from(["succeeded", "failed"]))
    def resolve(self, outcome):
        lost = self.live({AttemptState.UNKNOWN})[0]["id"]
        self.do(lambda tx: resolve_attempt(tx, lost, outcome, by="a person"))

    # people decide

    @rule(printer=NAMES)
    def stop(self, printer):
        self.allowed(lambda tx: ask_printer(tx, printer, "cancel"))

    @precondition(lambda self: self.heaps)
    @rule(data=st.data(), scrapped=st.integers(0, 3), too_many=st.integers(0, 9))
    def post_process(self, data, scrapped, too_many):
        """Mostly counts that can be true; one in ten says more than there is."""
        job, step, waiting = data.draw(st.sampled_from(self.heaps))
        bad = min(scrapped, waiting)
        good = data.draw(st.integers(0 if bad else 1, waiting - bad)) if waiting > bad else 0
        settled = Settled(good + (waiting if too_many == 9 else 0), bad)
        self.allowed(lambda tx: settle_step(tx, job, step, settled))

    @rule(job=jobs)
    def finish(self, job):
        """Everything that waits anywhere turns out well."""

        def work(tx):
            for step in range(len(making.job(tx, job)["steps"])):
                row = making.job(tx, job)
                if row["at_step"][step]:
                    settle_step(tx, job, step, Settled(row["at_step"][step], 0))

        self.allowed(work)

    @precondition(lambda self: self.failed)
    @rule(data=st.data())
    def retry(self, data):
        job = data.draw(st.sampled_from(self.failed))
        self.allowed(lambda tx: retry_job(tx, job, by="a person"))

    @rule(job=consumes(jobs))
    def cancel(self, job):
        self.allowed(lambda tx: withdraw_job(tx, job, "not needed"))

    @rule(job=consumes(jobs))
    def cancel_order(self, job):
        def work(tx):
            order = get(tx.connection, t.orders, making.job(tx, job)["order_id"])
            if not order["cancelled_at"] and not order["shipped_at"]:
                sales.record_cancellation(tx, order, "changed their mind", ManualPayments().take_back)

        self.do(work)

    @rule(job=jobs)
    def ship(self, job):
        def work(tx):
            order = get(tx.connection, t.orders, making.job(tx, job)["order_id"])
            if order["status"] == "ready":
                sales.record_shipment(tx, order, "post", "T-1")

        self.do(work)

    def allowed(self, work):
        """Do it, or be told why not; a refusal must leave the books as they were."""
        before = (self.rows(t.jobs), self.rows(t.plates), self.rows(t.attempts))
        try:
            self.do(work)
        except NotNow:
            assert (self.rows(t.jobs), self.rows(t.plates), self.rows(t.attempts)) == before

    # the books

    @invariant()
    def the_books_are_right(self):
        def read(connection):
            tables = (t.jobs, t.plates, t.attempts, t.events, t.orders)
            jobs, plates, attempts, events, orders = (connection.execute(select(table)).mappings().all() for table in tables)
            folded = {order["id"]: order_status(facts_of(Tx(connection, self.world), order)) for order in orders}
            return jobs, plates, attempts, events, orders, folded

        jobs, plates, attempts, events, orders, folded = self.loop.run_until_complete(self.store.read(read))
        open_jobs = [job for job in jobs if job["state"] not in (JobState.CANCELLED, JobState.READY)]
        self.heaps = [(job["id"], step, count) for job in open_jobs for step, count in enumerate(job["at_step"]) if count]
        self.failed = [job["id"] for job in open_jobs if job["state"] == JobState.FAILED]
        unsettled = [attempt for attempt in attempts if AttemptState(attempt["state"]) in ATTEMPT_UNSETTLED]
        units_add_up(jobs)
        states_follow_the_ledger(jobs)
        printing_units_are_those_on_machines(jobs, unsettled)
        a_plate_is_printed_once_at_a_time(jobs, plates, unsettled)
        self.orders_never_go_back(orders, folded)
        every_order_event_is_told_once_and_in_order(events, self.status)

    def orders_never_go_back(self, orders, folded):
        for order in orders:
            order_id, status = order["id"], OrderStatus(order["status"])
            assert status is folded[order_id]
            before = self.status.get(order_id, status)
            if status in FORWARD and before in FORWARD:
                assert FORWARD.index(status) >= FORWARD.index(before)
            else:
                assert status not in FORWARD
            self.status[order_id] = status


def units_add_up(jobs):
    for job in jobs:
        ledger = {name: job[name] for name in ("waiting", "printing", "printed", "good", "scrapped")}
        assert min(ledger.values()) >= 0, (job["id"], ledger)
        assert sum(ledger.values()) == job["ordered"] + job["scrapped"], (job["id"], ledger)
        assert sum(job["at_step"]) == (job["printed"] if job["steps"] else 0)
        assert min(job["at_step"], default=0) >= 0
        if job["state"] == JobState.READY:
            assert job["good"] == job["ordered"]


def states_follow_the_ledger(jobs):
    for job in jobs:
        state = JobState(job["state"])
        if state not in printing.PRINTABLE:
            continue
        if job["printing"]:
            assert state is JobState.PRINTING
        elif job["waiting"]:
            assert state is JobState.QUEUED
        else:
            assert state is JobState.POST_PROCESSING
            assert job["good"] < job["ordered"]


def printing_units_are_those_on_machines(jobs, unsettled):
    on_machines: dict[str, int] = {}
    for attempt in unsettled:
        if attempt["started_at"]:
            on_machines[attempt["job_id"]] = on_machines.get(attempt["job_id"], 0) + attempt["copies"]
    assert {job["id"]: job["printing"] for job in jobs if job["printing"]} == on_machines


def a_plate_is_printed_once_at_a_time(jobs, plates, unsettled):
    held = [attempt["plate_id"] for attempt in unsettled]
    assert len(held) == len(set(held))
    assert {plate["id"] for plate in plates if plate["state"] == "ACTIVE"} == set(held)
    covered: dict[str, int] = {}
    for plate in plates:
        if plate["state"] in ("WAITING", "ACTIVE"):
            covered[plate["job_id"]] = covered.get(plate["job_id"], 0) + plate["copies"]
    for job in jobs:
        if job["state"] != JobState.CANCELLED:
            assert covered.get(job["id"], 0) <= job["waiting"] + job["printing"]


def every_order_event_is_told_once_and_in_order(events, status):
    told: dict[str, list[str]] = {}
    for event in events:
        if event["type"] in ORDER_EVENTS.values():
            told.setdefault(event["order_id"], []).append(event["type"])
    for order_id, names in told.items():
        forward = [name for name in names if name in TOLD]
        assert forward == TOLD[: len(forward)]
        assert len(names) == len(set(names))
        assert names[-1] == ORDER_EVENTS[status[order_id]]


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
