"""Profiles: the shipped ones load, orders become settings, and every typing error is named before a print."""

import re
import shutil
from pathlib import Path

import pytest

from farmd.domain.model import Size
from farmd.domain.slicing import PrinterClass, SliceOptions, SliceRejected
from farmd.pipeline.profiles import ProfileError, load_profiles
from farmd.pipeline.slicers.bundle import BundleError, resolve_bundle

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "profiles"
VENDOR = Path("/usr/share/PrusaSlicer/profiles/PrusaResearch.ini")
GENERIC = PrinterClass("generic-0.4", Size(250, 210, 200), 0.4)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "profiles"))


def test_an_order_becomes_settings() -> None:
    options = SliceOptions(quality="fine", infill=40, material="PETG", color="#1a1a1a")
    settings = load_profiles(SHIPPED).recipe(options, GENERIC).settings
    assert settings["layer_height"] == "0.12"
    assert settings["fill_density"] == "40%"
    assert (settings["temperature"], settings["bed_temperature"]) == ("240", "85")
    assert settings["bed_shape"] == "0x0,250x0,250x210,0x210"
    assert settings["max_print_height"] == "200"
    assert settings["extruder_colour"] == "#1A1A1A"
    assert settings["post_process"] == ""


def test_full_infill_takes_a_pattern_that_allows_it() -> None:
    profiles = load_profiles(SHIPPED)
    assert profiles.recipe(SliceOptions(infill=100), GENERIC).settings["fill_pattern"] == "rectilinear"
    assert profiles.recipe(SliceOptions(infill=99), GENERIC).settings["fill_pattern"] == "gyroid"


def test_pressure_advance_of_one_material_is_not_used_for_another() -> None:
    mk3s = PrinterClass("mk3s-0.4", Size(250, 210, 210), 0.4)
    profiles = load_profiles(SHIPPED)
    assert "M900" in profiles.recipe(SliceOptions(), mk3s).settings["start_filament_gcode"]
    assert "M900" not in profiles.recipe(SliceOptions(material="TPU"), mk3s).settings["start_filament_gcode"]


def test_equal_orders_are_equal_text_and_every_choice_changes_it() -> None:
    profiles = load_profiles(SHIPPED)
    texts = {
        profiles.recipe(options, GENERIC).ini()
        for options in (
            SliceOptions(),
            SliceOptions("standard", 15, "PLA", "black"),  # a name is not a colour PrusaSlicer knows: no change
            SliceOptions(quality="draft"),
            SliceOptions(infill=16),
            SliceOptions(material="ABS"),
            SliceOptions(color="#ffffff"),
        )
    }
    assert len(texts) == 5


@pytest.mark.parametrize("profile", sorted(path.stem for path in SHIPPED.glob("*.ini")))
def test_every_shipped_combination_stays_below_its_own_caps(profile: str) -> None:
    profiles = load_profiles(SHIPPED)
    (model, *_) = profiles.models.get(profile, (None,))
    cls = PrinterClass(profile, Size(250, 210, 210), 0.4, model.name if model else None)
    for quality in profiles.qualities:
        for material in profiles.materials:
            recipe = profiles.recipe(SliceOptions(quality=quality, material=material), cls)
            assert recipe.number("first_layer_temperature") <= recipe.material.nozzle_max_c
            assert recipe.number("layer_height") < recipe.number("nozzle_diameter")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (SliceOptions(quality="superb"), "unknown_quality"),
        (SliceOptions(material="unobtainium"), "unknown_material"),
    ],
)
def test_an_unknown_choice_is_refused_naming_the_known_ones(options: SliceOptions, code: str) -> None:
    with pytest.raises(SliceRejected, match="Choose one of") as caught:
        load_profiles(SHIPPED).recipe(options, GENERIC)
    assert caught.value.code == code


def test_another_nozzle_or_profile_is_refused() -> None:
    profiles = load_profiles(SHIPPED)
    with pytest.raises(SliceRejected, match=r"0\.4 mm nozzle, the printer has 0\.6 mm"):
        profiles.recipe(SliceOptions(), PrinterClass("generic-0.4", Size(250, 210, 200), 0.6))
    with pytest.raises(SliceRejected, match=r"bambu-x1c-0\.4, generic-0\.4, mk3s-0\.4"):
        profiles.recipe(SliceOptions(), PrinterClass("prusa", Size(250, 210, 200), 0.4))


def test_a_profile_of_a_model_serves_that_model_alone() -> None:
    profiles = load_profiles(SHIPPED)
    for profile, machine in (("bambu-p1s-0.4", None), ("bambu-p1s-0.4", "X1C"), ("generic-0.4", "P1S")):
        with pytest.raises(SliceRejected) as caught:
            profiles.recipe(SliceOptions(), PrinterClass(profile, Size(256, 256, 250), 0.4, machine))
        assert caught.value.code == "machine_mismatch"
    recipe = profiles.recipe(SliceOptions(), PrinterClass("bambu-p1s-0.4", Size(256, 256, 250), 0.4, "P1S"))
    assert "farmd_machine" not in recipe.ini()  # it is farmd's own word, and no setting of the slicer


