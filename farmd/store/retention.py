"""What may be forgotten: answers kept for repeated requests, and deliveries that arrived long ago. Orders and events stay."""

from datetime import timedelta

from sqlalchemy import delete

from farmd.store import tables as t
from farmd.store.engine import Tx

KEEP_REPLAYS = timedelta(days=7)
KEEP_DELIVERIES = timedelta(days=30)
KEEP_MESSAGES = timedelta(days=60)
"""Twice as long as Stripe tells of an event, so that none is ever new again."""


def forget(tx: Tx) -> int:
    """Delete what is past its time; returns how many rows went."""
    now = tx.world.now()
    old_replays = delete(t.replays).where(t.replays.c.created_at < now - KEEP_REPLAYS)
    arrived = (t.deliveries.c.state == "DELIVERED") & (t.deliveries.c.created_at < now - KEEP_DELIVERIES)
    old_messages = delete(t.inbox).where(t.inbox.c.state != "NEW", t.inbox.c.received_at < now - KEEP_MESSAGES)
    past = (old_replays, delete(t.deliveries).where(arrived), old_messages)
    return sum(tx.connection.execute(statement).rowcount for statement in past)
