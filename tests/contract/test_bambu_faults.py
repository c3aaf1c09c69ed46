"""The Bambu driver where things go wrong: starts, links, files, people and power, over real TLS sockets to a virtual printer.

What truly happened is read from the printer's own record: above all, how often a start arrived.
"""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.bambu import driver as driver_module
from drivers.bambu import errands, ftps, starting
from drivers.bambu.prints import token_in
from drivers.bambu.session import Timing
from drivers.contract import Busy, Capability, Concern, NotOurs, Outcome, Phase, Refused, RemoteFile, Unauthorized, Unreachable
from drivers.virtual.bambu import faults as codes
from drivers.virtual.bambu.ams import Spool
from drivers.virtual.bambu.faults import Unsigned, huge, not_utf8, truncated, wrong_types
from drivers.virtual.bambu.models import Ams
from drivers.virtual.bambu.printer import VirtualBambu
from tests.contract.bambu_bench import SPEED, driver_of, sliced, start, watched
from tests.waiting import until

QUICK = Timing(landed=1.0, begun=2.0, silence=1.0, revival=0.5, full=1.0, stopping=2.0)


def play(story, model="P1S", **more):
    async def go():
        async with VirtualBambu(model, speed=SPEED, **more) as printer:
            await asyncio.wait_for(story(printer), 60)

    asyncio.run(go())


def nothing(_sent, _total):
    pass


async def uploaded(driver, printer, folder, token="att-1", seconds=30) -> RemoteFile:
    return await driver.upload(sliced(folder, printer, seconds), token, nothing)


# --- starts ---


@pytest.mark.parametrize("form", [Unsigned.ANSWER, Unsigned.ECHO])
def test_a_printer_without_developer_mode_refuses_and_says_the_cure(form, tmp_path):
    async def story(printer):
        printer.faults.wire.unsigned = form
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            with pytest.raises(Unauthorized, match="enable Developer Mode"):
                await driver.start(remote)
            seen = await watch.until("the concern", lambda seen: Concern.LOCKED in seen.concerns)
            assert seen.phase is Phase.IDLE
            assert printer.record.starts == []
            assert await driver.outcome("att-1") is Outcome.FAILED

    play(story)


def test_a_printer_that_says_so_is_sent_no_start_at_all(tmp_path):
    async def story(printer):
        printer.faults.wire.unsigned = Unsigned.SILENCE
        async with watched(printer, tmp_path) as (driver, watch):
            assert Concern.LOCKED in watch.seen[0].concerns
            remote = await uploaded(driver, printer, tmp_path)
            with pytest.raises(Unauthorized, match="enable Developer Mode"):
                await driver.start(remote)
            assert "print.project_file" not in printer.record.commands

    play(story, "X1C")


def test_a_start_that_nobody_answers_is_in_doubt_and_never_sent_again(tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "ANSWER_SECONDS", 0.5)

    async def story(printer):
        printer.faults.wire.unsigned = Unsigned.SILENCE  # the form of an A1 mini
        async with watched(printer, tmp_path, timing=QUICK) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            with pytest.raises(Unreachable, match="does not say whether it took the start"):
                await driver.start(remote)
            with pytest.raises(Busy, match="on its way"):
                await driver.start(remote)
            await watch.phase(Phase.BUSY)
            seen = await watch.phase(Phase.IDLE)
            assert Concern.LOCKED in seen.concerns
            assert await driver.outcome("att-1") is None
            printer.drop()
            await watch.phase(Phase.OFFLINE)
            await watch.phase(Phase.IDLE)
            assert printer.record.commands.count("print.project_file") == 1

    play(story, "A1")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (codes.STORAGE_EXCEPTION, Outcome.FAILED, "0500-C010"),
        (codes.CANNOT_PARSE, Outcome.FAILED, "cannot read the print file"),
    ],
)
def test_an_acknowledged_start_of_which_nothing_comes_is_known_by_its_error(error, kind, words, tmp_path):
    async def story(printer):
        printer.faults.job.start_error = error
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            await driver.start(remote)
            seen = await watch.until("the error", lambda seen: words in (seen.message or ""))
            assert (seen.phase, seen.token) == (Phase.IDLE, None)
            assert (Concern.STORAGE in seen.concerns) is (error == codes.STORAGE_EXCEPTION)
            assert await driver.outcome("att-1") is kind
            assert printer.record.prints == []
            # the error is put away before the next start, which is not taken for refused by it
            printer.faults.job.start_error = None
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-2")
            assert printer.record.complaints == []

    play(story)


