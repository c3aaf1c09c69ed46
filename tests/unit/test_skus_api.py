"""The catalog over HTTP: who may write it, what a SKU must be, and what a customer sees of it."""

import json
from decimal import Decimal

import pytest

from tests.farm import CUBE, Farm, order_body, with_farm


@with_farm()
async def test_five_fields_make_a_sku(farm: Farm) -> None:
    answer = await farm.admin.post("/api/skus", json=CUBE)
    assert answer.status_code == 201
    assert '"unitPrice":12.50' in answer.text
    sku = answer.json()
    assert {key: sku[key] for key in CUBE} == CUBE
    assert (sku["options"], sku["postProcess"], sku["profile"], sku["active"], sku["model"]) == ([], [], None, True, None)
    assert sku["weightGrams"] is None
    assert sku["qualityTiers"] == {"draft": 0.8, "standard": 1, "fine": 1.4}
    assert [option["key"] for option in sku["defaultOptions"]] == ["color", "quality", "infill"]
    assert (await farm.admin.get(f"/api/skus/{CUBE['id']}")).json() == sku


@with_farm()
async def test_a_sku_comes_back_as_it_was_sent(farm: Farm) -> None:
    sent = CUBE | {
        "options": [
            {
                "key": "finish",
                "label": "Finish",
                "type": "select",
                "choices": ["raw", "matt"],
                "default": "raw",
                "priceModifier": 1.5,
            },
            {"key": "height", "label": "Height", "type": "number", "min": 1, "max": 2.5, "default": 2, "priceModifier": 0.1},
            {"key": "gift", "label": "Gift wrap", "type": "boolean", "default": False},
        ],
        "qualityTiers": {"coarse": 0.75, "standard": 1},
        "postProcess": ["remove supports", "sand"],
        "profile": "generic-0.4",
        "active": False,
        "weightGrams": 12,
    }
    sku = await farm.add_sku(**sent)
    assert {key: sku[key] for key in sent} == sent


@with_farm()
async def test_a_patch_changes_what_was_sent_and_nothing_else(farm: Farm) -> None:
    before = await farm.add_sku(postProcess=["sand"], profile="fine-0.4")
    order = await farm.place(1)
    farm.world.forward(60)
    answer = await farm.admin.patch(f"/api/skus/{CUBE['id']}", json={"unitPrice": 14.25, "profile": None})
    assert answer.status_code == 200
    assert answer.json() == before | {"unitPrice": 14.25, "profile": None, "updatedAt": answer.json()["updatedAt"]}
    assert (await farm.operator.get(f"/api/orders/{order['id']}")).json()["subtotal"] == 12.5
    assert (await farm.place(1))["subtotal"] == 14.25
    for weight in (250, None):
        answer = await farm.admin.patch(f"/api/skus/{CUBE['id']}", json={"weightGrams": weight})
        assert (answer.status_code, answer.json()["weightGrams"], answer.json()["unitPrice"]) == (200, weight, 14.25)


