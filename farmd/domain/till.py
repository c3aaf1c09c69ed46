"""What the money does next: what is wanted (rows) against what the provider shows gives the requests that are still missing.

The twin of `reconcile` for payments, and as level-triggered: nothing here remembers what was done, so that whatever a crash, a lost
answer or a late message left undone is wanted again at the next look. Pure; amounts are minor units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farmd.domain.lifecycle import PaymentStatus


class CheckoutState(StrEnum):
    """How far one place to pay has come."""

    WANTED = "WANTED"  # not open yet, as far as we know
    OPEN = "OPEN"
    PROCESSING = "PROCESSING"  # completed; the bank takes its days
    AUTHORIZED = "AUTHORIZED"
    PAID = "PAID"
    EXPIRED = "EXPIRED"
    VOIDED = "VOIDED"  # an authorisation was given back or lapsed
    FAILED = "FAILED"  # the provider will not open it


class RefundState(StrEnum):
    """Where money on its way back is."""

    OWED = "OWED"  # a person must hand it over
    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class Want(StrEnum):
    """A request to the provider that is still missing."""

    OPEN = "open"
    EXPIRE = "expire"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


class IntentState(StrEnum):
    """The provider's payment behind a checkout."""

    NONE = "none"
    UNPAID = "unpaid"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class RefundSeen:
    """A refund as the provider shows it. `ours` is the id of our row that asked for it, None for one made elsewhere."""

    id: str
    amount: int
    state: RefundState
    ours: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """One checkout, its payment, its refunds and disputes as the provider showed them at one moment."""

    session_id: str
    order_id: str | None
    open: bool
    expired: bool
    paid: bool  # the provider's own word: paid, or nothing to pay
    total: int
    currency: str
    url: str | None = None
    expires_at: datetime | None = None
    intent_id: str | None = None
    intent: IntentState = IntentState.NONE
    authorized: int = 0
    captured: int = 0
    capture_before: datetime | None = None
    refunds: tuple[RefundSeen, ...] = ()
    disputed: bool = False
    charged_back: int = 0

    @property
    def state(self) -> CheckoutState:
        """What this amounts to."""
        if self.intent is IntentState.SUCCEEDED:
            return CheckoutState.PAID
        if self.intent is IntentState.AUTHORIZED:
            return CheckoutState.AUTHORIZED
        if self.expired:
            return CheckoutState.EXPIRED
        if self.open:
            return CheckoutState.OPEN
        if self.intent is IntentState.NONE:
            return CheckoutState.PAID if self.paid else CheckoutState.PROCESSING
        # a completed session whose payment was declined or withdrawn afterwards can never be paid again
        return CheckoutState.PROCESSING if self.intent is IntentState.PROCESSING else CheckoutState.VOIDED


@dataclass(frozen=True, slots=True)
class CheckoutFacts:
    """One checkout as its row has it. `asked`: its opening may have reached the provider."""

    id: str
    state: CheckoutState
    asked: bool = False
    captured: int = 0
    charged_back: int = 0


@dataclass(frozen=True, slots=True)
class RefundFacts:
    """One refund as its row has it. `known`: the provider has it."""

    id: str
    checkout_id: str | None
    amount: int
    state: RefundState
    known: bool = False
    cause: str = "request"


