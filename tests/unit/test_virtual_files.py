"""What a virtual OctoPrint makes of uploads: forms read piece by piece, names, plans, and histories bound to bytes."""

from pathlib import Path

import httpx
import pytest

from drivers.virtual.files import FileStore, StoredFile
from drivers.virtual.listing import describe
from drivers.virtual.multipart import MultipartReader, Part, boundary_of
from drivers.virtual.names import clean_name, clean_path, is_machine_code
from drivers.virtual.plan import read_plan


def parsed(body: bytes, boundary: bytes, step: int) -> list[tuple[Part, bytes]]:
    reader = MultipartReader(boundary)
    fields: list[tuple[Part, bytes]] = []
    for start in range(0, len(body), step):
        for piece in reader.feed(body[start : start + step]):
            if isinstance(piece, Part):
                fields.append((piece, b""))
            else:
                fields[-1] = (fields[-1][0], fields[-1][1] + piece)
    assert reader.complete
    return fields


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 100_000])
def test_a_form_is_read_alike_however_it_is_cut(step: int) -> None:
    content = b"G1 X1\r\n--\r\n--almost\r\n" * 20 + bytes(range(256))
    request = httpx.Request(
        "POST",
        "http://printer/",
        files={"file": ('ä "quoted".gcode', content)},
        data={"path": "farmd", "empty": "", "userdata": "{}"},
    )
    request.read()
    fields = parsed(request.content, boundary_of(request.headers["content-type"]), step)
    assert {(part.name, part.filename): value for part, value in fields} == {
        ("path", None): b"farmd",
        ("empty", None): b"",
        ("userdata", None): b"{}",
        ("file", 'ä "quoted".gcode'): content,
    }


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_a_body_that_is_no_form_is_told(content_type: str) -> None:
    with pytest.raises(ValueError, match="multipart/form-data"):
        boundary_of(content_type)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--\r\n", "no name"),
        (b"--xy\r\n", "neither a line break nor an end"),
        (b"--x\r\n" + b"A" * 20_000, "too long"),
    ],
)
def test_a_broken_form_is_told(body: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(MultipartReader(b"x").feed(body))


def test_a_form_that_breaks_off_is_not_complete() -> None:
    reader = MultipartReader(b"x")
    list(reader.feed(b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nG1 X'))
    assert not reader.complete


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("a.gcode", "a.gcode"),
        ("äö weird name (1) #2 & x?.gcode", "äö weird name (1) #2  x.gcode"),
        (".hidden.gcode", "hidden.gcode"),
        ("a:b*c.gcode", "abc.gcode"),
        ("con.gcode", "con_.gcode"),
    ],
)
def test_names_are_cleaned_as_measured(asked: str, kept: str) -> None:
    assert clean_name(asked) == kept


@pytest.mark.parametrize("name", ["a/b.gcode", "a\\b.gcode", "", "???", "..."])
def test_names_that_cannot_be_kept_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        clean_name(name)


def test_a_path_stays_inside_the_storage() -> None:
    assert clean_path("/abs/x") == "abs/x"
    assert clean_path(" farm d/é/") == "farm d/é"
    assert clean_path("farmd/../other") == "other"
    for outside in ("..", "../esc", "a/../../b"):
        with pytest.raises(ValueError, match="base folder"):
            clean_path(outside)


def test_only_machine_code_is_printable() -> None:
    assert all(is_machine_code(name) for name in ("a.gcode", "A.GCODE", "x.gco", "x.g"))
    assert not any(is_machine_code(name) for name in ("a.stl", "a.txt", "notes"))


@pytest.mark.parametrize(
    ("comment", "seconds"),
    [
        ("; estimated printing time (normal mode) = 1h 2m 3s", 3723),
        ("; estimated printing time (normal mode) = 1d 30m 5s", 88205),
        ("; model printing time: 58m 1s; total estimated time: 1h 4m 2s", 3842),
        (";TIME:1234", 1234),
    ],
)
def test_the_slicers_estimate_decides_the_duration(tmp_path: Path, comment: str, seconds: float) -> None:
    file = tmp_path / "a.gcode"
    file.write_text(f"M190 S60 ; bed\nM104 S0\nM109 S215.5\nG1 X1\n\n{comment}\n")
    plan = read_plan(file)
    assert plan.seconds(100) == seconds
    assert (plan.tool, plan.bed, plan.commands) == (215.5, 60, 4)


def test_without_an_estimate_every_command_takes_its_time(tmp_path: Path) -> None:
    file = tmp_path / "a.gcode"
    file.write_bytes(b"; nothing known\n\xff\xfe binary\nG1 X1\nG1 X2")
    assert read_plan(file).seconds(0.5) == 1.5


def put(store: FileStore, content: bytes, path: str = "farmd/a.gcode") -> StoredFile:
    upload = store.incoming()
    upload.write(content)
    return store.add(path, "shown", upload, user="farmd", userdata={"token": "t"}, date=5)


def test_the_same_bytes_keep_their_history_and_others_wipe_it(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    put(store, b"G1 X1")
    store.record("farmd/a.gcode", {"success": True, "date": 1.0, "printTime": 3.0})
    assert put(store, b"G1 X1").durations == [3.0]
    assert put(store, b"G1 X2").prints == []


def test_a_file_shows_only_what_there_is(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    file = put(store, b"G1 X1")
    assert "prints" not in describe(file, "http://printer")
    store.record("farmd/a.gcode", {"success": True, "date": 1.0, "printTime": 3.0})
    store.record("farmd/a.gcode", {"success": False, "date": 2.0})
    shown = describe(file, "http://printer")
    assert shown["prints"] == {"success": 1, "failure": 1, "last": {"success": False, "date": 2.0}}
    assert shown["userdata"] == {"token": "t"}


def test_files_and_histories_outlive_the_store(tmp_path: Path) -> None:
    put(FileStore(tmp_path), b"G1 X1")
    again = FileStore(tmp_path)
    again.record("farmd/a.gcode", {"success": False, "date": 2.0})
    third = FileStore(tmp_path)
    file = third.get("farmd/a.gcode")
    assert file is not None
    assert (file.size, file.prints) == (5, [{"success": False, "date": 2.0}])
    assert third.on_disk("farmd/a.gcode").read_bytes() == b"G1 X1"
    assert third.children("") == ["farmd"]
    assert [gone.path for gone in third.remove_folder("farmd")] == ["farmd/a.gcode"]
    assert list(FileStore(tmp_path)) == []


def test_a_file_cannot_take_the_place_of_a_folder(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    put(store, b"G1 X1", "farmd/a.gcode")
    for path in ("farmd", "farmd/a.gcode/b.gcode"):
        with pytest.raises(OSError, match="farmd"):
            put(store, b"G1", path)
    assert [file.path for file in store] == ["farmd/a.gcode"]