@with_farm()
async def test_a_second_sku_of_the_same_id_is_a_conflict(farm: Farm) -> None:
    await farm.add_sku()
    answer = await farm.admin.post("/api/skus", json=CUBE | {"name": "another"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await farm.admin.get(f"/api/skus/{CUBE['id']}")).json()["name"] == CUBE["name"]


@with_farm()
async def test_who_sees_and_who_writes(farm: Farm) -> None:
    await farm.add_sku()
    await farm.add_sku(id="old", active=False)
    for caller in (farm.operator, farm.customer):
        assert (await caller.post("/api/skus", json=CUBE | {"id": "x"})).status_code == 403
        assert (await caller.patch("/api/skus/old", json={"active": True})).status_code == 403
        assert (await caller.put("/api/skus/old/model", content=b"x")).status_code == 403
    assert [sku["id"] for sku in (await farm.operator.get("/api/skus")).json()["data"]] == ["old", CUBE["id"]]
    seen = (await farm.customer.get("/api/skus")).json()
    assert ([sku["id"] for sku in seen["data"]], seen["total"]) == ([CUBE["id"]], 1)
    assert (await farm.customer.get("/api/skus/old")).status_code == 404
    assert (await farm.operator.get("/api/skus/old")).status_code == 200
    page = (await farm.operator.get("/api/skus?page=2&limit=1")).json()
    assert ([sku["id"] for sku in page["data"]], page["totalPages"]) == ([CUBE["id"]], 2)


def sku(**changes: object) -> dict[str, object]:
    return CUBE | changes


def option(**changes: object) -> dict[str, object]:
    return sku(options=[{"key": "size", "label": "Size", "type": "number"} | changes])


BAD_SKUS = {
    "weight below zero": (sku(weightGrams=-1), "/weightGrams"),
    "half a gram": (sku(weightGrams=0.5), "/weightGrams"),
    "weight in text": (sku(weightGrams="5"), "/weightGrams"),
    "weight beyond measure": (sku(weightGrams=10**7), "/weightGrams"),
    "no price": ({key: value for key, value in CUBE.items() if key != "unitPrice"}, "/unitPrice"),
    "price in text": (sku(unitPrice="12.50"), "/unitPrice"),
    "price below zero": (sku(unitPrice=-1), "/unitPrice"),
    "half a cent": (sku(unitPrice=0.125), "/unitPrice"),
    "price beyond measure": (sku(unitPrice=10**12), "/unitPrice"),
    "price true": (sku(unitPrice=True), "/unitPrice"),
    "id with a slash": (sku(id="a/b"), "/id"),
    "id climbing": (sku(id="../x"), "/id"),
    "empty id": (sku(id=""), "/id"),
    "empty name": (sku(name="  "), "/name"),
    "name on two lines": (sku(name="a\nb"), "/name"),
    "colour in words": (sku(color="black"), "/color"),
    "unknown key": (sku(price=1), "/price"),
    "active as text": (sku(active="yes"), "/active"),
    "profile climbing": (sku(profile="../../etc/passwd"), "/profile"),
    "a step twice": (sku(postProcess=["sand", "sand"]), "/postProcess"),
    "steps are text": (sku(postProcess="sand"), "/postProcess"),
    "tier of nothing": (sku(qualityTiers={}), "/qualityTiers"),
    "tier below zero": (sku(qualityTiers={"fine": -1}), "/qualityTiers/fine"),
    "tier as text": (sku(qualityTiers={"fine": "1"}), "/qualityTiers/fine"),
    "unknown option type": (option(type="wheel"), "/options/0/type"),
    "select without choices": (option(type="select"), "/options/0/choices"),
    "min over max": (option(min=3, max=2), "/options/0/min"),
    "default out of range": (option(min=1, max=2, default=3), "/options/0/default"),
    "default of another type": (option(type="boolean", default="yes"), "/options/0/default"),
    "half a cent more": (option(min=0, max=1, priceModifier=0.001), "/options/0/priceModifier"),
    "cheaper than nothing": (option(type="boolean", priceModifier=-20), "/options"),
    "cheaper without end": (option(priceModifier=-0.01), "/options"),
    "one option twice": (sku(options=[{"key": "a", "type": "boolean"}, {"key": "a", "type": "boolean"}]), "/options/1/key"),
}


@pytest.mark.parametrize("name", BAD_SKUS)
@with_farm()
async def test_a_bad_sku_is_refused_at_its_field(farm: Farm, name: str) -> None:
    body, pointer = BAD_SKUS[name]
    answer = await farm.admin.post("/api/skus", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]
    assert (await farm.admin.get("/api/skus")).json()["total"] == 0


@pytest.mark.parametrize(
    "change", [{"id": "other"}, {"name": None}, {"unitPrice": None}, {"active": None}, {"options": None}, {"model": {}}, []]
)
@with_farm()
async def test_a_bad_patch_changes_nothing(farm: Farm, change: object) -> None:
    before = await farm.add_sku()
    answer = await farm.admin.patch(f"/api/skus/{CUBE['id']}", json=change)
    assert answer.status_code == 422, answer.text
    assert (await farm.admin.get(f"/api/skus/{CUBE['id']}")).json() == before


@with_farm()
async def test_a_patch_of_nothing_there_is_404(farm: Farm) -> None:
    assert (await farm.admin.patch("/api/skus/none", json={"name": "x"})).status_code == 404


@with_farm()
async def test_a_price_keeps_the_digits_it_was_written_with(farm: Farm) -> None:
    """2.675 x 100 is 267.49999 in floating point; 1.1 + 2.2 is not 3.3 there either."""
    raw = json.dumps(CUBE | {"unitPrice": 0}).replace('"unitPrice": 0', '"unitPrice": 1003.57')
    answer = await farm.admin.post("/api/skus", content=raw, headers={"Content-Type": "application/json"})
    assert '"unitPrice":1003.57' in answer.text
    order = await farm.operator.post("/api/orders", json=order_body(7))
    assert f'"total":{Decimal("1003.57") * 7}' in order.text