@dataclass(frozen=True, slots=True)
class OrderMoney:
    """All that decides about an order's money. `paid_by` is the checkout that paid (or promised to pay) it; `capture_now` says
    that what was promised is to be collected."""

    cancelled: bool
    paid_by: str | None
    capture_now: bool
    checkouts: tuple[CheckoutFacts, ...]
    refunds: tuple[RefundFacts, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A request that is to be made. For REFUND without a `refund_id` a refund of `amount` must be written first."""

    want: Want
    checkout_id: str
    refund_id: str | None = None
    amount: int = 0
    cause: str = "cancellation"


def missing(order: OrderMoney) -> list[Missing]:
    """Everything that is still to be asked of the provider, in the order in which it should be asked."""
    found: list[Missing] = []
    for checkout in order.checkouts:
        unwanted = order.cancelled or order.paid_by not in (None, checkout.id)
        found += _of_checkout(order, checkout, unwanted=unwanted)
    by_id = {checkout.id: checkout for checkout in order.checkouts}
    for refund in order.refunds:
        place = by_id.get(refund.checkout_id or "")
        if place is not None and refund.state is RefundState.PENDING and not refund.known:
            found.append(Missing(Want.REFUND, place.id, refund.id, refund.amount, refund.cause))
    return found


def _of_checkout(order: OrderMoney, checkout: CheckoutFacts, *, unwanted: bool) -> Iterable[Missing]:
    match checkout.state:
        case CheckoutState.WANTED if not unwanted or checkout.asked:
            # what may have been opened is opened for certain before it can be closed
            yield Missing(Want.OPEN, checkout.id)
        case CheckoutState.OPEN if unwanted:
            yield Missing(Want.EXPIRE, checkout.id)
        case CheckoutState.AUTHORIZED if unwanted:
            yield Missing(Want.VOID, checkout.id)
        case CheckoutState.AUTHORIZED if order.capture_now and order.paid_by == checkout.id:
            yield Missing(Want.CAPTURE, checkout.id)
        case CheckoutState.PAID if unwanted:
            left, cause = kept(checkout, order.refunds), "cancellation" if order.cancelled else "duplicate"
            same = [refund for refund in order.refunds if refund.checkout_id == checkout.id and refund.cause == cause]
            if left > 0 and not any(refund.state is RefundState.FAILED for refund in same):
                yield Missing(Want.REFUND, checkout.id, None, left, cause)  # one that failed waits for a person


def kept(checkout: CheckoutFacts, refunds: Sequence[RefundFacts]) -> int:
    """What of a checkout's money is neither given back, nor on its way back, nor taken back by the bank."""
    going = sum(refund.amount for refund in refunds if refund.checkout_id == checkout.id and refund.state is not RefundState.FAILED)
    return max(checkout.captured - checkout.charged_back - going, 0)


def refund_stuck(left: int, refunds: Sequence[RefundFacts], *, cancelled: bool) -> bool:
    """Whether money that should go back does not: a refund failed (`refunds` in the order they were wanted), nothing is on its way,
    and `left` is still kept. An order that goes on may keep its money once a later refund made up for the failed one."""
    if left <= 0 or any(refund.state in (RefundState.PENDING, RefundState.OWED) for refund in refunds):
        return False
    failed = [number for number, refund in enumerate(refunds) if refund.state is RefundState.FAILED]
    if cancelled:
        return bool(failed)
    good = [(number, refund.amount) for number, refund in enumerate(refunds) if refund.state is RefundState.SUCCEEDED]
    return any(not any(later > number and amount >= refunds[number].amount for later, amount in good) for number in failed)


@dataclass(frozen=True, slots=True)
class MoneyFacts:
    """What `paymentStatus` is made of. `owed` is what a person or the provider is still to give back."""

    paid: bool
    processing: bool = False
    agrees: bool = True
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    owed: int = 0
    refund_failed: bool = False
    charged_back: int = 0
    disputed: bool = False


def payment_status(money: MoneyFacts) -> PaymentStatus:
    """The one word for where an order's money is; the most pressing fact wins."""
    if not money.agrees:
        return PaymentStatus.REVIEW
    if money.disputed:
        return PaymentStatus.DISPUTED
    if money.refund_failed:
        return PaymentStatus.REFUND_FAILED
    if money.owed > 0:
        return PaymentStatus.REFUND_PENDING
    if money.captured > 0:
        return _of_captured(money)
    if money.authorized > 0:
        return PaymentStatus.AUTHORIZED
    if money.processing:
        return PaymentStatus.PROCESSING
    return PaymentStatus.PAID if money.paid else PaymentStatus.UNPAID


def _of_captured(money: MoneyFacts) -> PaymentStatus:
    if money.refunded >= money.captured:
        return PaymentStatus.REFUNDED
    if money.charged_back > 0:
        return PaymentStatus.CHARGED_BACK
    return PaymentStatus.PARTIALLY_REFUNDED if money.refunded > 0 else PaymentStatus.PAID
