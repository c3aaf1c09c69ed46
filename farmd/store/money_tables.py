"""Money as rows: where a customer can pay, what is asked of the payment provider, what it told us, what goes back.

Everything that is asked of a provider is a row of `payment_calls` first, with the exact body, so that a crash repeats the same
request and never a similar one.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from farmd.store.columns import json, table_of, when


class Checkout(SQLModel, table=True):
    """One place to pay for an order. `total` and `currency` are what it asks for; what it was paid is `captured`."""

    __tablename__ = "checkouts"
    __table_args__ = (
        Index("ix_checkouts_look", "look_at"),
        Index("ix_checkouts_intent", "intent_id"),
        UniqueConstraint("order_id", "number"),
        UniqueConstraint("session_id"),
    )

    id: str = Field(primary_key=True)
    order_id: str = Field(foreign_key="orders.id", index=True)
    number: int
    state: str  # domain.till.CheckoutState
    total: int
    currency: str
    agrees: bool = True  # False when what was paid is not what was asked for
    session_id: str | None = None
    url: str | None = None
    intent_id: str | None = None
    authorized: int = 0
    captured: int = 0
    charged_back: int = 0
    disputed: bool = False
    capture_before: datetime | None = when(default=None)
    expires_at: datetime = when()
    look_at: datetime | None = when(default=None)  # when the provider is to be asked about it next
    looks_failed: int = 0
    version: int = 1
    created_at: datetime = when()
    updated_at: datetime = when()


class PaymentCall(SQLModel, table=True):
    """One request that changes something at the provider. Its id is the idempotency key; WANTED, then DONE or REFUSED."""

    __tablename__ = "payment_calls"
    __table_args__ = (
        Index("ix_payment_calls_due", "state", "next_at"),
        Index(
            "one_wanted_call_for_each_purpose",
            "purpose",
            unique=True,
            sqlite_where=text("state = 'WANTED'"),
            postgresql_where=text("state = 'WANTED'"),
        ),
    )

    id: str = Field(primary_key=True)
    kind: str  # domain.till.Want
    purpose: str  # what it is for: kind and the checkout's or the refund's id
    order_id: str = Field(foreign_key="orders.id", index=True)
    checkout_id: str = Field(foreign_key="checkouts.id")
    refund_id: str | None = Field(default=None, foreign_key="refunds.id")
    body: dict[str, Any] = json()
    state: str
    tries: int = 0
    next_at: datetime = when()
    sent_at: datetime | None = when(default=None)
    error: str | None = None
    version: int = 1
    created_at: datetime = when()
    done_at: datetime | None = when(default=None)


class InboxEvent(SQLModel, table=True):
    """A message of the provider, kept once by its id. It is a hint to look, never a truth."""

    __tablename__ = "inbox"
    __table_args__ = (Index("ix_inbox_state", "state", "received_at"),)

    id: str = Field(primary_key=True)
    type: str
    state: str  # NEW, DONE, IGNORED
    hint: dict[str, Any] = json()  # the ids it names: session, intent, order, checkout
    why: str | None = None
    told_at: datetime = when()  # by the provider's clock
    received_at: datetime = when()


class Refund(SQLModel, table=True):
    """Money on its way back. OWED until a person hands it over; PENDING, SUCCEEDED or FAILED at a provider."""

    __tablename__ = "refunds"
    __table_args__ = (UniqueConstraint("provider_id"),)

    id: str = Field(primary_key=True)
    order_id: str = Field(foreign_key="orders.id", index=True)
    checkout_id: str | None = Field(default=None, foreign_key="checkouts.id")
    amount: int
    line_item_id: str | None = None
    quantity: int | None = None
    reason: str | None = None
    cause: str  # cancellation, request, duplicate, provider
    state: str
    provider_id: str | None = None
    failure: str | None = None
    version: int = 1
    created_at: datetime = when()
    settled_at: datetime | None = when(default=None)


checkouts, payment_calls = table_of(Checkout), table_of(PaymentCall)
inbox, refunds = table_of(InboxEvent), table_of(Refund)