@pytest.mark.parametrize("infill", [-1, 101])
def test_infill_is_a_percentage(infill: int) -> None:
    with pytest.raises(ValueError, match="0 to 100"):
        SliceOptions(infill=infill)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("generic-0.4.ini", "post_process =", "post_process = /tmp/evil", "post_process must be empty"),
        ("generic-0.4.ini", "gcode_label_objects = 1", "gcode_label_objects = 0", "gcode_label_objects must be 1"),
        ("generic-0.4.ini", "raft_layers = 0", "raft_layers = 2", "raft_layers must be 0"),
        ("generic-0.4.ini", "nozzle_diameter = 0.4", "", "nozzle_diameter is missing"),
        ("generic-0.4.ini", "perimeters = 2", "perimeters two", "expected `key = value`"),
        ("bambu-a1-0.4.ini", "farmd_machine = A1", "farmd_machine = A9", "farmd_machine 'A9' is not known; known are A1, A1MINI"),
        ("qualities.toml", "layer_to_nozzle = 0.7", "", r"\[draft\]: layer_to_nozzle is missing"),
        ("qualities.toml", "layer_to_nozzle = 0.7", "layer_to_nozzle = 1.4", "is 1.4, must be 0.1 to 0.8"),
        ("qualities.toml", "layer_to_nozzle = 0.7", "layer_too_nozzle = 0.7", "unknown key 'layer_too_nozzle'"),
        ("qualities.toml", "perimeters = 3", 'post_process = "/tmp/evil"', "post_process cannot be set here"),
        ("qualities.toml", "perimeters = 3", "perimetres = 3", "did you mean perimeters"),
        ("qualities.toml", "perimeters = 3", 'top_fill_pattern = "a\\nb"', "one line of text"),
        ("qualities.toml", "[draft]", "[draft", "qualities.toml"),
        ("materials.toml", "temperature = 240", "temperature = 400", "temperature is 400, must be 0 to 260"),
        ("materials.toml", "temperature = 240", 'temperature = "hot"', "must be a number"),
        ("materials.toml", "temperature = 240", "temperature = nan", "temperature is nan"),
        ("materials.toml", 'filament_type = "PETG"', "", "filament_type is missing"),
    ],
)
def test_a_typing_error_is_named(directory: Path, file: str, old: str, new: str, message: str) -> None:
    path = directory / file
    text = path.read_text()
    assert re.search(f"(?m)^{re.escape(old)}", text)
    path.write_text(re.sub(f"(?m)^{re.escape(old)}", lambda _: new, text, count=1))
    with pytest.raises(ProfileError, match=message):
        load_profiles(directory)


def test_a_missing_directory_or_table_is_named(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"no \.ini profile"):
        load_profiles(tmp_path / "nowhere")
    (directory / "materials.toml").unlink()
    with pytest.raises(ProfileError, match=r"materials\.toml is missing"):
        load_profiles(directory)


BUNDLE = """
[vendor]
name = Test

[print:*base*]
layer_height = 0.3
perimeters = 2
default_acceleration = 1000
compatible_printers_condition = printer_notes=~/.*X;%.*/

[print:*thin*]
layer_height = 0.1

[print:Fine]
inherits = *base*; *thin*
alias = fine
perimeters = 4

[filament:PLA]
temperature = 210
default_filament_profile = x

[printer:One]
inherits = Round
[printer:Round]
inherits = One
[printer:Good]
start_gcode = G28 ; home\\nM83 ; [not a section]
"""


def test_a_bundle_resolves_parents_left_to_right_and_own_keys_last(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.ini"
    bundle.write_text(BUNDLE)
    flat = resolve_bundle(bundle, "Good", "Fine", "PLA")
    assert flat.splitlines() == [
        "default_acceleration = 1000",
        "filament_settings_id = PLA",
        "layer_height = 0.1",
        "perimeters = 4",
        "print_settings_id = Fine",
        "printer_settings_id = Good",
        "start_gcode = G28 ; home\\nM83 ; [not a section]",
        "temperature = 210",
    ]


def test_a_bundle_names_the_nearest_preset_and_refuses_circles(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.ini"
    bundle.write_text(BUNDLE)
    with pytest.raises(BundleError, match="did you mean 'Good'"):
        resolve_bundle(bundle, "Godo", "Fine", "PLA")
    with pytest.raises(BundleError, match="inherits from itself: One <- Round <- One"):
        resolve_bundle(bundle, "One", "Fine", "PLA")


def test_the_shipped_mk3s_profile_is_the_vendors() -> None:
    if not VENDOR.exists():
        pytest.skip(f"{VENDOR} is not installed (apt-get install prusa-slicer)")
    flat = resolve_bundle(VENDOR, "Original Prusa i3 MK3S & MK3S+", "0.20mm QUALITY @MK3", "Prusament PLA")
    shipped = load_profiles(SHIPPED).machines["mk3s-0.4"]
    vendor = dict(line.split(" = ", 1) if " = " in line else (line[:-2], "") for line in flat.splitlines())
    assert {key for key in shipped if shipped[key] != vendor.get(key)} == {"thumbnails", "extruder_colour"}
    assert vendor["printer_model"] == "MK3S"
