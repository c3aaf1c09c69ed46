"""The catalog over HTTP: what is for sale, from which model it is made, and what a customer may choose."""

from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import Response

from farmd.api.answers import answer, money
from farmd.api.auth import Caller, admin, anyone
from farmd.api.bodies import json_router
from farmd.api.commands import command
from farmd.api.paging import PageNumber, PageSize, paging
from farmd.api.schemas import OptionIn, SkuIn, SkuPatch
from farmd.api.uploads import take_model
from farmd.domain.catalog import DEFAULT_TIERS, Option, Problem, Sku
from farmd.domain.money import MoneyError, to_minor
from farmd.domain.refusals import Unacceptable
from farmd.orders.catalog import offer, revise
from farmd.orders.quote import plain
from farmd.store.catalog import attach_model, find_model, models_by_sha, sku_page, sku_row, to_sku
from farmd.store.engine import Tx
from farmd.store.rows import Missing, Row
from farmd.store.views import iso

router = json_router(tags=["skus"])

Anyone = Annotated[Caller, Depends(anyone)]
Admin = Annotated[Caller, Depends(admin)]


def _show_option(option: Option, currency: str) -> dict[str, Any]:
    shown = {
        "key": option.key,
        "label": option.label or None,
        "type": option.type,
        "choices": list(option.choices) or None,
        "min": option.minimum,
        "max": option.maximum,
        "default": option.default,
        "priceModifier": money(option.price_modifier, currency) if option.price_modifier else None,
    }
    return {key: value for key, value in shown.items() if value is not None}


def _show_model(model: Row) -> dict[str, Any]:
    report = model["report"]
    return {
        "sha256": model["sha256"],
        "format": report["format"],
        "bytes": model["size_bytes"],
        "triangles": report["triangles"],
        "size": report["size"],
        "volumeMm3": report["volume_mm3"],
        "warnings": report["warnings"],
    }


def show_sku(row: Row, model: Row | None, currency: str) -> dict[str, Any]:
    """A SKU for the outside. `defaultOptions` are those of the farm that it offers beside its own."""
    sku = to_sku(row)
    own = {option.key for option in sku.options}
    return {
        "id": sku.id,
        "name": sku.name,
        "unitPrice": money(sku.unit_price, currency),
        "currency": currency,
        "material": sku.material,
        "color": sku.color,
        "options": [_show_option(option, currency) for option in sku.options],
        "defaultOptions": [_show_option(option, currency) for key, option in sku.all_options().items() if key not in own],
        "qualityTiers": dict(sku.quality_tiers),
        "postProcess": list(sku.post_process),
        "profile": sku.profile,
        "active": sku.active,
        "weightGrams": sku.weight_grams,
        "model": _show_model(model) if model else None,
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["updated_at"]),
    }


def _shown(tx: Tx, row: Row, currency: str) -> dict[str, Any]:
    return show_sku(row, find_model(tx.connection, row["model_sha"]), currency)


def _minor(amount: Decimal, currency: str, pointer: str) -> int:
    try:
        return to_minor(amount, currency)
    except MoneyError as error:
        raise Unacceptable("invalid", [Problem(pointer, str(error))]) from error


def _options(sent: list[OptionIn], currency: str) -> tuple[Option, ...]:
    return tuple(
        Option(
            key=option.key,
            type=option.type,
            label=option.label or "",
            choices=tuple(option.choices),
            minimum=option.min,
            maximum=option.max,
            default=plain(option.default),
            price_modifier=_minor(option.price_modifier, currency, f"/options/{index}/priceModifier"),
        )
        for index, option in enumerate(sent)
    )


def _changes(sent: SkuIn | SkuPatch, currency: str) -> dict[str, Any]:
    """The fields that were sent, as the domain's SKU has them."""
    changes: dict[str, Any] = {name: getattr(sent, name) for name in sent.model_fields_set}
    if "unit_price" in changes:
        changes["unit_price"] = _minor(sent.unit_price, currency, "/unitPrice")
    if "options" in changes:
        changes["options"] = _options(sent.options, currency)
    if "quality_tiers" in changes:
        changes["quality_tiers"] = sent.quality_tiers or dict(DEFAULT_TIERS)
    if "post_process" in changes:
        changes["post_process"] = tuple(sent.post_process)
    return changes


@router.post("/api/skus", status_code=201)
async def create_sku(request: Request, sent: SkuIn, _caller: Admin) -> Response:
    """Put something on sale."""
    currency = request.app.state.rooms.settings.currency
    sku = Sku(**_changes(sent, currency))
    return await command(request, lambda tx: (201, _shown(tx, offer(tx, sku), currency)))


@router.get("/api/skus")
async def list_skus(request: Request, caller: Anyone, page: PageNumber = 1, limit: PageSize = 100) -> Response:
    """The catalog by id. A customer's key sees what is for sale."""
    currency, active_only = request.app.state.rooms.settings.currency, not caller.at_least("operator")

    def read(connection: Any) -> dict[str, Any]:
        rows, total = sku_page(connection, active_only=active_only, page=page, limit=limit)
        models = models_by_sha(connection, (row["model_sha"] for row in rows))
        data = [show_sku(row, models.get(row["model_sha"]), currency) for row in rows]
        return {"data": data, **paging(page, limit, total)}

    return answer(200, await request.app.state.rooms.store.read(read))


@router.get("/api/skus/{sku_id}")
async def get_sku(request: Request, sku_id: str, caller: Anyone) -> Response:
    """One SKU."""
    currency = request.app.state.rooms.settings.currency

    def read(connection: Any) -> dict[str, Any]:
        row = sku_row(connection, sku_id)
        if not row["active"] and not caller.at_least("operator"):
            raise Missing("SKU", sku_id)
        return show_sku(row, find_model(connection, row["model_sha"]), currency)

    return answer(200, await request.app.state.rooms.store.read(read))


@router.patch("/api/skus/{sku_id}")
async def change_sku(request: Request, sku_id: str, sent: SkuPatch, _caller: Admin) -> Response:
    """Change what was sent and nothing else. Orders already placed keep their prices."""
    currency = request.app.state.rooms.settings.currency
    changes = _changes(sent, currency)

    def effect(tx: Tx) -> tuple[int, dict[str, Any]]:
        sku = replace(to_sku(sku_row(tx.connection, sku_id)), **changes)
        return 200, _shown(tx, revise(tx, sku), currency)

    return await command(request, effect)


_MODEL_BODY = {
    "requestBody": {
        "required": True,
        "description": "The model itself, STL or 3MF, told by its bytes; at most 200 MB",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.put("/api/skus/{sku_id}/model", openapi_extra=_MODEL_BODY)
async def put_model(request: Request, sku_id: str, _caller: Admin) -> Response:
    """Give a SKU its model. It is validated before this answers; jobs that waited for it go on."""
    rooms = request.app.state.rooms
    await rooms.store.read(lambda connection: sku_row(connection, sku_id))
    model = await take_model(request, rooms, request.app.state.validations)

    def effect(tx: Tx) -> dict[str, Any]:
        return _shown(tx, attach_model(tx, sku_id, model), rooms.settings.currency)

    return answer(200, await rooms.store.write(effect))
