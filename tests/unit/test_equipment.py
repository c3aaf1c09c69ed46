"""Printers and the profiles that make files for them: what follows from a model, and what contradicts it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from farmd.config import PrinterSettings, Settings
from farmd.config_error import ConfigError
from farmd.daemon import CannotStart, serve
from farmd.equipment import equipped
from farmd.fleet.drivers import load_factories, machine_of
from farmd.fleet.offers import class_of
from farmd.shipped import shipped_config

P1S = PrinterSettings("p1s-01", "bambu", {"model": "P1S"}, given=frozenset({"id", "driver"}))
PLAIN = PrinterSettings("mk3-01", "octoprint", {}, given=frozenset({"id", "driver"}))


def told(printer: PrinterSettings) -> str | None:
    """What a driver says, when its option says it."""
    return printer.options.get("model")


def outcome(*printers: PrinterSettings, profiles: Path | None = None) -> tuple[PrinterSettings, ...]:
    folder = profiles or shipped_config() / "profiles"
    return equipped(Settings(Path("/"), profiles=folder, printers=printers), told).printers


def complaint(*printers: PrinterSettings, profiles: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        outcome(*printers, profiles=profiles)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("word", "profile", "bed", "machine"),
    [
        ("P1S", "bambu-p1s-0.4", (256.0, 256.0, 250.0), "P1S"),
        ("X1C", "bambu-x1c-0.4", (256.0, 256.0, 250.0), "X1C"),
        ("P1P", "bambu-p1s-0.4", (256.0, 256.0, 250.0), "P1P"),
        ("X1", "bambu-x1c-0.4", (256.0, 256.0, 250.0), "X1"),
        ("X1E", "bambu-x1c-0.4", (256.0, 256.0, 250.0), "X1E"),
        ("A1", "bambu-a1-0.4", (256.0, 256.0, 256.0), "A1"),
        ("A1 mini", "bambu-a1-mini-0.4", (180.0, 180.0, 180.0), "A1MINI"),
    ],
)
def test_profile_and_bed_follow_from_the_model(word, profile, bed, machine):
    (printer,) = outcome(replace(P1S, options={"model": word}))
    assert (printer.profile, printer.bed, printer.machine) == (profile, bed, machine)


def test_what_stands_in_the_file_stays():
    (printer,) = outcome(replace(P1S, bed=(200.0, 200.0, 200.0), profile="bambu-p1s-0.4", given=frozenset({"bed", "profile"})))
    assert (printer.bed, printer.profile) == ((200.0, 200.0, 200.0), "bambu-p1s-0.4")


def test_a_printer_of_plain_gcode_is_left_as_it_is():
    assert outcome(PLAIN) == (PLAIN,)
    assert equipped(Settings(Path("/"), profiles=Path("/nowhere"))).printers == ()


def test_classes_of_plain_and_of_packed_files_are_never_the_same():
    (packed,) = outcome(P1S)
    assert class_of(packed).key == "bambu-p1s-0.4/256x256x250/0.4/P1S"
    assert class_of(replace(packed, machine=None)).key != class_of(packed).key


def test_a_profile_for_something_else_is_refused_with_the_right_one():
    wrong = replace(P1S, profile="generic-0.4", given=frozenset({"profile"}))
    assert complaint(wrong) == (
        "[[printers]] p1s-01: profile: generic-0.4 does not make files for a Bambu Lab P1S; use bambu-p1s-0.4, or leave it out"
    )
    assert "does not make files for a Bambu Lab A1;" in complaint(
        replace(P1S, options={"model": "A1"}, profile="bambu-p1s-0.4", given=frozenset({"profile"}))
    )


def test_a_printer_of_plain_gcode_gets_no_profile_of_a_model():
    text = complaint(replace(PLAIN, profile="bambu-a1-0.4", given=frozenset({"profile"})))
    assert "bambu-a1-0.4 makes files for a Bambu Lab A1 alone" in text
    assert "use generic-0.4 or mk3s-0.4" in text


def test_a_model_or_a_nozzle_without_a_profile_is_told_with_the_cure():
    text = complaint(
        replace(P1S, nozzle=0.6),
        replace(P1S, id="p1p-01", nozzle=0.2, options={"model": "P1P"}),
        replace(P1S, options={"model": "H2D"}),
    )
    first, second, third = text.splitlines()
    assert "none for a Bambu Lab P1S with a 0.6 mm nozzle; set farmd_machine = P1S and nozzle_diameter = 0.6" in first
    assert "p1p-01: profile: there is none for a Bambu Lab P1P" in second
    assert "farmd cannot make files for a H2D yet" in third


def test_a_copied_profile_serves_another_nozzle(tmp_path: Path):
    folder = tmp_path / "profiles"
    shutil.copytree(shipped_config() / "profiles", folder)
    own = (folder / "bambu-p1s-0.4.ini").read_text().replace("nozzle_diameter = 0.4", "nozzle_diameter = 0.6")
    (folder / "mine.ini").write_text(own)
    assert outcome(replace(P1S, nozzle=0.6), profiles=folder)[0].profile == "mine"


def test_every_installed_driver_tells_what_its_machines_take():
    for name in ("octoprint", "gcode"):
        assert name in load_factories()
        assert machine_of(PrinterSettings("any", name, {})) is None


def test_the_daemon_does_not_start_on_a_contradiction(tmp_path: Path):
    wrong = replace(PLAIN, profile="bambu-a1-0.4", given=frozenset({"profile"}))
    with pytest.raises(CannotStart, match="this printer takes plain G-code"):
        serve(Settings(tmp_path, files=tmp_path / "files", printers=(wrong,)))
    assert not (tmp_path / "files").exists()
