"""Payments through Stripe, as the rest of the farm sees them: every wish becomes rows in the caller's transaction and is answered
at once. The till carries it out; Stripe may be slow or gone meanwhile."""

from farmd.domain.catalog import Problem
from farmd.domain.money import card_coin, to_text
from farmd.domain.refusals import NotNow, Unacceptable
from farmd.domain.till import CheckoutState, RefundState
from farmd.payments.account import Account
from farmd.payments.ledger import Ledger
from farmd.payments.till import Till
from farmd.store import till
from farmd.store.engine import Tx
from farmd.store.rows import Row
from farmd.store.sales import insert_refund


class StripePayments:
    """See `farmd.payments.provider.Provider`."""

    name = "stripe"

    def __init__(self, ledger: Ledger, hand: Till) -> None:
        self._ledger, self._till = ledger, hand

    def expect(self, tx: Tx, order: Row, /) -> None:
        """Want a place where a new order can be paid."""
        self._ledger.open_checkout(tx, order)

    def open_checkout(self, tx: Tx, order: Row, /) -> None:
        """Want a new place to pay, unless there is one. Raises `NotNow` when there is nothing to pay any more."""
        if order["cancelled_at"] is not None:
            raise NotNow("order_cancelled", f"order {order['id']} was cancelled; place a new one")
        account = Account(tx, order)
        if order["paid_at"] is not None or any(self._ledger.keepable(account, row) for row in account.checkouts):
            raise NotNow("already_paid", f"order {order['id']} is paid already")
        for row in account.checkouts:
            if row["state"] == CheckoutState.OPEN and row["expires_at"] <= tx.world.now():
                till.change_checkout(tx, row, state=CheckoutState.EXPIRED.value)
                till.look_soon(tx, [row["id"]])  # should it have been paid in its last moment, the look finds out
        if not till.can_be_paid(tx.connection, order["id"]):
            self._ledger.open_checkout(tx, order)

    def accept(self, _tx: Tx, order: Row, /, reference: str | None) -> None:
        """Raises `NotNow`: only Stripe says that an order is paid."""
        del reference
        detail = (
            f"this farm is paid through Stripe, which alone says that order {order['id']} is paid; "
            "the customer pays at its checkoutUrl"
        )
        raise NotNow("paid_by_provider", detail)

    def take_back(self, tx: Tx, order_id: str, /) -> None:
        """Want open checkouts closed, promises given back, payments returned."""
        self._ledger.settle(tx, order_id)

    def refund(
        self,
        tx: Tx,
        order: Row,
        /,
        amount: int,
        *,
        reason: str | None,
        line_item_id: str | None = None,
        quantity: int | None = None,
        by_hand: bool = False,
    ) -> str:
        """Want money given back; it is pending until Stripe has done it. What was given back by hand is only written down."""
        coin = card_coin(order["currency"])
        if amount % coin:
            step = f"{to_text(coin, order['currency'])} {order['currency']}"
            raise Unacceptable("invalid", [Problem("/amount", f"a card can be given back whole steps of {step} only")])
        if till.unlooked(tx.connection, order["id"]):
            why = "a backup was restored, and Stripe has not said yet what was given back since"
            raise NotNow("payment_not_seen", f"order {order['id']}: {why}; ask again in a minute")
        account = Account(tx, order)
        paid = [row for row in account.checkouts if row["state"] == CheckoutState.PAID]
        left = {row["id"]: self._ledger.keepable(account, row) for row in paid}
        best = max(paid, key=lambda row: (left[row["id"]] >= amount, row["id"] == order["paid_by"], left[row["id"]]), default=None)
        most = left[best["id"]] if best is not None else 0
        if best is None or most < amount:
            words = f"at most {to_text(most, order['currency'])} {order['currency']} can be given back of one payment"
            raise NotNow("refund_exceeds_captured", words)
        refund_id = insert_refund(
            tx,
            order,
            amount,
            cause="request",
            reason=reason,
            line_item_id=line_item_id,
            quantity=quantity,
            checkout_id=best["id"],
            state=RefundState.SUCCEEDED if by_hand else RefundState.PENDING,
        )
        self._ledger.settle(tx, order["id"])
        return refund_id

    async def opened(self, order_id: str, patience: float, /) -> bool:
        """Wait for the till."""
        await self._till.opened(order_id, patience)
        return True
