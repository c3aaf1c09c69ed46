"""Uploading a model: streamed to disk, checked by the real validator, settled under its hash, and never left half."""

import asyncio
import hashlib
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from farmd.config import PrinterSettings
from farmd.pipeline.mesh import load_mesh
from farmd.pipeline.validate import ValidatorFailed, validate_model
from farmd.store.files import geometry_file, incoming_file, model_file, sweep_incoming
from tests import models
from tests.farm import CUBE, Farm, serve, wait_until, with_farm
from tests.plain_http import NO_TLS

pytestmark = pytest.mark.slow  # most start the validator, a process of its own

MODEL = f"/api/skus/{CUBE['id']}/model"
CUBE_STL = models.stl(models.cube(20))


def left_behind(farm: Farm) -> list[str]:
    files = farm.rooms.settings.files
    return sorted(path.name for folder in ("incoming", "models", "geometry") for path in (files / folder).glob("*"))


@with_farm(validate=validate_model)
async def test_a_model_is_validated_and_settled_under_its_hash(farm: Farm) -> None:
    await farm.add_sku()
    bell = farm.store.watch("jobs")
    answer = await farm.admin.put(MODEL, content=CUBE_STL)
    assert answer.status_code == 200, answer.text
    model = answer.json()["model"]
    sha = hashlib.sha256(CUBE_STL).hexdigest()
    assert (model["sha256"], model["format"], model["triangles"], model["bytes"]) == (sha, "stl", 12, len(CUBE_STL))
    assert model["size"] == {"x": 20.0, "y": 20.0, "z": 20.0}
    assert model["volumeMm3"] == pytest.approx(8000)
    assert model["warnings"] == []
    files = farm.rooms.settings.files
    assert model_file(files, sha).read_bytes() == CUBE_STL
    assert len(left_behind(farm)) == 2
    geometry = next((files / "geometry").iterdir())
    assert geometry_file(files, geometry.name) == geometry
    assert len(load_mesh(geometry).triangles) == 12
    assert await bell.wait(5), "jobs that wait for a model were not woken"
    assert (await farm.customer.get(f"/api/skus/{CUBE['id']}")).json()["model"] == model


@pytest.mark.parametrize("name", models.bad())
@with_farm(validate=validate_model)
async def test_a_bad_model_is_refused_with_every_defect_and_leaves_nothing(farm: Farm, name: str) -> None:
    await farm.add_sku()
    answer = await farm.admin.put(MODEL, content=models.bad()[name])
    assert (answer.status_code, answer.json()["code"]) == (422, "model_rejected"), answer.text
    for error in answer.json()["errors"]:
        assert set(error) == {"pointer", "detail", "code", "cure"}
        assert error["detail"].endswith(error["cure"])
    assert left_behind(farm) == []
    assert (await farm.admin.get(f"/api/skus/{CUBE['id']}")).json()["model"] is None


@with_farm(validate=validate_model, printers=[PrinterSettings("small", "octoprint", {}, bed=(100.0, 120.0, 80.0))])
async def test_a_model_larger_than_every_printer_is_refused(farm: Farm) -> None:
    await farm.add_sku()
    assert (await farm.admin.put(MODEL, content=models.stl(models.box(109, 89, 79)))).status_code == 200
    answer = await farm.admin.put(MODEL, content=models.stl(models.box(119, 119, 79)))
    assert [error["code"] for error in answer.json()["errors"]] == ["too_large"]


