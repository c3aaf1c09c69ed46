"""The rows. SQLModel declares them; transitions, the outbox and lists read and write them as SQLAlchemy Core statements.

A row is not a domain object: `table=True` models do not validate, so nothing unchecked may be written here.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from farmd.domain.lifecycle import ATTEMPT_LIVE, ATTEMPT_UNSETTLED
from farmd.store import money_tables
from farmd.store.columns import json as _json
from farmd.store.columns import table_of as _table
from farmd.store.columns import when as _when


def _words(states: frozenset[Any]) -> str:
    return ", ".join(f"'{state.value}'" for state in sorted(states))


class Order(SQLModel, table=True):
    """A customer's purchase. `status` is written by `transitions` alone."""

    __tablename__ = "orders"
    __table_args__ = (
        Index("ix_orders_created", "created_at", "id"),
        Index("ix_orders_status_created", "status", "created_at", "id"),
        Index("ix_orders_customer_created", "customer_id", "created_at", "id"),
        Index("ix_orders_hold", "hold", sqlite_where=text("hold IS NOT NULL"), postgresql_where=text("hold IS NOT NULL")),
    )

    id: str = Field(primary_key=True)
    customer_id: str
    status: str
    payment_status: str
    currency: str
    subtotal: int
    shipping: int
    tax: int
    total: int
    tax_rate: str  # this and the next five: the rule of tax as it was when the order was placed
    tax_base: str
    tax_rounding: str
    tax_round_at: str
    tax_included: bool
    tax_rule: str | None = None
    shipping_tax: int  # with the lines' taxes exactly `tax`
    shipping_method: str | None = None
    authorized: int = 0  # promised by the customer's bank, not collected yet
    captured: int = 0
    refunded: int = 0
    charged_back: int = 0  # taken back by the customer's bank
    disputed: bool = False
    released_at: datetime | None = _when(default=None)  # a person wants it made although it is disputed
    hold: str | None = None  # why nothing more of it may be started: capture, dispute
    paid_by: str | None = None  # the checkout that paid it
    checkout_url: str | None = None  # where it can be paid now
    address: dict[str, Any] = _json()
    notes: str | None = None
    paid_at: datetime | None = _when(default=None)
    payment_reference: str | None = None
    cancelled_at: datetime | None = _when(default=None)
    cancel_reason: str | None = None
    shipped_at: datetime | None = _when(default=None)
    carrier: str | None = None
    tracking_number: str | None = None
    attention: list[dict[str, Any]] = _json(default_factory=list)
    due_at: datetime = _when()
    version: int = 1
    created_at: datetime = _when()
    updated_at: datetime = _when()


class LineItem(SQLModel, table=True):
    """One line of an order, priced when it was placed."""

    __tablename__ = "line_items"

    id: str = Field(primary_key=True)
    order_id: str = Field(foreign_key="orders.id", index=True)
    position: int
    sku_id: str
    quantity: int
    unit_price: int
    total: int
    tax: int
    options: dict[str, Any] = _json()


class Sku(SQLModel, table=True):
    """Something for sale."""

    __tablename__ = "skus"

    id: str = Field(primary_key=True)
    name: str
    unit_price: int
    material: str
    color: str
    options: list[dict[str, Any]] = _json(default_factory=list)
    quality_tiers: dict[str, str] = _json(default_factory=dict)
    post_process: list[str] = _json(default_factory=list)
    profile: str | None = None
    active: bool = True
    weight_grams: int | None = None
    model_sha: str | None = Field(default=None, foreign_key="models.sha256")
    version: int = 1
    created_at: datetime = _when()
    updated_at: datetime = _when()


class Model(SQLModel, table=True):
    """An uploaded model that passed validation: the file and its geometry stand on disk under these hashes."""

    __tablename__ = "models"

    sha256: str = Field(primary_key=True)
    geometry_sha: str
    size_bytes: int
    report: dict[str, Any] = _json()
    created_at: datetime = _when()


class Job(SQLModel, table=True):
    """One line item being made, with its unit ledger: ordered + scrapped = waiting + printing + printed + good + scrapped."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state", "state"), UniqueConstraint("line_item_id"))

    id: str = Field(primary_key=True)
    order_id: str = Field(foreign_key="orders.id", index=True)
    line_item_id: str = Field(foreign_key="line_items.id")
    sku_id: str
    state: str
    model_sha: str | None = None
    material: str
    color: str
    profile: str | None = None
    options: dict[str, Any] = _json()
    steps: list[str] = _json(default_factory=list)
    at_step: list[int] = _json(default_factory=list)
    ordered: int
    waiting: int
    printing: int = 0
    printed: int = 0
    good: int = 0
    scrapped: int = 0
    waits_for: dict[str, Any] | None = _json(default=None)
    failure: dict[str, Any] | None = _json(default=None)
    due_at: datetime = _when()
    version: int = 1
    created_at: datetime = _when()
    updated_at: datetime = _when()


class Plate(SQLModel, table=True):
    """N copies of a job's part to be printed together. `artifacts`: printer class key -> sliced file and estimate."""

    __tablename__ = "plates"
    __table_args__ = (Index("ix_plates_state", "state"),)

    id: str = Field(primary_key=True)
    job_id: str = Field(foreign_key="jobs.id", index=True)
    order_id: str = Field(foreign_key="orders.id")
    copies: int
    state: str  # WAITING, ACTIVE, DONE, DROPPED
    size: list[float] = _json()
    artifacts: dict[str, Any] = _json()
    failures: int = 0
    failed_on: list[str] = _json(default_factory=list)
    created_at: datetime = _when()