def test_a_printer_that_says_it_is_busy_is_left_alone_for_a_while(tmp_path):
    async def story(printer):
        printer.faults.job.start_error = codes.BUSY
        async with watched(printer, tmp_path, timing=QUICK) as (driver, watch):
            await driver.start(await uploaded(driver, printer, tmp_path))
            await watch.until("the error", lambda seen: "somebody else" in (seen.message or ""))
            assert await driver.outcome("att-1") is Outcome.FAILED
            with pytest.raises(Busy, match="somebody else's start"):
                await driver.start(await uploaded(driver, printer, tmp_path, "att-2"))
            await watch.phase(Phase.IDLE)

    play(story)


def test_a_strangers_start_that_has_not_begun_yet_is_seen_by_its_names(tmp_path):
    async def story(printer):
        printer.faults.job.start_after = 60.0
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            printer.start_foreign(60.0)
            await watch.phase(Phase.BUSY)
            with pytest.raises(Busy, match="somebody else's start"):
                await driver.start(remote)
            seen = await watch.phase(Phase.PRINTING)
            assert (seen.token, seen.file) == (None, "by-hand")
            assert printer.record.complaints == []

    play(story)


def test_a_print_given_up_before_it_began_has_failed(tmp_path):
    async def story(printer):
        printer.faults.job.reject = codes.WRONG_NOZZLE
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            await driver.start(remote)
            await watch.until("the error", lambda seen: "another nozzle" in (seen.message or ""))
            assert await driver.outcome("att-1") is Outcome.FAILED

    play(story)


def test_an_old_state_that_stands_for_minutes_is_neither_an_end_nor_a_failure(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 1), "att-1")
            await watch.phase(Phase.FINISHED, "att-1")
            printer.clear_bed()
            printer.faults.job.start_after = 60.0
            remote = await uploaded(driver, printer, tmp_path, "att-2", seconds=2)
            begun = len(watch.seen)
            await driver.start(remote)
            await watch.phase(Phase.PRINTING, "att-2")
            between = [(seen.phase, seen.token) for seen in watch.seen[begun:-1] if seen.token != "att-2"]
            assert set(between[1:]) <= {(Phase.BUSY, None)}
            assert len(between) > 2
            await watch.phase(Phase.FINISHED, "att-2")
            assert [made.subtask_name for made in printer.record.prints] == ["farmd-att-1", "farmd-att-2"]

    play(story)


def test_lost_acknowledgements_cost_nothing(tmp_path):
    async def story(printer):
        printer.faults.wire.unanswered = True
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            await driver.pause("att-1")
            await watch.phase(Phase.PAUSED, "att-1")
            await driver.resume("att-1")
            await driver.cancel("att-1")
            await watch.phase(Phase.IDLE)
            assert await driver.outcome("att-1") is Outcome.CANCELLED

    play(story)


def test_withheld_confirmations_of_the_broker_are_never_waited_for(tmp_path):
    async def story(printer):
        printer.faults.wire.withhold_pubacks = True
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            for _ in range(3):
                await driver.pause("att-1")
                await driver.resume("att-1")
            printer.drop()
            await watch.phase(Phase.OFFLINE)
            await watch.phase(Phase.PRINTING, "att-1")
            assert printer.record.commands.count("print.project_file") == 1

    play(story)


@pytest.mark.parametrize("landing", [0.05, 8.0])
def test_a_link_lost_right_after_the_start_starts_once_and_finds_the_print(landing, tmp_path):
    async def story(printer):
        printer.firmware.machine.pace = replace(printer.firmware.machine.pace, landing=landing)
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await uploaded(driver, printer, tmp_path)
            starting_ = asyncio.create_task(driver.start(remote))
            await until(lambda: printer.record.starts)
            printer.drop()
            await asyncio.gather(starting_, return_exceptions=True)
            await watch.phase(Phase.PRINTING, "att-1")
            assert len(printer.record.starts) == 1

    play(story)


