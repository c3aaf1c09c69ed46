"""SKUs and their models as rows, and the way between a row and the domain's `Sku`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, func, select

from farmd.domain.catalog import Option, Sku
from farmd.store import tables as t
from farmd.store.engine import Conflict, Tx
from farmd.store.rows import Row, add, change, find, get


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model that passed validation; both files stand on disk already."""

    sha256: str
    geometry_sha: str
    size_bytes: int
    report: Mapping[str, Any]


def sku_row(connection: Connection, sku_id: str) -> Row:
    """One SKU. Raises `Missing`."""
    return get(connection, t.skus, sku_id)


def skus_by_id(connection: Connection, sku_ids: Iterable[str]) -> dict[str, Row]:
    """Those of these SKUs that exist."""
    rows = connection.execute(select(t.skus).where(t.skus.c.id.in_(set(sku_ids)))).mappings()
    return {row["id"]: row for row in rows}


def sku_page(connection: Connection, *, active_only: bool, page: int, limit: int) -> tuple[Sequence[Row], int]:
    """One page of the catalog by id, and how many SKUs there are."""
    wanted = t.skus.c.active if active_only else t.skus.c.id.is_not(None)
    total = connection.execute(select(func.count()).select_from(t.skus).where(wanted)).scalar_one()
    rows = connection.execute(select(t.skus).where(wanted).order_by(t.skus.c.id).limit(limit).offset((page - 1) * limit))
    return rows.mappings().all(), total


def to_sku(row: Row) -> Sku:
    """The SKU as the domain knows it."""
    return Sku(
        id=row["id"],
        name=row["name"],
        unit_price=row["unit_price"],
        material=row["material"],
        color=row["color"],
        options=tuple(_to_option(stored) for stored in row["options"]),
        quality_tiers={tier: Decimal(factor) for tier, factor in row["quality_tiers"].items()},
        post_process=tuple(row["post_process"]),
        profile=row["profile"],
        active=row["active"],
        weight_grams=row["weight_grams"],
    )


def _to_option(stored: Mapping[str, Any]) -> Option:
    return Option(
        key=stored["key"],
        type=stored["type"],
        label=stored["label"],
        choices=tuple(stored["choices"]),
        minimum=None if stored["min"] is None else Decimal(stored["min"]),
        maximum=None if stored["max"] is None else Decimal(stored["max"]),
        default=stored["default"],
        price_modifier=stored["priceModifier"],
    )


def _columns(sku: Sku) -> dict[str, Any]:
    return {
        "name": sku.name,
        "unit_price": sku.unit_price,
        "material": sku.material,
        "color": sku.color,
        "options": [_from_option(option) for option in sku.options],
        "quality_tiers": {tier: str(factor) for tier, factor in sku.quality_tiers.items()},
        "post_process": list(sku.post_process),
        "profile": sku.profile,
        "active": sku.active,
        "weight_grams": sku.weight_grams,
    }


def _from_option(option: Option) -> dict[str, Any]:
    return {
        "key": option.key,
        "type": option.type,
        "label": option.label,
        "choices": list(option.choices),
        "min": None if option.minimum is None else str(option.minimum),
        "max": None if option.maximum is None else str(option.maximum),
        "default": option.default,
        "priceModifier": option.price_modifier,
    }


def insert_sku(tx: Tx, sku: Sku) -> Row:
    """Put a SKU on sale. Raises `Conflict` when its id is taken."""
    if find(tx.connection, t.skus, sku.id) is not None:
        raise Conflict(f"there is a SKU {sku.id!r} already; change it with PATCH /api/skus/{sku.id}")
    now = tx.world.now()
    add(tx, t.skus, id=sku.id, model_sha=None, version=1, created_at=now, updated_at=now, **_columns(sku))
    return sku_row(tx.connection, sku.id)


def change_sku(tx: Tx, row: Row, sku: Sku) -> Row:
    """Replace what a SKU says; orders already placed keep their prices. Raises `Conflict`."""
    return change(tx, t.skus, row, **_columns(sku))


def find_model(connection: Connection, sha: str | None) -> Row | None:
    """A validated model by its hash."""
    return find(connection, t.models, sha) if sha else None


def models_by_sha(connection: Connection, shas: Iterable[str | None]) -> dict[str, Row]:
    """Those of these models that exist."""
    rows = connection.execute(select(t.models).where(t.models.c.sha256.in_({sha for sha in shas if sha}))).mappings()
    return {row["sha256"]: row for row in rows}


def attach_model(tx: Tx, sku_id: str, model: NewModel) -> Row:
    """Make a model the SKU's own and wake the jobs that waited for one. Raises `Missing`."""
    known = find(tx.connection, t.models, model.sha256)
    if known is None:
        add(
            tx,
            t.models,
            sha256=model.sha256,
            geometry_sha=model.geometry_sha,
            size_bytes=model.size_bytes,
            report=dict(model.report),
            created_at=tx.world.now(),
        )
    elif known["geometry_sha"] != model.geometry_sha:  # read again by a newer reader
        change(tx, t.models, known, geometry_sha=model.geometry_sha, report=dict(model.report))
    tx.wake("jobs")
    return change(tx, t.skus, sku_row(tx.connection, sku_id), model_sha=model.sha256)
