"""The words of the event feed.

An event is a row written in the transaction that made it true; this module only knows the names.
"""

from farmd.domain.lifecycle import OrderStatus

ORDER_EVENTS = {
    OrderStatus.PENDING_PAYMENT: "order.created",
    OrderStatus.PAID: "order.paid",
    OrderStatus.PROCESSING: "order.processing",
    OrderStatus.PRINTING: "order.printing",
    OrderStatus.POST_PROCESSING: "order.post_processing",
    OrderStatus.READY: "order.ready",
    OrderStatus.SHIPPED: "order.shipped",
    OrderStatus.CANCELLED: "order.cancelled",
    OrderStatus.REFUNDED: "order.refunded",
}
"""What entering a status is called; each at most once in an order's life."""

ORDER_ATTENTION = "order.attention"

EVENT_TYPES = (
    *ORDER_EVENTS.values(),
    ORDER_ATTENTION,
    "job.created",
    "job.queued",
    "job.printing",
    "job.post_processing",
    "job.ready",
    "job.failed",
    "job.cancelled",
    "printer.attention",
    "printer.bed_cleared",
    "printer.foreign_print",
    "farm.restored",
    "farm.payment_unknown",
)
"""Everything a webhook may subscribe to, besides `*` and prefixes such as `order.*`."""


def matches(pattern: str, event: str) -> bool:
    """Whether a subscription's pattern (`order.paid`, `order.*`, `*`) takes this event."""
    return pattern in ("*", event) or (pattern.endswith(".*") and event.startswith(pattern[:-1]))


def known_pattern(pattern: str) -> bool:
    """Whether a pattern can ever match."""
    return any(matches(pattern, event) for event in EVENT_TYPES)