class Counting:
    """The real validator, counting how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.times += 1
        return await validate_model(*args, **kwargs)


counting = Counting()


@with_farm(validate=counting)
async def test_the_same_bytes_are_validated_once(farm: Farm) -> None:
    await farm.add_sku()
    await farm.add_sku(id="second")
    counting.times = 0
    first = await farm.admin.put(MODEL, content=CUBE_STL)
    second = await farm.admin.put("/api/skus/second/model", content=CUBE_STL)
    assert (first.status_code, second.status_code, counting.times) == (200, 200, 1)
    assert first.json()["model"] == second.json()["model"]
    model_file(farm.rooms.settings.files, first.json()["model"]["sha256"]).unlink()
    assert (await farm.admin.put(MODEL, content=CUBE_STL)).status_code == 200
    assert counting.times == 2
    assert model_file(farm.rooms.settings.files, first.json()["model"]["sha256"]).is_file()


@with_farm(validate=validate_model)
async def test_uploads_at_the_same_moment_do_not_meet(farm: Farm) -> None:
    await farm.add_sku()
    for number in range(4):
        await farm.add_sku(id=f"sku-{number}")
    bodies = [models.stl(models.cube(20 + number // 2)) for number in range(4)]
    answers = await asyncio.gather(
        *(farm.admin.put(f"/api/skus/sku-{number}/model", content=body) for number, body in enumerate(bodies))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.json()["model"]["sha256"] for answer in answers] == [hashlib.sha256(body).hexdigest() for body in bodies]
    assert len(left_behind(farm)) == 4  # two models, two geometries


@with_farm(validate=validate_model)
async def test_a_client_that_goes_away_half_way_leaves_nothing(farm: Farm) -> None:
    await farm.add_sku()
    incoming = farm.rooms.settings.files / "incoming"
    async with serve(farm.app) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        head = f"PUT {MODEL} HTTP/1.1\r\nHost: x\r\nX-API-Key: {farm.keys['admin']}\r\nContent-Length: 50000000\r\n\r\n"
        writer.write(head.encode() + b"x" * 3_000_000)
        await writer.drain()
        await wait_until(lambda: any(incoming.glob("*")))
        writer.close()
        await writer.wait_closed()
        await wait_until(lambda: not any(incoming.glob("*")))
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": farm.keys["admin"]}, verify=NO_TLS) as admin:
            assert (await admin.put(MODEL, content=CUBE_STL)).status_code == 200
    assert len(left_behind(farm)) == 2


@contextmanager
def files_no_longer_than(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@with_farm(validate=validate_model)
async def test_a_disk_that_takes_no_more_is_507_and_leaves_nothing(farm: Farm) -> None:
    await farm.add_sku()
    with files_no_longer_than(4_000_000):
        answer = await farm.admin.put(MODEL, content=b"x" * 5_000_000)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk_full")
    assert left_behind(farm) == []
    assert (await farm.admin.put(MODEL, content=CUBE_STL)).status_code == 200


@with_farm(validate=validate_model)
async def test_a_files_folder_that_is_a_file_is_said_so(farm: Farm) -> None:
    await farm.add_sku()
    farm.rooms.settings.files.write_bytes(b"")
    answer = await farm.admin.put(MODEL, content=CUBE_STL)
    assert (answer.status_code, answer.json()["code"]) == (503, "files_unwritable")


async def broken_validator(*_args: Any, **_kwargs: Any) -> Any:
    raise ValidatorFailed("lib3mf is missing")


@with_farm(validate=broken_validator)
async def test_a_validator_that_breaks_is_the_farms_fault(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.admin.put(MODEL, content=CUBE_STL)
    assert (answer.status_code, answer.json()["code"]) == (503, "validator_failed")
    assert answer.headers["retry-after"]
    assert left_behind(farm) == []


@with_farm()
async def test_a_model_for_no_sku_is_404_before_it_is_read(farm: Farm) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    assert (await farm.admin.put("/api/skus/none/model", content=never())).status_code == 404
    assert left_behind(farm) == []


@with_farm()
async def test_more_than_200_mb_is_refused_at_once_and_while_it_streams(farm: Farm) -> None:
    await farm.add_sku()

    async def flood() -> AsyncIterator[bytes]:
        for _ in range(220):
            yield b"x" * 1_000_000

    async with (
        serve(farm.app) as url,
        httpx.AsyncClient(base_url=url, headers={"X-API-Key": farm.keys["admin"]}, verify=NO_TLS) as admin,
    ):
        declared = await admin.put(MODEL, content=flood(), headers={"Content-Length": "220000000"})
        assert (declared.status_code, declared.json()["code"]) == (413, "body_too_large")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        chunked = await admin.put(MODEL, content=flood())
        assert (chunked.status_code, chunked.json()["code"]) == (413, "body_too_large")
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000, "the body was held in memory"
    assert left_behind(farm) == []


def test_what_a_killed_daemon_left_is_swept(tmp_path) -> None:
    incoming_file(tmp_path, "upload-1").write_bytes(b"half")
    incoming_file(tmp_path, "workspace").mkdir()
    (tmp_path / "incoming" / "workspace" / "geometry").write_bytes(b"half")
    assert sweep_incoming(tmp_path) == 2
    assert [*(tmp_path / "incoming").iterdir()] == []
    assert sweep_incoming(tmp_path / "nowhere") == 0