def test_a_restart_while_the_start_is_on_its_way_finds_the_print_and_sends_nothing(tmp_path):
    async def story(printer):
        printer.faults.job.start_after = 30.0
        async with watched(printer, tmp_path) as (driver, _watch):
            await driver.start(await uploaded(driver, printer, tmp_path))
        async with watched(printer, tmp_path) as (_driver, watch):
            assert watch.seen[0].phase is Phase.BUSY
            await watch.phase(Phase.PRINTING, "att-1")
            assert len(printer.record.starts) == 1

    play(story)


def test_a_lost_ledger_leaves_the_print_known_by_its_name(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
        (tmp_path / "machine" / "prints.json").write_text("{ruined")
        async with watched(printer, tmp_path) as (_driver, watch):
            printer.faults.job.hides_ids = True
            seen = watch.seen[0]
            assert (seen.phase, seen.token) == (Phase.PRINTING, "att-1")

    play(story)


def test_a_full_disk_keeps_the_start_from_leaving(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, _watch):
            remote = await uploaded(driver, printer, tmp_path)
            ledger = tmp_path / "machine" / "prints.json.new"
            ledger.mkdir()  # whoever writes there fails
            with pytest.raises(Refused, match="cannot be written down"):
                await driver.start(remote)
            assert printer.record.starts == []
            ledger.rmdir()
            await driver.start(remote)

    play(story)


# --- ends, people and power ---


def test_a_stop_at_the_screen_is_a_cancelled_print(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            printer.stop_by_hand()
            await watch.phase(Phase.IDLE)
            assert await driver.outcome("att-1") is Outcome.CANCELLED

    play(story)


def test_old_firmware_that_goes_straight_to_idle_after_a_stop(tmp_path):
    async def story(printer):
        printer.faults.job.silent_cancel = True
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            await driver.cancel("att-1")
            await watch.phase(Phase.STOPPING, "att-1")
            await watch.phase(Phase.IDLE)
            assert await driver.outcome("att-1") is Outcome.CANCELLED

    play(story, "P1P")


def test_a_failure_stands_until_somebody_puts_it_away(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            printer.fail(0x03004006)
            seen = await watch.phase(Phase.ERROR)
            assert "0300-4006" in seen.message
            assert await driver.outcome("att-1") is Outcome.FAILED
            remote = await uploaded(driver, printer, tmp_path, "att-2")
            with pytest.raises(Refused, match="put the message on the printer's screen away"):
                await driver.start(remote)
            printer.dismiss()
            await watch.phase(Phase.IDLE)

    play(story)


def test_a_power_cut_leaves_the_outcome_open(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            epoch = watch.seen[-1].epoch
            await printer.lose_power()
            await watch.phase(Phase.OFFLINE)
            await printer.restore_power()
            back = await watch.until("a new epoch", lambda seen: seen.epoch > epoch)
            assert (back.phase, back.token) == (Phase.IDLE, None)
            assert await driver.outcome("att-1") is None

    play(story)


def test_a_file_that_the_printer_prints_again_by_itself_is_a_strangers_print(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            await printer.lose_power()
            await watch.phase(Phase.OFFLINE)
            await printer.restore_power(ghost=True)
            seen = await watch.phase(Phase.PRINTING)
            assert seen.token is None
            with pytest.raises(NotOurs):
                await driver.cancel("att-1")

    play(story)


def test_a_file_is_deleted_when_its_print_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(driver_module, "SWEEP_SECONDS", 0.5)

    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            remote = await start(driver, watch, sliced(tmp_path, printer, 1), "att-1")
            await watch.phase(Phase.FINISHED, "att-1")
            await until(lambda: printer.record.deleted)
            assert token_in(printer.record.deleted[0]) == "att-1"
            await driver.remove(remote)  # what the farm does a week later is a no-op

    play(story)


# --- filament ---

FOUR = (Spool("PLA", "#FFFFFF"), Spool("PETG", "#1A1A1A"), None, Spool("PLA", "#1A1A1A"))


def test_a_print_is_fed_from_the_slot_it_was_started_with(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            assert Capability.SPOOLS in driver.capabilities
            assert [spool.slot for spool in watch.seen[0].spools] == ["ams-0-0", "ams-0-1", "ams-0-3"]
            remote = await uploaded(driver, printer, tmp_path, seconds=2)
            for slot, words in (
                (None, "name one"),
                ("ams-0-2", "nothing lies in ams-0-2"),
                ("ams-0-1", "holds PETG"),
                ("tray", "nothing lies"),
            ):
                with pytest.raises(Refused, match=words):
                    await driver.start(remote, slot)
            await driver.start(remote, "ams-0-3")
            await watch.phase(Phase.FINISHED, "att-1")
            assert [made.fed for made in printer.record.prints] == [(3,)]
            assert printer.record.starts != []

    play(story, spools=FOUR)


def test_without_a_changer_the_external_spool_is_used(tmp_path):
    async def story(printer):
        printer.feeder.spools[:] = [None] * 4
        printer.feeder.box = Ams.NONE
        printer.feeder.outside = Spool("PLA", "#1A1A1A")
        async with watched(printer, tmp_path) as (driver, watch):
            assert [spool.slot for spool in watch.seen[0].spools] == ["external"]
            await driver.start(await uploaded(driver, printer, tmp_path, seconds=2))
            await watch.phase(Phase.FINISHED, "att-1")
            assert [made.fed for made in printer.record.prints] == [(-1,)]

    play(story)


def test_a_runout_waits_for_a_person_and_goes_on(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 20), "att-1")
            await until(lambda: printer.feeder.now == 0 and printer.state == "RUNNING")
            printer.run_out()
            seen = await watch.until("the concern", lambda seen: Concern.HELD in seen.concerns)
            assert (seen.phase, seen.token) == (Phase.PAUSED, "att-1")
            assert "ams-0-0" in seen.concerns[Concern.HELD]
            printer.refill(0)
            await driver.resume("att-1")
            seen = await watch.phase(Phase.PRINTING, "att-1")
            assert Concern.HELD not in seen.concerns

    play(story)


def test_a_twin_spool_takes_over_without_a_pause(tmp_path):
    async def story(printer):
        printer.feeder.auto_refill = True
        async with watched(printer, tmp_path) as (driver, watch):
            await driver.start(await uploaded(driver, printer, tmp_path, seconds=4), "ams-0-0")
            await watch.phase(Phase.PRINTING, "att-1")
            await until(lambda: printer.feeder.now == 0)
            printer.run_out()
            await watch.phase(Phase.FINISHED, "att-1")
            assert Phase.PAUSED not in {seen.phase for seen in watch.seen}
            assert printer.record.prints[0].fed == (0, 1)

    play(story, spools=(Spool(), Spool()))


# --- reports and the link ---


@pytest.mark.parametrize("model", ["P1S", "X1C"])
@pytest.mark.parametrize("spoil", [not_utf8, huge, wrong_types])
def test_reports_of_any_shape_are_survived(spoil, model, tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 2), "att-1")
            printer.faults.wire.spoil_next += [spoil, truncated, spoil]
            await watch.phase(Phase.FINISHED, "att-1")
            assert {seen.phase for seen in watch.seen} <= {Phase.IDLE, Phase.BUSY, Phase.PRINTING, Phase.FINISHED}

    play(story, model)


def test_a_printer_that_falls_silent_is_woken_and_then_connected_anew(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path, timing=QUICK) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 60), "att-1")
            printer.faults.wire.silent, printer.faults.wire.wakes = True, False
            seen = await watch.phase(Phase.OFFLINE)
            assert "silent" in seen.message
            assert "pushing.start" in printer.record.commands
            printer.faults.wire.silent = False
            await watch.phase(Phase.PRINTING, "att-1")
            assert len(printer.broker.connects) >= 2

    play(story)


def test_a_printer_that_only_dozed_is_woken(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path, timing=replace(QUICK, revival=20.0)) as (_driver, watch):
            printer.faults.wire.silent = True
            await until(lambda: "pushing.start" in printer.record.commands)
            watch.fresh()
            await watch.phase(Phase.IDLE)
            assert len(printer.broker.connects) == 1

    play(story)


def test_no_connection_is_made_anew_while_a_start_is_being_read_in(tmp_path):
    """It would make some printers fail the start."""

    async def story(printer):
        printer.faults.job.start_after = 60.0
        async with watched(printer, tmp_path, timing=replace(QUICK, begun=20.0)) as (driver, watch):
            await driver.start(await uploaded(driver, printer, tmp_path))
            printer.faults.wire.silent, printer.faults.wire.wakes = True, False
            await until(lambda: printer.state == "RUNNING")
            printer.faults.wire.silent = False
            await watch.phase(Phase.PRINTING, "att-1")
            assert len(printer.broker.connects) == 1

    play(story, "P1P")


def test_taking_leave_frees_the_place_at_once(tmp_path):
    async def story(printer):
        printer.faults.wire.max_clients = 1
        for _ in range(3):
            async with watched(printer, tmp_path):
                assert sum(client.name is not None for client in printer.broker.clients) == 1
            await until(lambda: not printer.broker.clients)
        async with watched(printer, tmp_path):
            second = driver_of(printer, tmp_path / "second")
            with pytest.raises(Unreachable, match="refuses the connection"):
                await second.connect()
            await second.close()

    play(story)


@pytest.mark.slow
def test_a_connection_that_takes_everything_and_says_nothing_is_given_up(tmp_path):
    async def story(printer):
        async def swallow(reader, writer):
            await reader.read()
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        driver = driver_of(printer, tmp_path, mqtt_port=server.sockets[0].getsockname()[1])
        began = time.monotonic()
        with pytest.raises(Unreachable, match="did not answer within"):
            await driver.connect()
        assert time.monotonic() - began < 15
        await driver.close()
        server.close()

    play(story)


# --- files ---


def bambu_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("bambu-files")]


@pytest.mark.parametrize("knobs", [{"keeps_open": True}, {"confirm_after": 2.0}, {"rate": 400_000.0}])
def test_slow_and_careless_file_servers_take_the_whole_file(knobs, tmp_path):
    async def story(printer):
        for key, value in knobs.items():
            setattr(printer.faults.upload, key, value)
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, heavy(tmp_path, printer), "att-1")
            assert [(taken.whole, taken.size) for taken in printer.record.uploads] == [
                (True, heavy(tmp_path, printer).stat().st_size)
            ]

    play(story)