class Attempt(SQLModel, table=True):
    """One plate on one printer, once. The id is the token in the remote file's name; `slot` is the place of the spool it is fed
    from, where the machine has several."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index(
            "one_live_attempt_per_printer",
            "printer_id",
            unique=True,
            sqlite_where=text(f"state IN ({_words(ATTEMPT_LIVE)})"),
            postgresql_where=text(f"state IN ({_words(ATTEMPT_LIVE)})"),
        ),
        Index(
            "one_unsettled_attempt_per_plate",
            "plate_id",
            unique=True,
            sqlite_where=text(f"state IN ({_words(ATTEMPT_UNSETTLED)}, 'SUCCEEDED')"),
            postgresql_where=text(f"state IN ({_words(ATTEMPT_UNSETTLED)}, 'SUCCEEDED')"),
        ),
        Index("ix_attempts_state", "state"),
    )

    id: str = Field(primary_key=True)
    plate_id: str = Field(foreign_key="plates.id", index=True)
    job_id: str = Field(foreign_key="jobs.id", index=True)
    order_id: str = Field(foreign_key="orders.id", index=True)
    printer_id: str
    copies: int
    state: str
    artifact: str
    slot: str | None = None
    remote_path: str | None = None
    remote_size: int | None = None
    estimate_seconds: int = 0
    start_sent_at: datetime | None = _when(default=None)
    started_at: datetime | None = _when(default=None)
    ended_at: datetime | None = _when(default=None)
    cancel_wanted: bool = False
    cancel_sent_at: datetime | None = _when(default=None)
    wish: str = ""
    answer: int | None = None
    reason: str | None = None
    version: int = 1
    created_at: datetime = _when()


class Printer(SQLModel, table=True):
    """What the farm knows of a machine beyond its configuration. The rest is observed and lives in memory."""

    __tablename__ = "printers"

    id: str = Field(primary_key=True)
    bed: str  # clear, occupied, unknown
    bed_note: str | None = None
    enabled: bool = True
    material: str | None = None
    color: str | None = None
    quarantined: str | None = None
    failures_in_row: int = 0
    last_job_id: str | None = None
    version: int = 1
    updated_at: datetime = _when()


class History(SQLModel, table=True):
    """Every move of every job and attempt."""

    __tablename__ = "history"

    id: int | None = Field(default=None, primary_key=True)
    kind: str  # job, attempt
    entity_id: str = Field(index=True)
    job_id: str | None = None
    before: str
    after: str
    signal: str
    reason: str | None = None
    at: datetime = _when()


class Event(SQLModel, table=True):
    """The outbox and the feed in one: a gapless-by-commit global sequence. `once` makes a fact unrepeatable."""

    __tablename__ = "events"

    sequence: int | None = Field(default=None, primary_key=True)
    type: str
    order_id: str | None = Field(default=None, index=True)
    once: str | None = Field(default=None, unique=True)
    data: dict[str, Any] = _json()
    at: datetime = _when()


class Webhook(SQLModel, table=True):
    """A subscription."""

    __tablename__ = "webhooks"

    id: str = Field(primary_key=True)
    url: str
    events: list[str] = _json()
    secret: str
    description: str | None = None
    headers: dict[str, str] = _json(default_factory=dict)
    active: bool = True
    disabled_reason: str | None = None
    created_at: datetime = _when()


class Delivery(SQLModel, table=True):
    """One event on its way to one webhook. PENDING until 2xx, DEAD when the schedule ran out."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_due", "state", "next_at"),
        Index("ix_deliveries_webhook", "webhook_id", "id"),
        Index("ix_deliveries_lane", "webhook_id", "state", "order_id", "sequence"),
    )

    id: int | None = Field(default=None, primary_key=True)
    webhook_id: str = Field(foreign_key="webhooks.id")
    message_id: str
    sequence: int | None = Field(default=None, foreign_key="events.sequence")
    type: str
    order_id: str | None = None
    body: str
    state: str  # PENDING, DELIVERED, DEAD
    tries: int = 0
    next_at: datetime = _when()
    status: int | None = None
    detail: str | None = None
    took_ms: int | None = None
    delivered_at: datetime | None = _when(default=None)
    created_at: datetime = _when()


class ApiKey(SQLModel, table=True):
    """A key's fingerprint; the key itself is never stored."""

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    role: str
    customer_id: str | None = None
    secret_sha256: str
    created_at: datetime = _when()
    last_used_at: datetime | None = _when(default=None)


class Replay(SQLModel, table=True):
    """The answer to a request that carried an Idempotency-Key, written with its effect."""

    __tablename__ = "replays"

    key_id: str = Field(primary_key=True)
    idempotency_key: str = Field(primary_key=True)
    request_sha: str
    status: int
    body: str
    created_at: datetime = _when()


class Meta(SQLModel, table=True):
    """Facts about this store: the controller epoch."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str


orders, line_items, skus, models = _table(Order), _table(LineItem), _table(Sku), _table(Model)
jobs, plates, attempts, printers = _table(Job), _table(Plate), _table(Attempt), _table(Printer)
history, events, webhooks, deliveries = _table(History), _table(Event), _table(Webhook), _table(Delivery)
api_keys, replays, meta = _table(ApiKey), _table(Replay), _table(Meta)
checkouts, payment_calls, inbox = money_tables.checkouts, money_tables.payment_calls, money_tables.inbox
refunds = money_tables.refunds
metadata = SQLModel.metadata
