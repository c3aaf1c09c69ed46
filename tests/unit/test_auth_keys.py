"""Keys: made once, stored as a fingerprint, ended within a second, and noted when they are used."""

import asyncio
import contextlib
import sqlite3

import pytest

from farmd.store.engine import Conflict
from farmd.store.keys import create_key, find_key, list_keys, revoke_key
from farmd.store.rows import Missing
from tests.farm import Farm, client, open_store, with_farm


@with_farm()
async def test_a_revoked_key_is_refused_within_a_second(farm: Farm) -> None:
    assert (await farm.operator.get("/api/orders")).status_code == 200
    await farm.store.write(lambda tx: revoke_key(tx, "operator"))
    farm.world.forward(1)
    assert (await farm.operator.get("/api/orders")).status_code == 401
    assert (await farm.admin.get("/api/orders")).status_code == 200


@with_farm()
async def test_a_key_revoked_by_another_process_is_refused_too(farm: Farm) -> None:
    assert (await farm.operator.get("/api/orders")).status_code == 200
    with contextlib.closing(sqlite3.connect(farm.rooms.settings.directory / "farmd.db")) as database:
        database.execute("DELETE FROM api_keys WHERE name = 'operator'")
        database.commit()
    farm.world.forward(1)
    assert (await farm.operator.get("/api/orders")).status_code == 401


@with_farm()
async def test_the_last_use_is_written_at_most_once_a_minute(farm: Farm) -> None:
    async def last_used(name: str):
        keys = await farm.store.read(list_keys)
        return next(key["last_used_at"] for key in keys if key["name"] == name)

    assert await last_used("operator") is None
    await farm.operator.get("/api/orders")
    first = farm.world.now()
    assert await last_used("operator") == first
    farm.world.forward(59)
    await farm.operator.get("/api/orders")
    assert await last_used("operator") == first
    farm.world.forward(2)
    await farm.operator.get("/api/orders")
    assert await last_used("operator") == farm.world.now()


@with_farm()
async def test_the_store_holds_no_key_in_the_clear(farm: Farm) -> None:
    secret = farm.keys["admin"].split("_")[2]
    with contextlib.closing(sqlite3.connect(farm.rooms.settings.directory / "farmd.db")) as database:
        dump = "\n".join(database.iterdump())
    assert secret not in dump
    assert "secret_sha256" not in (await farm.store.read(list_keys))[0]


@with_farm()
async def test_two_keys_of_one_customer_both_work_while_they_are_rotated(farm: Farm) -> None:
    fresh = await farm.store.write(lambda tx: create_key(tx, "customer-2", "customer", "cust-uuid"))
    async with client(farm.app, fresh) as second:
        assert (await second.get("/api/orders")).status_code == 200
    assert (await farm.customer.get("/api/orders")).status_code == 200


def test_a_key_that_makes_no_sense_is_not_made(tmp_path) -> None:
    async def main() -> None:
        async with open_store(tmp_path) as store:
            key = await store.write(lambda tx: create_key(tx, "till", "operator"))
            prefix, key_id, secret = key.split("_")
            assert prefix == "fk"
            assert len(secret) == 43
            assert (await store.read(lambda c: find_key(c, key_id)))["role"] == "operator"
            with pytest.raises(Conflict, match="named 'till'"):
                await store.write(lambda tx: create_key(tx, "till", "admin"))
            with pytest.raises(ValueError, match="not a role"):
                await store.write(lambda tx: create_key(tx, "x", "root"))
            with pytest.raises(ValueError, match="needs the customer"):
                await store.write(lambda tx: create_key(tx, "x", "customer"))
            with pytest.raises(ValueError, match="has no customer"):
                await store.write(lambda tx: create_key(tx, "x", "admin", "cust-1"))
            with pytest.raises(ValueError, match="needs a name"):
                await store.write(lambda tx: create_key(tx, " ", "admin"))
            with pytest.raises(Missing):
                await store.write(lambda tx: revoke_key(tx, "nobody"))

    asyncio.run(main())