def heavy(folder: Path, printer, seconds=30) -> Path:
    """A file of several hundred kilobytes."""
    import os
    import zipfile

    file = sliced(folder, printer, seconds)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("Metadata/picture.png", os.urandom(500_000))
    return file


@pytest.mark.parametrize(
    ("knobs", "error", "words"),
    [
        ({"die_at": 100_000}, Unreachable, "broke|hung up|arrived"),
        ({"lose_after": 100_000}, Unreachable, r"of \d+ bytes arrived"),
        ({"refuse": "552 no space"}, Refused, "storage is full"),
        ({"refuse": "553 could not create file"}, Refused, "storage card"),
        ({"unconfirmed": True}, Unreachable, "hung up|broke"),
    ],
)
def test_an_upload_that_does_not_arrive_whole_is_never_called_one(knobs, error, words, tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            for key, value in knobs.items():
                setattr(printer.faults.upload, key, value)
            with pytest.raises(error, match=words):
                await driver.upload(heavy(tmp_path, printer), "att-1", nothing)
            with pytest.raises(Refused):
                await driver.start(RemoteFile("farmd-att-1.gcode.3mf", "att-1", 1))
            for key in knobs:
                setattr(printer.faults.upload, key, getattr(type(printer.faults.upload)(), key))
            await start(driver, watch, heavy(tmp_path, printer), "att-1")

    play(story)


def test_an_a1_that_knows_no_tls_for_files_gets_them_over_a_bare_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(ftps, "HANDSHAKE_SECONDS", 0.5)

    async def story(printer):
        printer.faults.upload.deaf_data = True
        async with watched(printer, tmp_path) as (driver, watch):
            began = time.monotonic()
            await start(driver, watch, heavy(tmp_path, printer), "att-1")
            await driver.upload(sliced(tmp_path, printer, 2), "att-2", nothing)  # this time it is known
            assert time.monotonic() - began < 8
            assert [taken.whole for taken in printer.record.uploads if taken.size] == [True, True]

    play(story, "A1")


def test_other_printers_never_get_a_file_over_a_bare_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(ftps, "HANDSHAKE_SECONDS", 0.5)

    async def story(printer):
        printer.faults.upload.deaf_data = True
        async with watched(printer, tmp_path) as (driver, _watch):
            with pytest.raises(Unreachable, match="shakes no hands"):
                await driver.upload(heavy(tmp_path, printer), "att-1", nothing)

    play(story)


def test_a_file_whose_print_was_cut_off_is_deleted_before_the_printer_finds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(driver_module, "SWEEP_SECONDS", 0.5)

    async def story(printer):
        async with watched(printer, tmp_path) as (driver, watch):
            await start(driver, watch, sliced(tmp_path, printer, 30), "att-1")
            await printer.lose_power()
            await watch.phase(Phase.OFFLINE)
            await printer.restore_power()
            await watch.phase(Phase.IDLE)
            await until(lambda: printer.record.deleted)
            assert await driver.outcome("att-1") is None

    play(story)


def test_a_cancelled_upload_lets_go_of_its_thread(tmp_path):
    async def story(printer):
        printer.faults.upload.rate = 50_000.0
        async with watched(printer, tmp_path) as (driver, _watch):
            told = []
            sending = asyncio.create_task(driver.upload(heavy(tmp_path, printer), "att-1", lambda sent, _: told.append(sent)))
            await until(lambda: told)
            sending.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert time.monotonic() - began < 4
            assert errands._pool()._work_queue.empty()
            assert [taken.whole for taken in printer.record.uploads if taken.whole] == []

    play(story)


def test_two_printers_are_served_at_the_same_time(tmp_path):
    async def story(printer):
        async with VirtualBambu("A1", speed=SPEED) as other:
            printer.faults.upload.rate = other.faults.upload.rate = 400_000.0
            async with watched(printer, tmp_path / "one") as (first, _), watched(other, tmp_path / "two") as (second, _):
                began = time.monotonic()
                for folder in (tmp_path / "one", tmp_path / "two"):
                    folder.mkdir(exist_ok=True)
                await asyncio.gather(
                    first.upload(heavy(tmp_path / "one", printer), "att-1", nothing),
                    second.upload(heavy(tmp_path / "two", other), "att-2", nothing),
                )
                assert time.monotonic() - began < 2.3  # one after the other would take 2.5 s

    play(story)


def test_files_that_are_not_for_this_printer_do_not_go_up(tmp_path):
    async def story(printer):
        plain = tmp_path / "plain.gcode"
        plain.write_text("G28\n")
        other = sliced(tmp_path, printer, 31, model="N2S")
        async with watched(printer, tmp_path) as (driver, _watch):
            for file, words in ((plain, "no .gcode.3mf"), (other, "sliced for the printer N2S")):
                with pytest.raises(Refused, match=words):
                    await driver.upload(file, "att-1", nothing)
            with pytest.raises(Refused, match="cannot be a file name"):
                await driver.upload(sliced(tmp_path, printer, 1), "../x", nothing)
            assert printer.record.uploads == []

    play(story)


def test_only_files_a_farm_uploaded_are_touched(tmp_path):
    async def story(printer):
        async with watched(printer, tmp_path) as (driver, _watch):
            for path in ("by-hand.gcode.3mf", "farmd-att-2.gcode.3mf", "../farmd-att-1.3mf.exe"):
                with pytest.raises(NotOurs):
                    await driver.start(RemoteFile(path, "att-1", 1))
                with pytest.raises(NotOurs):
                    await driver.remove(RemoteFile(path, "att-1", 1))

    play(story)


def test_no_secret_reaches_a_log_a_repr_or_an_error(tmp_path, caplog):
    async def story(printer):
        printer.access_code = "SECRET77"
        with caplog.at_level("DEBUG"):
            driver = driver_of(printer, tmp_path, access_code="SECRET78")
            with pytest.raises(Unauthorized) as refused:
                await driver.connect()
            assert "SECRET" not in str(refused.value) + repr(driver) + caplog.text
            await driver.close()

    play(story)
