"""What is looked at before a file goes to a Bambu printer, and what its `[[printers]]` block may say."""

import hashlib
import io
import json
import zipfile

import pytest

from drivers.bambu import factory
from drivers.bambu.models import MODELS
from drivers.bambu.options import read_options
from drivers.bambu.project import Project, Unprintable, misfit, read_project
from drivers.contract import Spool

GCODE = b"; HEADER_BLOCK_START\nG28\nG1 X10\n"
INFO = '<config><plate><metadata key="index" value="1"/><metadata key="printer_model_id" value="C12"/>'
INFO += '<metadata key="nozzle_diameters" value="0.4"/>{filaments}</plate></config>'
FILAMENT = '<filament id="{id}" type="{type}" color="#FFFFFF" used_g="1"/>'


def package(folder, *, name="a.gcode.3mf", plate=1, filaments=((1, "PLA"),), told=None, **parts):
    """A project file; `parts` replace what stands in it, None leaves it out."""
    rows = "".join(FILAMENT.format(id=number, type=kind) for number, kind in filaments)
    content = {
        "gcode": GCODE,
        "md5": hashlib.md5(GCODE, usedforsecurity=False).hexdigest().upper().encode(),
        "info": INFO.format(filaments=rows).encode(),
        "json": json.dumps({"filament_ids": [number - 1 for number, _ in filaments]} if told is None else told).encode(),
        **parts,
    }
    names = {
        "gcode": f"Metadata/plate_{plate}.gcode",
        "md5": f"Metadata/plate_{plate}.gcode.md5",
        "info": "Metadata/slice_info.config",
        "json": f"Metadata/plate_{plate}.json",
        "other": f"Metadata/plate_{plate + 1}.gcode",
    }
    file = folder / name
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in content.items():
            if value is not None:
                archive.writestr(names[key], value)
    return file


def test_a_sliced_file_says_what_it_is_for(tmp_path):
    assert read_project(package(tmp_path)) == Project(1, 1, 0, "PLA", "C12", 0.4)


def test_the_only_plate_may_be_any(tmp_path):
    assert read_project(package(tmp_path, plate=3)).plate == 3


def test_the_used_filament_stands_at_its_place_in_the_list(tmp_path):
    read = read_project(package(tmp_path, filaments=((3, "PETG"),)))
    assert (read.filaments, read.position, read.material) == (3, 2, "PETG")


def test_plain_gcode_is_refused(tmp_path):
    file = tmp_path / "a.gcode"
    file.write_bytes(GCODE)
    with pytest.raises(Unprintable, match=r"no \.gcode\.3mf"):
        read_project(file)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"md5": b"0" * 32}, "checksum"),
        ({"md5": None}, "missing"),
        ({"gcode": None}, "no sliced plates"),
        ({"other": GCODE}, "2 sliced plates"),
        ({"gcode": b"", "md5": b""}, "empty"),
        ({"info": b"<config><plate>"}, "cannot be read"),
        ({"info": b'<!DOCTYPE x [<!ENTITY a "b">]><config/>'}, "entities"),
        ({"filaments": ((1, "PLA"), (2, "PETG"))}, "uses 2 filaments"),
        ({"told": {"filament_ids": [0, 1]}}, "uses 2 filaments"),
        ({"filaments": ((900, "PLA"),), "told": {}}, "no list is that long"),
    ],
)
def test_a_file_that_would_print_wrongly_is_refused_in_words(tmp_path, parts, words):
    with pytest.raises(Unprintable, match=words):
        read_project(package(tmp_path, **parts))


def test_a_file_that_says_little_is_taken_as_it_is(tmp_path):
    assert read_project(package(tmp_path, info=None, json=b"{")) == Project(1, 1, 0, "", None, None)


def test_every_single_damaged_byte_is_noticed_or_harmless(tmp_path):
    """Whatever a bad disk makes of the file, it is read as what it was or refused; nothing else is raised."""
    whole = package(tmp_path).read_bytes()
    good, refused = read_project(tmp_path / "a.gcode.3mf"), 0
    for at in range(0, len(whole), 3):
        (tmp_path / "b.gcode.3mf").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = read_project(tmp_path / "b.gcode.3mf")
        except Unprintable:
            refused += 1
        else:
            assert read.position == good.position
    assert refused > 50


@pytest.mark.parametrize("cut", [5, 100, -30])
def test_half_a_file_is_refused(tmp_path, cut):
    file = package(tmp_path)
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(Unprintable, match="damaged"):
        read_project(file)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("drivers.bambu.project.MOST_BYTES", 1 << 20)
    file = package(tmp_path, other=None)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Metadata/huge", io.BytesIO(b"0" * (2 << 20)).getvalue())
    with pytest.raises(Unprintable, match="larger than any print"):
        read_project(file)


P1S = MODELS["P1S"]
PLA = Spool("ams-0-0", "PLA", "#ffffff")


@pytest.mark.parametrize(
    ("project", "nozzle", "spools", "words"),
    [
        (Project(1, 1, 0, "PLA", "C12", 0.4), 0.4, (PLA,), None),
        (Project(1, 1, 0, "PLA", "N2S", 0.4), 0.4, (PLA,), "sliced for the printer N2S"),
        (Project(1, 1, 0, "PLA", "C12", 0.6), 0.4, (PLA,), "nozzle of 0.6 mm"),
        (Project(1, 1, 0, "PETG", "C12", 0.4), 0.4, (PLA,), "needs PETG, and loaded is PLA"),
        (Project(1, 1, 0, "PETG", "C12", 0.4), 0.4, (), "loaded is nothing"),
        (Project(1, 1, 0, "PETG", "C12", 0.4), 0.4, None, None),  # the printer does not tell
        (Project(1, 1, 0, "", None, None), 0.4, (PLA,), None),  # the file does not tell
        (Project(1, 1, 0, "PLA", "C12", 0.4), None, (PLA,), None),
    ],
)
def test_a_file_fits_a_printer_or_it_is_said_why_not(project, nozzle, spools, words):
    found = misfit(project, P1S, nozzle, spools)
    assert found is None if words is None else words in found


# --- the block ---

BLOCK = {"host": "192.168.1.40", "serial": "01P00A000000001", "access_code": "12345678", "model": "P1S"}


def test_a_block_is_read_with_its_defaults():
    read = read_options(BLOCK)
    assert (read.model, read.mqtt_port, read.ftps_port, read.tls, read.url) == (P1S, 8883, 990, "pin", "auto")
    assert "12345678" not in repr(read)


def test_the_serial_number_tells_the_model():
    assert read_options({key: BLOCK[key] for key in BLOCK if key != "model"}).model == P1S
    assert factory.machine({"serial": "03900A000000001"}) == "A1"


@pytest.mark.parametrize("word", ["P1S", "p1s", "Bambu P1S", "C12", "P1-S"])
def test_a_model_may_be_written_in_any_way(word):
    assert factory.machine({**BLOCK, "model": word}) == "P1S"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": None}, "host: write its address"),
        ({"host": "http://10.0.0.1"}, "host: write the printer's name or address alone"),
        ({"serial": ""}, "serial: write its serial number"),
        ({"serial": "not one!"}, "serial: 'not one!' is no serial number"),
        ({"access_code": 12345678}, "access_code: write its access code"),
        ({"access_code": "1234 678"}, "access_code: it holds blanks"),
        ({"model": "MK4"}, "model: 'MK4' is not one of X1C"),
        ({"model": "A1"}, "model: A1 does not go with a serial number that begins with 01P"),
        ({"model": None, "serial": "99999A000000001"}, "model: name the printer's model"),
        ({"mqtt_port": 0}, "mqtt_port: write a port"),
        ({"ftps_port": "990"}, "ftps_port: write a port"),
        ({"mqtt_port": True}, "mqtt_port: write a port"),
        ({"tls": "none"}, "tls: 'none' is not one of pin, ca, insecure"),
        ({"tls": "ca"}, "tls_ca: name the file"),
        ({"tls_ca": "bambu.pem"}, "tls_ca: name the file"),
        ({"tls": "ca", "tls_ca": 7}, "tls_ca: name the file"),
        ({"url": "http"}, "url: 'http' is not one of auto, ftp, sdcard"),
    ],
)
def test_a_wrong_key_is_named_with_its_cure(change, words, tmp_path):
    options = {key: value for key, value in {**BLOCK, **change}.items() if value is not None}
    with pytest.raises(ValueError, match=r"^\w+: ") as refused:
        factory.create("p1s-01", options, tmp_path)
    assert words in str(refused.value)
    assert "12345678" not in str(refused.value)
    assert set(options) <= factory.option_names()
